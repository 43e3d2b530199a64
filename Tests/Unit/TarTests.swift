import LinuxKernel
import Testing

@testable import Images

/// Bytes in memory, a few at a time.
private final class Memory: ByteSource, ByteSink {
    var bytes: [UInt8]
    private var at = 0
    private let step: Int

    init(_ bytes: [UInt8] = [], step: Int = .max) {
        self.bytes = bytes
        self.step = step
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(KernelError) -> Int {
        let count = min(buffer.count, bytes.count - at, step)
        buffer.copyBytes(from: bytes[at..<(at + count)])
        at += count
        return count
    }

    func write(_ part: UnsafeRawBufferPointer) throws(KernelError) { bytes += Array(part) }
}

@Suite struct TarTests {
    private static func entry(_ path: String, _ kind: TarEntry.Kind = .file, size: UInt64 = 0) -> TarEntry {
        TarEntry(
            path: FileName(path), kind: kind, mode: 0o640, uid: 3_000_000, gid: 7, size: size,
            modified: (1_700_000_000, 123_000_000))
    }

    /// One of everything.
    private static func sample() throws -> [UInt8] {
        let sink = Memory()
        let writer = TarWriter(sink)
        try writer.begin(entry("folder", .folder))
        var file = entry("folder/" + String(repeating: "n", count: 300), size: 1000)
        file.attributes = [("user.a", [1, 0, 10]), ("security.capability", [2])]
        try writer.begin(file)
        try [UInt8](repeating: 7, count: 1000).withUnsafeBytes { try writer.write($0) }
        var link = entry("link", .link)
        link.target = FileName(String(repeating: "t", count: 200))
        try writer.begin(link)
        var hard = entry("hard", .hardLink)
        hard.target = FileName("folder/f")
        hard.modified = (-2, 500_000_000)
        try writer.begin(hard)
        var holes = entry("holes", size: 1 << 40)
        holes.extents = [.init(offset: 4096, count: 3), .init(offset: 1 << 39, count: 600)]
        try writer.begin(holes)
        try [UInt8](repeating: 9, count: 603).withUnsafeBytes { try writer.write($0) }
        try writer.finish()
        return sink.bytes
    }

    private static func read(_ bytes: [UInt8], step: Int = .max) throws(Problem) -> [TarEntry] {
        let reader = TarReader(Memory(bytes, step: step))
        var entries: [TarEntry] = []
        while let entry = try reader.next() { entries.append(entry) }
        return entries
    }

    @Test(arguments: [1, 7, 512, 100_000]) func comesBackAsItWas(step: Int) throws {
        let bytes = try Self.sample()
        #expect(bytes.count % 512 == 0)
        let entries = try Self.read(bytes, step: step)
        #expect(entries.map(\.kind) == [.folder, .file, .link, .hardLink, .file])
        #expect(entries[0].path == FileName("folder") && entries[0].uid == 3_000_000 && entries[0].mode == 0o640)
        #expect(entries[0].modified == (1_700_000_000, 123_000_000))
        #expect(entries[1].path.bytes.count == 307 && entries[1].size == 1000)
        #expect(entries[1].attributes.map(\.name) == ["security.capability", "user.a"])
        #expect(entries[1].attributes[1].value == [1, 0, 10])
        #expect(entries[2].target.bytes.count == 200)
        #expect(entries[3].target == FileName("folder/f") && entries[3].modified == (-2, 500_000_000))
        #expect(entries[4].size == 1 << 40 && entries[4].stored == 603 && entries[4].extents?.count == 2)
    }

    /// Whatever is cut off is an error, at every place.
    @Test func everyPrefixIsRefused() throws {
        let bytes = try Self.sample()
        for end in stride(from: 0, to: bytes.count - 1024, by: 97) {
            #expect(throws: Problem.self) { try Self.read(Array(bytes[..<end])) }
        }
    }

