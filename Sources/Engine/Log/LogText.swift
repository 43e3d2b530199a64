internal import LinuxKernel

/// "2026-01-02T03:04:05.123456789Z" as 30 bytes.
typealias StaticTime = [UInt8]

/// The present time as text; the part up to the second is made once a second.
struct LogClock {
    private var second: Int64 = -1
    private var text = [UInt8](repeating: 0x30, count: 30)

    mutating func now() -> StaticTime {
        let now = Clock.realtime
        if now / 1_000_000_000 != second {
            second = now / 1_000_000_000
            let whole = Array(Timestamp.text(second * 1_000_000_000).utf8)
            for index in 0..<20 { text[index] = whole[index] }
            text[29] = 0x5a
        }
        var rest = now % 1_000_000_000
        for index in stride(from: 28, to: 19, by: -1) {
            text[index] = 0x30 + UInt8(rest % 10)
            rest /= 10
        }
        return text
    }
}

/// Text to JSON, as fast as it can be: this is on the way of every byte that a program writes.
enum LogText {
    /// Bytes up to and with the first line feed, at most so many.
    static func line(_ bytes: UnsafeRawBufferPointer, most: Int) -> Int {
        let count = min(bytes.count, most)
        for index in 0..<count where bytes[index] == 10 { return index + 1 }
        return count
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

    private static let head = Array("{\"log\":\"".utf8)
    private static let binaryHead = Array("{\"base64\":\"".utf8)
    private static let output = Array("\",\"stream\":\"stdout\",\"time\":\"".utf8)
    private static let error = Array("\",\"stream\":\"stderr\",\"time\":\"".utf8)
    private static let end = Array("\"}\n".utf8)
    private static let digits = Array("0123456789abcdef".utf8)

    static func encode(_ text: UnsafeRawBufferPointer, isError: Bool, _ time: StaticTime, into buffer: inout [UInt8]) {
        if isUTF8(text) {
            buffer += head
            escape(text, into: &buffer)
        } else {
            buffer += binaryHead
            base64(text, into: &buffer)
        }
        buffer += isError ? error : output
        buffer += time
        buffer += end
    }

    /// Copies runs of plain bytes at once.
    private static func escape(_ text: UnsafeRawBufferPointer, into buffer: inout [UInt8]) {
        var start = 0
        for index in 0..<text.count {
            let byte = text[index]
            if byte >= 0x20 && byte != 0x22 && byte != 0x5c && byte != 0x7f { continue }
            buffer += text[start..<index]
            start = index + 1
            switch byte {
            case 0x22: buffer += [0x5c, 0x22]
            case 0x5c: buffer += [0x5c, 0x5c]
            case 10: buffer += [0x5c, 0x6e]
            case 13: buffer += [0x5c, 0x72]
            case 9: buffer += [0x5c, 0x74]
            default: buffer += [0x5c, 0x75, 0x30, 0x30, digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        buffer += text[start...]
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

    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    static func base64(_ bytes: UnsafeRawBufferPointer, into buffer: inout [UInt8]) {
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let left = bytes.count - start
            let first = UInt32(bytes[start]) << 16
            let word =
                first | (left > 1 ? UInt32(bytes[start + 1]) << 8 : 0) | (left > 2 ? UInt32(bytes[start + 2]) : 0)
            buffer.append(alphabet[Int(word >> 18)])
            buffer.append(alphabet[Int(word >> 12 & 63)])
            buffer.append(left > 1 ? alphabet[Int(word >> 6 & 63)] : 0x3d)
            buffer.append(left > 2 ? alphabet[Int(word & 63)] : 0x3d)
        }
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
