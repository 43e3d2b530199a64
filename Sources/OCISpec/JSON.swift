/// A JSON value (RFC 8259), kept in the order of the document.
public indirect enum JSON: Equatable, Sendable {
    case null
    case bool(Bool)
    /// A whole number that fits. Fractions are ``real``.
    case integer(Int64)
    case unsigned(UInt64)
    case real(Double)
    case string(String)
    case array([JSON])
    case object([Member])

    public struct Member: Equatable, Sendable {
        public let name: String
        public let value: JSON
        public init(_ name: String, _ value: JSON) {
            self.name = name
            self.value = value
        }
    }

    /// An object from pairs, in their order.
    public static func members(_ pairs: KeyValuePairs<String, JSON>) -> JSON {
        .object(pairs.map { Member($0.key, $0.value) })
    }

    public static func number(_ value: Int32?) -> JSON { value.map { .integer(Int64($0)) } ?? .null }
    public static func number(_ value: Int64?) -> JSON { value.map { .integer($0) } ?? .null }
    @inlinable  // made for the kind of number where it is used
    public static func number<Number: BinaryInteger>(_ value: Number?) -> JSON {
        guard let value else { return .null }
        if let small = Int64(exactly: value) { return .integer(small) }
        return UInt64(exactly: value).map { .unsigned($0) } ?? .null
    }

    public static func text(_ value: String?) -> JSON { value.map { .string($0) } ?? .null }
    public static func list(_ values: [String]) -> JSON { .array(values.map { .string($0) }) }

    public subscript(name: String) -> JSON? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.name == name }?.value
    }
}

/// What is wrong with a document, and where in it.
public struct DocumentError: Error, Equatable, CustomStringConvertible {
    /// As in "syscalls[3].args[0].op"; empty for the document itself.
    public let place: String
    public let why: String
    /// What helps, where it is not another document.
    public let hint: String?

    public init(_ place: String, _ why: String, hint: String? = nil) {
        self.place = place
        self.why = why
        self.hint = hint
    }

    public var description: String { place.isEmpty ? why : "\(place): \(why)" }
}
