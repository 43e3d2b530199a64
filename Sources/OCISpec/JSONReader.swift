/// Reads JSON from anybody: bounded in size and depth, strict, every duplicate name an error.
public struct JSONReader {
    /// Documents nest less than this; deeper ones are attacks on the stack.
    public static let depthLimit = 64

    private let bytes: [UInt8]
    private var position = 0

    /// Reads a whole document.
    public static func read(_ bytes: [UInt8]) throws(DocumentError) -> JSON {
        var reader = JSONReader(bytes: bytes)
        let value = try reader.value(depth: 0)
        reader.skipBlanks()
        if reader.position < bytes.count { throw reader.error("more text behind the document") }
        return value
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private func error(_ why: String) -> DocumentError {
        let line = bytes[..<min(position, bytes.count)].reduce(1) { $1 == 10 ? $0 + 1 : $0 }
        return DocumentError("line \(line)", why)
    }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skipBlanks() {
        while let byte = next, byte == 32 || byte == 10 || byte == 13 || byte == 9 { position += 1 }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard next == byte else { return false }
        position += 1
        return true
    }

    private mutating func word(_ text: StaticString) -> Bool {
        let count = text.utf8CodeUnitCount
        guard position + count <= bytes.count else { return false }
        for offset in 0..<count where bytes[position + offset] != text.utf8Start[offset] { return false }
        position += count
        return true
    }

    private mutating func value(depth: Int) throws(DocumentError) -> JSON {
        if depth > JSONReader.depthLimit { throw error("nested more than \(JSONReader.depthLimit) deep") }
        skipBlanks()
        switch next {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): if word("true") { return .bool(true) }
        case UInt8(ascii: "f"): if word("false") { return .bool(false) }
        case UInt8(ascii: "n"): if word("null") { return .null }
        case .some(UInt8(ascii: "-")), .some(UInt8(ascii: "0")...UInt8(ascii: "9")): return try number()
        case nil: throw error("the document ends too early")
        default: break
        }
        throw error("no JSON value here")
    }

    private mutating func object(depth: Int) throws(DocumentError) -> JSON {
        position += 1
        var members: [JSON.Member] = []
        var names: Set<String> = []
        skipBlanks()
        if take(UInt8(ascii: "}")) { return .object([]) }
        while true {
            skipBlanks()
            guard next == UInt8(ascii: "\"") else { throw error("a member's name is missing") }
            let name = try string()
            // A few names are compared faster than they are hashed: up to about as many as a container's record has.
            let isNew: Bool
            if members.count < 64 {
                isNew = !members.contains { $0.name == name }
            } else {
                if names.isEmpty { names = Set(members.map(\.name)) }
                isNew = names.insert(name).inserted
            }
            guard isNew else { throw error("the member \(name) stands twice") }
            skipBlanks()
            guard take(UInt8(ascii: ":")) else { throw error("a colon is missing") }
            members.append(JSON.Member(name, try value(depth: depth + 1)))
            skipBlanks()
            if take(UInt8(ascii: "}")) { return .object(members) }
            guard take(UInt8(ascii: ",")) else { throw error("a comma or } is missing") }
        }
    }

    private mutating func array(depth: Int) throws(DocumentError) -> JSON {
        position += 1
        var values: [JSON] = []
        skipBlanks()
        if take(UInt8(ascii: "]")) { return .array([]) }
        while true {
            values.append(try value(depth: depth + 1))
            skipBlanks()
            if take(UInt8(ascii: "]")) { return .array(values) }
            guard take(UInt8(ascii: ",")) else { throw error("a comma or ] is missing") }
        }
    }

    private mutating func number() throws(DocumentError) -> JSON {
        let start = position
        _ = take(UInt8(ascii: "-"))
        let firstDigit = position
        var whole = true
        while let byte = next {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): break
            case UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"), UInt8(ascii: "+"), UInt8(ascii: "-"):
                whole = false
            default:
                return try finishNumber(start, firstDigit, whole)
            }
            position += 1
        }
        return try finishNumber(start, firstDigit, whole)
    }

    private func finishNumber(_ start: Int, _ firstDigit: Int, _ whole: Bool) throws(DocumentError) -> JSON {
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        let leadingZero =
            position > firstDigit + 1 && bytes[firstDigit] == UInt8(ascii: "0")
            && (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[firstDigit + 1])
        if position == firstDigit || leadingZero { throw error("\(text) is not a number") }
        if whole {
            if let value = Int64(text) { return .integer(value) }
            if let value = UInt64(text) { return .unsigned(value) }
            throw error("\(text.prefix(40)) is too large")
        }
        guard text.last != ".", let value = Double(text), value.isFinite else {
            throw error("\(text.prefix(40)) is not a number")
        }
        return .real(value)
    }

    private mutating func string() throws(DocumentError) -> String {
        position += 1
        // Mostly nothing in it is escaped, and then it is taken as it stands.
        let start = position
        var all: UInt8 = 0
        while let byte = next, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\"), byte >= 32 {
            all |= byte
            position += 1
        }
        if next == UInt8(ascii: "\"") {
            // ASCII is valid: to be told so takes the generic way through the standard library, once for each start.
            if all < 0x80 {
                let text = String(decoding: bytes[start..<position], as: UTF8.self)
                position += 1
                return text
            }
            guard let text = String(validating: bytes[start..<position], as: UTF8.self) else {
                throw error("a string is not UTF-8")
            }
            position += 1
            return text
        }
        var plain = Array(bytes[start..<position])
        while let byte = next {
            position += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let text = String(validating: plain, as: UTF8.self) else { throw error("a string is not UTF-8") }
                return text
            case UInt8(ascii: "\\"): plain += try escape()
            case 0..<32: throw error("a control character in a string")
            default: plain.append(byte)
            }
        }
        throw error("a string does not end")
    }

    private mutating func escape() throws(DocumentError) -> [UInt8] {
        guard let byte = next else { throw error("a string does not end") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [byte]
        case UInt8(ascii: "b"): return [8]
        case UInt8(ascii: "f"): return [12]
        case UInt8(ascii: "n"): return [10]
        case UInt8(ascii: "r"): return [13]
        case UInt8(ascii: "t"): return [9]
        case UInt8(ascii: "u"):
            var value = try hexadecimal()
            if (0xd800..<0xdc00).contains(value) {
                guard word("\\u") else { throw error("half a surrogate pair") }
                let low = try hexadecimal()
                guard (0xdc00..<0xe000).contains(low) else { throw error("half a surrogate pair") }
                value = 0x10000 + (value - 0xd800) << 10 + (low - 0xdc00)
            }
            guard let scalar = Unicode.Scalar(value) else { throw error("half a surrogate pair") }
            return Array(String(Character(scalar)).utf8)
        default: throw error("an unknown escape in a string")
        }
    }

    private mutating func hexadecimal() throws(DocumentError) -> UInt32 {
        guard position + 4 <= bytes.count,
            bytes[position..<position + 4].allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }),
            let value = UInt32(String(decoding: bytes[position..<position + 4], as: UTF8.self), radix: 16)
        else { throw error("\\u wants four hexadecimal digits") }
        position += 4
        return value
    }
}
