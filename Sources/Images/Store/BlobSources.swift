internal import LinuxKernel

/// Passes bytes on and sums them up on the way.
final class SummingSource: ByteSource {
    private let source: any ByteSource
    private let state: SHA256
    private(set) var count: UInt64 = 0

    init(_ source: any ByteSource) throws(KernelError) {
        self.source = source
        state = try SHA256()
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(KernelError) -> Int {
        let read = try source.read(into: buffer)
        state.update(UnsafeRawBufferPointer(rebasing: buffer[..<read]))
        count += UInt64(read)
        return read
    }

    /// Reads what is left, and says what all of it comes to.
    func finish() throws(KernelError) -> Digest {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 16)
        defer { buffer.deallocate() }
        while try read(into: buffer) > 0 {}
        return sum
    }

    /// What all that was read comes to; it begins anew then.
    var sum: Digest { Digest(hex: state.finish())! }
}

/// Reads plain, gzip and zstd streams alike, told by their first bytes. Why it failed is kept in ``failure``.
final class InflatingSource: ByteSource {
    private let source: any ByteSource
    private var inflation: Inflation?
    private let input = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 17, alignment: 16)
    private var (from, to) = (0, 0)
    private var isKnown = false
    private var sourceEnded = false
    private var atEnd = true
    private var taken: UInt64 = 0
    private var given: UInt64 = 0
    private(set) var failure: String?

    /// zlib gives at most 1,032 bytes for one; a Zstandard frame may say of gigabytes that they are all alike.
    private static let mostForOne: UInt64 = 1100
    private static let free: UInt64 = 8 << 30

    init(_ source: any ByteSource) { self.source = source }
    deinit { input.deallocate() }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(KernelError) -> Int {
        if !isKnown { try begin() }
        guard let inflation else {
            if from < to {
                let count = min(buffer.count, to - from)
                buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: input[from..<(from + count)]))
                from += count
                return count
            }
            return try source.read(into: buffer)
        }
        while buffer.count > 0 {
            if from == to, !sourceEnded { try fill() }
            if from == to, sourceEnded, atEnd { return 0 }
            guard let step = inflation.step(UnsafeRawBufferPointer(rebasing: input[from..<to]), into: buffer) else {
                throw failed("its compressed data is damaged")
            }
            from += step.taken
            taken += UInt64(step.taken)
            given += UInt64(step.given)
            atEnd = step.atEnd
            if given > InflatingSource.free, given / InflatingSource.mostForOne > taken {
                throw failed("it unpacks to more than \(InflatingSource.mostForOne) times its size")
            }
            if step.given > 0 { return step.given }
            if from == to, sourceEnded, !atEnd { throw failed("its compressed data is cut off") }
            if step.taken == 0, from < to { throw failed("its compressed data is damaged") }
        }
        return 0
    }

    private func failed(_ why: String) -> KernelError {
        failure = why
        return KernelError("read", number: Errno.io)
    }

    private func begin() throws(KernelError) {
        isKnown = true
        while to < 4, !sourceEnded { try fill() }
        let head = Array(input[from..<min(to, from + 4)])
        if head.starts(with: [0x1f, 0x8b]) { inflation = try Inflation(.gzip) }
        // Zstandard's frames, and those that are to be passed over.
        if head == [0x28, 0xb5, 0x2f, 0xfd]
            || (head.count == 4 && head[0] & 0xf0 == 0x50 && head[1...] == [0x2a, 0x4d, 0x18])
        {
            inflation = try Inflation(.zstd)
        }
    }

    private func fill() throws(KernelError) {
        if from == to { (from, to) = (0, 0) }
        let count = try source.read(into: UnsafeMutableRawBufferPointer(rebasing: input[to...]))
        if count == 0 { sourceEnded = true }
        to += count
    }
}

/// A member's contents as a source of their own.
final class MemberSource: ByteSource {
    private let reader: TarReader
    private(set) var problem: Problem?

    init(_ reader: TarReader) { self.reader = reader }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(KernelError) -> Int {
        do throws(Problem) { return try reader.read(into: buffer) } catch {
            problem = error
            throw KernelError("read", number: Errno.io)
        }
    }
}