    /// No change of bytes ends in anything but entries or an error.
    @Test func damageNeverTraps() throws {
        let bytes = try Self.sample()
        var random = Seeded(state: 1)
        for _ in 0..<3000 {
            var damaged = bytes
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let at = Int.random(in: 0..<damaged.count, using: &random)
                damaged[at] = UInt8.random(in: 0...255, using: &random)
                // So that the rest of the header is looked at, too.
                let block = at / 512 * 512
                if Bool.random(using: &random) {
                    var sum = 0
                    for index in 0..<512 { sum += (148..<156).contains(index) ? 32 : Int(damaged[block + index]) }
                    let digits = String(sum, radix: 8)
                    let text = Array((String(repeating: "0", count: 6 - digits.utf8.count) + digits).utf8)
                    damaged.replaceSubrange((block + 148)..<(block + 156), with: text + [0, 32])
                }
            }
            _ = try? Self.read(damaged)
        }
    }

    @Test(arguments: [
        ("0000644\0", 0o644), ("   644 \0", 0o644), ("\0\0\0\0\0\0\0\0", 0), ("77777777", 0o77_777_777),
    ])
    func numbers(text: String, value: UInt64) throws {
        #expect(try TarHeader.number(Array(text.utf8).span, "x") == value)
    }

    @Test(arguments: ["0000648\0", "-0000644", "12 34\0\0\0", "0x1\0\0\0\0\0"])
    func badNumbers(text: String) {
        #expect(throws: TarError.self) { try TarHeader.number(Array(text.utf8).span, "x") }
    }

    @Test func numbersOfBase256() throws {
        #expect(try TarHeader.number(([0x80, 0, 0, 0, 0, 0, 1, 0] as [UInt8]).span, "x") == 256)
        #expect(throws: TarError.self) {
            try TarHeader.number(([0x80] + [UInt8](repeating: 0xff, count: 11)).span, "x")
        }
        #expect(throws: TarError.self) { try TarHeader.number(([0xff, 0, 0, 0, 0, 0, 0, 1] as [UInt8]).span, "x") }
    }

    @Test(arguments: ["x", "5 a=b\n", "6 a=b", "99 a=b\n", "6 =bb\n", "7 a=b\n6 ", "0 a=b\n", "-6 a=b\n", "6 a=b\0"])
    func badRecords(text: String) { #expect(throws: TarError.self) { try TarPax(Array(text.utf8)) } }

    @Test(arguments: [
        ("0", Int64(0), UInt32(0)), ("1.5", 1, 500_000_000), ("-1.25", -2, 750_000_000),
        ("7.1234567891", 7, 123_456_789),
    ])
    func times(text: String, seconds: Int64, nanoseconds: UInt32) throws {
        var pax = TarPax()
        pax.set("mtime", text)
        let time = try #require(try pax.time("mtime"))
        #expect(time == (seconds, nanoseconds))
    }

    @Test(arguments: ["", "x", "1.x", "--1", "99999999999999999999", ".5"])
    func badTimes(text: String) throws {
        var pax = TarPax()
        pax.set("mtime", Array(text.utf8) + (text.isEmpty ? [0x20] : []))
        #expect(throws: TarError.self) { try pax.time("mtime") }
    }

    @Test(arguments: [
        "/etc", "a/../b", "..", "a/" + String(repeating: "n", count: 256), String(repeating: "a/", count: 2048),
    ])
    func pathsThatLeadElsewhere(path: String) {
        #expect(throws: Problem.self) { try TarEntry.parts(of: FileName(path)) }
    }

    @Test func pathsThatStay() throws {
        #expect(try TarEntry.parts(of: FileName("./a//b/./c/")) == ["a", "b", "c"].map { FileName($0) })
        #expect(try TarEntry.parts(of: FileName("./")) == [])
        #expect(try TarEntry.parts(of: FileName("..a/...")) == [FileName("..a"), FileName("...")])
    }
}
