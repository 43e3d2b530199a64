/// RFC 4648, section 4.
public enum Base64 {
    private static let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    public static func encode(_ text: String) -> String {
        var output: [UInt8] = []
        let bytes = Array(text.utf8)
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[start..<min(start + 3, bytes.count)]
            var value: UInt32 = 0
            for index in 0..<3 { value = value << 8 | UInt32(index < group.count ? group[start + index] : 0) }
            for index in 0..<4 {
                output.append(index <= group.count ? letters[Int(value >> UInt32(18 - 6 * index) & 63)] : 0x3d)
            }
        }
        return String(decoding: output, as: UTF8.self)
    }

    /// Nil: it is none, or no text.
    public static func decode(_ text: String) -> String? {
        var value: UInt32 = 0
        var bits = 0
        var output: [UInt8] = []
        for byte in text.utf8 where byte != 0x3d && byte != 0x0a {
            guard let digit = letters.firstIndex(of: byte) else { return nil }
            value = value << 6 | UInt32(digit)
            bits += 6
            guard bits >= 8 else { continue }
            bits -= 8
            output.append(UInt8(truncatingIfNeeded: value >> UInt32(bits)))
        }
        return String(validating: output, as: UTF8.self)
    }
}
