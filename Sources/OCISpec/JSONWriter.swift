extension JSON {
    /// The document as text: in one line, or indented for people. Control characters are escaped, and
    /// so are the marks that move text about on a terminal.
    public func text(pretty: Bool = false) -> String {
        // Bytes, for a record is written at every start, and each addition to a String costs many calls.
        var output: [UInt8] = []
        output.reserveCapacity(512)
        write(to: &output, indent: pretty ? 0 : nil)
        return String(decoding: output, as: UTF8.self)
    }

    private func write(to output: inout [UInt8], indent: Int?) {
        switch self {
        case .null: output += "null".utf8
        case .bool(let value): output += (value ? "true" : "false").utf8
        case .integer(let value): output += String(value).utf8
        case .unsigned(let value): output += String(value).utf8
        case .real(let value): output += (value.isFinite ? String(value) : "null").utf8
        case .string(let value): JSON.write(value, to: &output)
        case .array(let values):
            JSON.list(values, "[", "]", to: &output, indent: indent) { value, output, indent in
                value.write(to: &output, indent: indent)
            }
        case .object(let members):
            JSON.list(members, "{", "}", to: &output, indent: indent) { member, output, indent in
                JSON.write(member.name, to: &output)
                output += (indent == nil ? ":" : ": ").utf8
                member.value.write(to: &output, indent: indent)
            }
        }
    }

    private static func list<Element>(
        _ elements: [Element], _ open: Unicode.Scalar, _ close: Unicode.Scalar, to output: inout [UInt8], indent: Int?,
        _ body: (Element, inout [UInt8], Int?) -> Void
    ) {
        output.append(UInt8(ascii: open))
        for (index, element) in elements.enumerated() {
            if index > 0 { output.append(UInt8(ascii: ",")) }
            if let indent { newLine(indent + 1, &output) }
            body(element, &output, indent.map { $0 + 1 })
        }
        if let indent, !elements.isEmpty { newLine(indent, &output) }
        output.append(UInt8(ascii: close))
    }

    private static func newLine(_ indent: Int, _ output: inout [UInt8]) {
        output.append(UInt8(ascii: "\n"))
        for _ in 0..<2 * indent { output.append(UInt8(ascii: " ")) }
    }

    /// Whether a text stands for itself: nearly all of a record does, and is taken over as it is.
    private static func isPlain(_ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        for byte in bytes where byte < 0x20 || byte > 0x7e || byte == 0x22 || byte == 0x5c { return false }
        return true
    }

    private static func write(_ text: String, to output: inout [UInt8]) {
        output.append(UInt8(ascii: "\""))
        var text = text
        let isWritten = text.withUTF8 { bytes in
            guard isPlain(bytes) else { return false }
            output.append(contentsOf: bytes)
            return true
        }
        if isWritten { return output.append(UInt8(ascii: "\"")) }
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": output += "\\\"".utf8
            case "\\": output += "\\\\".utf8
            case "\n": output += "\\n".utf8
            case "\r": output += "\\r".utf8
            case "\t": output += "\\t".utf8
            case " "..."~": output.append(UInt8(truncatingIfNeeded: scalar.value))
            default:
                let value = scalar.value
                if value < 0x20 || (0x7f...0x9f).contains(value) || (0x202a...0x202e).contains(value)
                    || (0x2066...0x2069).contains(value)
                {
                    let digits = String(value, radix: 16)
                    output += ("\\u" + String(repeating: "0", count: 4 - digits.count) + digits).utf8
                } else {
                    output += UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter
                }
            }
        }
        output.append(UInt8(ascii: "\""))
    }
}
