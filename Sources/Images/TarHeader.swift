internal import LinuxKernel

/// The 512 bytes in front of each member: ustar (POSIX.1-1988), as GNU tar writes it too.
struct TarHeader: Equatable {
    static let size = 512
    /// Numbers up to this fit into the eleven octal digits of a size or time, the seven of an id.
    static let greatestSize: UInt64 = 0o77_777_777_777
    static let greatestID: UInt64 = 0o7_777_777

    var path: [UInt8] = []
    var mode: UInt32 = 0
    var uid: UInt64 = 0
    var gid: UInt64 = 0
    var size: UInt64 = 0
    var modified: Int64 = 0
    var type: UInt8 = 0x30
    var target: [UInt8] = []
    var deviceNumber: (major: UInt32, minor: UInt32) = (0, 0)

    static func == (a: TarHeader, b: TarHeader) -> Bool { a.encoded == b.encoded }

    init() {}

    // MARK: Reading

    /// - Returns: nil for a block of zeros, which ends an archive.
    /// - Throws: why it is no header.
    init?(_ bytes: [UInt8]) throws(TarError) {
        precondition(bytes.count == TarHeader.size)
        // Spans: with slices of the array their counting of references takes longer than the reading.
        let block = bytes.span
        var sum: UInt64 = 0
        for place in block.indices { sum += UInt64(block[place]) }
        if sum == 0 { return nil }
        // The checksum's own field counts as blanks.
        for place in 148..<156 { sum = sum - UInt64(block[place]) + 0x20 }
        guard try TarHeader.number(block.extracting(148..<156), "checksum") == sum else {
            throw TarError("a header's checksum is wrong: this is no tar archive, or a damaged one")
        }
        path = TarHeader.text(bytes, 0..<100)
        let mode = try TarHeader.number(block.extracting(100..<108), "mode")
        self.mode = UInt32(truncatingIfNeeded: mode & 0o7777)
        uid = try TarHeader.number(block.extracting(108..<116), "uid")
        gid = try TarHeader.number(block.extracting(116..<124), "gid")
        size = try TarHeader.number(block.extracting(124..<136), "size")
        modified = try TarHeader.time(block.extracting(136..<148))
        type = block[156]
        target = TarHeader.text(bytes, 157..<257)
        let isUstar = bytes[257..<263].elementsEqual(TarHeader.magic)
        if type == 0x33 || type == 0x34 {
            let major = try TarHeader.number(block.extracting(329..<337), "major")
            let minor = try TarHeader.number(block.extracting(337..<345), "minor")
            guard major <= UInt32.max, minor <= UInt32.max else { throw TarError("a device number is too large") }
            deviceNumber = (UInt32(major), UInt32(minor))
        }
        // GNU's own format has other things in this place (tar(5)).
        if isUstar && block[345] != 0 { path = TarHeader.text(bytes, 345..<500) + [0x2f] + path }
    }

    private static let magic: [UInt8] = [0x75, 0x73, 0x74, 0x61, 0x72, 0]

    /// A field's bytes up to a zero, if there is one.
    private static func text(_ block: [UInt8], _ field: Range<Int>) -> [UInt8] {
        if block[field.lowerBound] == 0 { return [] }
        var end = field.lowerBound
        while end < field.upperBound, block[end] != 0 { end += 1 }
        return Array(block[field.lowerBound..<end])
    }

    /// Octal digits between blanks, or GNU's base 256, whose first byte is 128.
    static func number(_ field: Span<UInt8>, _ name: String) throws(TarError) -> UInt64 {
        var value: UInt64 = 0
        var place = 0
        if !field.isEmpty, field[0] & 0x80 != 0 {
            guard field[0] == 0x80 else { throw TarError("a \(name) is negative") }
            for place in 1..<field.count {
                guard value <= UInt64.max >> 8 else { throw TarError("a \(name) is too large") }
                value = value << 8 | UInt64(field[place])
            }
            guard value <= UInt64(Int64.max) else { throw TarError("a \(name) is too large") }
            return value
        }
        while place < field.count, field[place] == 0x20 { place += 1 }
        while place < field.count, field[place] != 0x20, field[place] != 0 {
            guard (0x30...0x37).contains(field[place]) else { throw TarError("a \(name) is no number") }
            value = value << 3 | UInt64(field[place] - 0x30)  // at most 12 digits: 36 bits
            place += 1
        }
        while place < field.count {
            guard field[place] == 0x20 || field[place] == 0 else { throw TarError("a \(name) is no number") }
            place += 1
        }
        return value
    }

    /// A time may lie before 1970: base 256 in two's complement, whose first byte is 255.
    private static func time(_ field: Span<UInt8>) throws(TarError) -> Int64 {
        guard field[0] == 0xff else { return Int64(try number(field, "time")) }
        for place in 1..<4 where field[place] != 0xff { throw TarError("a time is too early") }
        var value: UInt64 = 0
        for place in 4..<12 { value = value << 8 | UInt64(field[place]) }
        let time = Int64(bitPattern: value)
        guard time < 0 else { throw TarError("a time is too early") }
        return time
    }

    // MARK: Writing

    /// The block. What does not fit its field must have been said in an extended header, and is cut here.
    var encoded: [UInt8] {
        var block = [UInt8](repeating: 0, count: TarHeader.size)
        put(path.prefix(100), 0, &block)
        octal(UInt64(mode), 100, 8, &block)
        octal(uid <= TarHeader.greatestID ? uid : 0, 108, 8, &block)
        octal(gid <= TarHeader.greatestID ? gid : 0, 116, 8, &block)
        octal(size <= TarHeader.greatestSize ? size : 0, 124, 12, &block)
        octal(modified >= 0 && modified <= Int64(TarHeader.greatestSize) ? UInt64(modified) : 0, 136, 12, &block)
        block[156] = type
        put(target.prefix(100), 157, &block)
        put([0x75, 0x73, 0x74, 0x61, 0x72, 0, 0x30, 0x30], 257, &block)
        if type == 0x33 || type == 0x34 {
            octal(UInt64(deviceNumber.major), 329, 8, &block)
            octal(UInt64(deviceNumber.minor), 337, 8, &block)
        }
        put([UInt8](repeating: 0x20, count: 8)[...], 148, &block)
        octal(block.reduce(UInt64(0)) { $0 + UInt64($1) }, 148, 7, &block)
        return block
    }

    private func put(_ bytes: ArraySlice<UInt8>, _ at: Int, _ block: inout [UInt8]) {
        block.replaceSubrange(at..<(at + bytes.count), with: bytes)
    }

    private func octal(_ value: UInt64, _ at: Int, _ width: Int, _ block: inout [UInt8]) {
        var rest = value
        for place in stride(from: at + width - 2, through: at, by: -1) {
            block[place] = 0x30 + UInt8(rest & 7)
            rest >>= 3
        }
        block[at + width - 1] = 0
    }
}

/// Why bytes are no archive that this reader takes.
public struct TarError: Error, Equatable, Sendable {
    public let why: String
    init(_ why: String) { self.why = why }
}
