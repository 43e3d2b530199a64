import LinuxKernel
import Testing

/// What is made on another thread arrives whole and in order, and its end and failures do too.
@Suite struct ReadingAheadTests {
    /// So many bytes, each its place's; then the end, or a failure.
    private static func counting(to count: Int, by step: Int, fails: Bool = false) -> ReadingAhead {
        var made = 0
        return ReadingAhead { buffer throws(KernelError) in
            if made == count, fails { throw KernelError("read", "what breaks", number: Errno.io) }
            let next = min(step, count - made, buffer.count)
            for place in 0..<next { buffer[place] = UInt8(truncatingIfNeeded: made + place) }
            made += next
            return next
        }
    }

    private static func all(_ ahead: ReadingAhead, by size: Int) throws(KernelError) -> [UInt8] {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 16)
        defer { buffer.deallocate() }
        var bytes: [UInt8] = []
        while true {
            let count = try ahead.read(into: buffer)
            if count == 0 { return bytes }
            bytes += buffer[..<count]
        }
    }

    @Test(arguments: [(0, 1), (1, 1), (1000, 7), (1 << 20, 1 << 20), (3_000_001, 131_072), (50_000, 3)])
    func allOfIt(count: Int, step: Int) throws {
        for size in [1000, 65536, 1 << 18] {
            let ahead = Self.counting(to: count, by: step)
            let bytes = try Self.all(ahead, by: size)
            #expect(bytes == (0..<count).map { UInt8(truncatingIfNeeded: $0) })
            #expect(try Self.all(ahead, by: size).isEmpty, "the end stays the end")
        }
    }

    @Test func aFailureComesAfterWhatWasMade() throws {
        let ahead = Self.counting(to: 300_000, by: 100_000, fails: true)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 16)
        defer { buffer.deallocate() }
        var count = 0
        while count < 300_000 { count += try ahead.read(into: buffer) }
        for _ in 0..<2 {
            let error = #expect(throws: KernelError.self) { _ = try ahead.read(into: buffer) }
            #expect(error?.number == Errno.io && error?.subject == "what breaks")
        }
    }

    @Test(arguments: [0, 1, 5]) func stopped(after reads: Int) throws {
        let ahead = Self.counting(to: .max, by: 4096)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 100, alignment: 16)
        defer { buffer.deallocate() }
        for _ in 0..<reads { #expect(try ahead.read(into: buffer) == 100) }
        ahead.stop()
        ahead.stop()
        #expect(try ahead.read(into: buffer) == 0)
    }

    @Test func droppedWhileItWorks() { for _ in 0..<100 { _ = Self.counting(to: .max, by: 10) } }
}
