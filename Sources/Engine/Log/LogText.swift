internal import LinuxKernel

/// What stands behind the text in every object of one moment: `","stream":"stdout","time":"…"}` and a line feed.
///
/// The part up to the second is made once a second, the rest once a read.
struct LogClock {
    private static let output: StaticString = "\",\"stream\":\"stdout\",\"time\":\""
    private static let error: StaticString = "\",\"stream\":\"stderr\",\"time\":\""
    private static let end: StaticString = "\"}\n"
    /// Bytes of "2026-01-02T03:04:05.123456789Z".
    private static let timeLength = 30
    static let length = output.utf8CodeUnitCount + timeLength + end.utf8CodeUnitCount
    private var second: Int64 = -1
    /// The time as text.
    private var time = [UInt8](repeating: 0x30, count: timeLength)
    private var text = [UInt8](repeating: 0, count: length)

    /// The end of each object that is written now.
    mutating func ending(isError: Bool) -> [UInt8] {
        let now = Clock.realtime
        if now / 1_000_000_000 != second {
            second = now / 1_000_000_000
            let whole = Array(Timestamp.text(second * 1_000_000_000).utf8)
            for index in 0..<20 { time[index] = whole[index] }
            time[29] = 0x5a
        }
        var rest = now % 1_000_000_000
        for index in stride(from: 28, to: 19, by: -1) {
            time[index] = 0x30 + UInt8(rest % 10)
            rest /= 10
        }
        let begin = isError ? LogClock.error : LogClock.output
        let (first, second) = (begin.utf8CodeUnitCount, begin.utf8CodeUnitCount + LogClock.timeLength)
        text.withUnsafeMutableBytes { bytes in
            bytes.baseAddress!.copyMemory(from: begin.utf8Start, byteCount: first)
            time.withUnsafeBytes { (bytes.baseAddress! + first).copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
            (bytes.baseAddress! + second)
                .copyMemory(from: LogClock.end.utf8Start, byteCount: LogClock.end.utf8CodeUnitCount)
        }
        return text
    }
}

/// Text to JSON, as fast as it can be: this is on the way of every byte that a program writes.
enum LogText {
    /// The most bytes that one object takes for so many bytes of text: each may become six, and up to eight are
    /// written beyond the end before that is known.
    static func room(for count: Int) -> Int { count * 6 + LogClock.length + 32 }

    private static let head: StaticString = "{\"log\":\""
    private static let binaryHead: StaticString = "{\"base64\":\""
    private static let digits: StaticString = "0123456789abcdef"
    private static let alphabet: StaticString = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

    /// What became of the beginning of some bytes.
    struct Encoded {
        /// Bytes of text that are in the object, and bytes that the object has; 0: there is none.
        var taken = 0
        var written = 0
        /// Bytes behind those that begin a character whose end has not come.
        var held = 0
    }

    /// Writes one object with the text up to and with the first line feed, or all of it where there is none.
    ///
    /// - Parameters:
    ///   - isLast: no more is known yet: a character without its end is held back.
    ///   - target: has ``room(for:)``.
    static func encode(
        _ text: UnsafeRawBufferPointer, isLast: Bool, ending: UnsafeRawBufferPointer, to target: UnsafeMutableRawPointer
    ) -> Encoded {
        var result = Encoded()
        let headLength = head.utf8CodeUnitCount
        target.copyMemory(from: head.utf8Start, byteCount: headLength)
        var (taken, written, high) = escape(text, to: target + headLength)
        if high {
            let line = UnsafeRawBufferPointer(rebasing: text[..<taken])
            let open = taken == text.count ? openCharacter(line) : 0
            // What it consists of was copied as it is. Without an end in sight it is no character, but bytes.
            if open > 0, open < taken || isLast {
                (taken, written) = (taken - open, written - open)
                if isLast { result.held = open }
            }
            let whole = UnsafeRawBufferPointer(rebasing: text[..<taken])
            if !isUTF8(whole) {
                target.copyMemory(from: binaryHead.utf8Start, byteCount: binaryHead.utf8CodeUnitCount)
                written = base64(whole, to: target + binaryHead.utf8CodeUnitCount)
                written += binaryHead.utf8CodeUnitCount - headLength
            }
        }
        guard taken > 0 else { return result }
        (target + headLength + written).copyMemory(from: ending.baseAddress!, byteCount: ending.count)
        result.taken = taken
        result.written = headLength + written + ending.count
        return result
    }

    private static let ones: UInt64 = 0x0101_0101_0101_0101
    private static let highs: UInt64 = 0x8080_8080_8080_8080

    /// Copies text up to and with the first line feed, eight bytes at a time while none of them means anything to
    /// JSON or a terminal. Tells what was taken, what that became, and whether bytes above 127 were in it.
    ///
    /// A byte below 0x20, and one that is zero after an exclusive or, is found by the borrow that a subtraction
    /// takes from its highest bit; only the first find counts, for later ones may be borrows.
    private static func escape(
        _ text: UnsafeRawBufferPointer, to target: UnsafeMutableRawPointer
    ) -> (taken: Int, written: Int, high: Bool) {
        guard let source = text.baseAddress else { return (0, 0, false) }
        let count = text.count
        var (at, out) = (0, 0)
        var seen: UInt64 = 0
        while at < count {
            if at &+ 8 <= count {
                let word = source.loadUnaligned(fromByteOffset: at, as: UInt64.self)
                let quotes = word ^ (ones &* 0x22)
                let slashes = word ^ (ones &* 0x5c)
                let deletes = word ^ (ones &* 0x7f)
                let special =
                    (((word &- ones &* 0x20) & ~word) | ((quotes &- ones) & ~quotes) | ((slashes &- ones) & ~slashes)
                        | ((deletes &- ones) & ~deletes)) & highs
                target.storeBytes(of: word, toByteOffset: out, as: UInt64.self)
                if special == 0 {
                    seen |= word
                    at &+= 8
                    out &+= 8
                    continue
                }
                let plain = special.trailingZeroBitCount >> 3
                seen |= word & ((1 << UInt64(plain &* 8)) &- 1)
                at &+= plain
                out &+= plain
            }
            let byte = source.load(fromByteOffset: at, as: UInt8.self)
            at &+= 1
            if byte >= 0x20 && byte != 0x22 && byte != 0x5c && byte != 0x7f {
                seen |= UInt64(byte)
                target.storeBytes(of: byte, toByteOffset: out, as: UInt8.self)
                out &+= 1
                continue
            }
            target.storeBytes(of: 0x5c, toByteOffset: out, as: UInt8.self)
            out &+= 2
            let letter: UInt8
            switch byte {
            case 0x22, 0x5c: letter = byte
            case 10: letter = 0x6e
            case 13: letter = 0x72
            case 9: letter = 0x74
            default:
                letter = 0x75
                target.storeBytes(of: 0x30, toByteOffset: out, as: UInt8.self)
                target.storeBytes(of: 0x30, toByteOffset: out &+ 1, as: UInt8.self)
                target.storeBytes(of: digits.utf8Start[Int(byte >> 4)], toByteOffset: out &+ 2, as: UInt8.self)
                target.storeBytes(of: digits.utf8Start[Int(byte & 15)], toByteOffset: out &+ 3, as: UInt8.self)
            }
            let place = out &- 1
            if letter == 0x75 { out &+= 4 }
            target.storeBytes(of: letter, toByteOffset: place, as: UInt8.self)
            if byte == 10 { break }
        }
        return (at, out, seen & highs != 0)
    }

    /// How many bytes at the end begin a UTF-8 character that is not whole (RFC 3629).
    static func openCharacter(_ bytes: UnsafeRawBufferPointer) -> Int {
        for back in 1...3 where back <= bytes.count {
            let byte = bytes[bytes.count - back]
            if byte & 0xc0 == 0x80 { continue }
            let length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1
            return length > back && byte < 0xf8 ? back : 0
        }
        return 0
    }

    /// Whether the bytes are well-formed UTF-8: no overlong form, no surrogate, nothing above U+10FFFF.
    static func isUTF8(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var index = 0
        let count = bytes.count
        while index < count {
            if index + 8 <= count,
                bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self) & 0x8080_8080_8080_8080 == 0
            {
                index += 8
                continue
            }
            let byte = bytes[index]
            if byte < 0x80 {
                index += 1
                continue
            }
            let length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2
            guard byte >= 0xc2, byte <= 0xf4, index + length <= count else { return false }
            let second = bytes[index + 1]
            switch byte {
            case 0xe0 where second < 0xa0, 0xed where second > 0x9f, 0xf0 where second < 0x90, 0xf4 where second > 0x8f:
                return false
            default: break
            }
            for offset in 1..<length where bytes[index + offset] & 0xc0 != 0x80 { return false }
            index += length
        }
        return true
    }

    /// Writes the bytes as base64 (RFC 4648, section 4), and returns how many that are.
    static func base64(_ bytes: UnsafeRawBufferPointer, to target: UnsafeMutableRawPointer) -> Int {
        var out = 0
        let put = { (value: UInt32) in
            target.storeBytes(of: alphabet.utf8Start[Int(value & 63)], toByteOffset: out, as: UInt8.self)
            out &+= 1
        }
        var at = 0
        while at &+ 3 <= bytes.count {
            let word = UInt32(bytes[at]) << 16 | UInt32(bytes[at &+ 1]) << 8 | UInt32(bytes[at &+ 2])
            put(word >> 18)
            put(word >> 12)
            put(word >> 6)
            put(word)
            at &+= 3
        }
        let left = bytes.count - at
        if left > 0 {
            let word = UInt32(bytes[at]) << 16 | (left > 1 ? UInt32(bytes[at + 1]) << 8 : 0)
            put(word >> 18)
            put(word >> 12)
            if left > 1 { put(word >> 6) }
            for _ in left..<3 {
                target.storeBytes(of: 0x3d, toByteOffset: out, as: UInt8.self)
                out += 1
            }
        }
        return out
    }

    /// Nil for what is no base64.
    static func decodeBase64(_ text: String) -> [UInt8]? {
        var bytes: [UInt8] = []
        var word: UInt32 = 0
        var bits = 0
        for byte in text.utf8 where byte != 0x3d {
            let value: UInt32
            switch byte {
            case 0x41...0x5a: value = UInt32(byte) - 0x41
            case 0x61...0x7a: value = UInt32(byte) - 0x61 + 26
            case 0x30...0x39: value = UInt32(byte) - 0x30 + 52
            case 0x2b: value = 62
            case 0x2f: value = 63
            default: return nil
            }
            word = word << 6 | value
            bits += 6
            if bits >= 8 {
                bits -= 8
                bytes.append(UInt8(truncatingIfNeeded: word >> UInt32(bits)))
            }
        }
        return bytes
    }
}
