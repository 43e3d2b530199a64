/// An object being decoded: what is not asked for in the end was unknown, and that is an error.
public struct JSONObject {
    public let place: String
    private let members: [JSON.Member]

    public init(_ value: JSON, at place: String) throws(DocumentError) {
        guard case .object(let members) = value else { throw DocumentError(place, "must be an object") }
        self.members = members
        self.place = place
    }

    /// Refuses any member whose name is not in the list.
    public func allow(only names: Set<String>) throws(DocumentError) {
        for member in members where !names.contains(member.name) {
            throw DocumentError(path(member.name), "is not known")
        }
    }

    /// Refuses a member whose name is one of these in other letters: somebody meant that one, and would be passed over.
    public func refuse(alike names: Set<String>) throws(DocumentError) {
        for member in members where !names.contains(member.name) {
            let letters = member.name.lowercased()
            if let meant = names.first(where: { $0.lowercased() == letters }) {
                throw DocumentError(path(member.name), "is not known: the specification writes it \(meant)")
            }
        }
    }

    private func path(_ name: String) -> String { place.isEmpty ? name : "\(place).\(name)" }

    /// A member's value; null counts as missing.
    public func value(_ name: String) -> JSON? {
        guard let value = members.first(where: { $0.name == name })?.value, value != .null else { return nil }
        return value
    }

    public func string(_ name: String) throws(DocumentError) -> String? {
        guard let value = value(name) else { return nil }
        guard case .string(let text) = value else { throw DocumentError(path(name), "must be a string") }
        return text
    }

    public func required(_ name: String) throws(DocumentError) -> String {
        guard let text = try string(name) else { throw DocumentError(path(name), "is missing") }
        return text
    }

    public func unsigned(_ name: String) throws(DocumentError) -> UInt64? {
        guard let value = value(name) else { return nil }
        switch value {
        case .integer(let number) where number >= 0: return UInt64(number)
        case .unsigned(let number): return number
        default: throw DocumentError(path(name), "must be a whole number of 0 or more")
        }
    }

    public func integer(_ name: String) throws(DocumentError) -> Int64? {
        guard let value = value(name) else { return nil }
        guard case .integer(let number) = value else { throw DocumentError(path(name), "must be a whole number") }
        return number
    }

    public func bool(_ name: String) throws(DocumentError) -> Bool? {
        guard let value = value(name) else { return nil }
        guard case .bool(let flag) = value else { throw DocumentError(path(name), "must be true or false") }
        return flag
    }

    /// A user's or group's number: 4294967295 means "none" to the kernel.
    public func identity(_ name: String) throws(DocumentError) -> UInt32? {
        guard let number = try unsigned(name) else { return nil }
        guard number < UInt64(UInt32.max) else { throw DocumentError(path(name), "is no id") }
        return UInt32(number)
    }

    public func numbers(_ name: String) throws(DocumentError) -> [UInt64] {
        var list: [UInt64] = []
        for (index, value) in try values(name).enumerated() {
            guard case .integer(let number) = value, number >= 0 else {
                throw DocumentError("\(path(name))[\(index)]", "must be a whole number of 0 or more")
            }
            list.append(UInt64(number))
        }
        return list
    }

    /// The members of an object whose values are all strings, in their order.
    public func pairs() throws(DocumentError) -> [(name: String, value: String)] {
        var list: [(name: String, value: String)] = []
        list.reserveCapacity(members.count)
        // Not by name: each would be looked for among all, and there may be very many.
        for member in members {
            guard case .string(let text) = member.value else {
                throw DocumentError(path(member.name), member.value == .null ? "is missing" : "must be a string")
            }
            list.append((member.name, text))
        }
        return list
    }

    /// The members of an object whose values are all objects.
    public func objects() throws(DocumentError) -> [(name: String, value: JSONObject)] {
        var list: [(name: String, value: JSONObject)] = []
        for member in members { list.append((member.name, try JSONObject(member.value, at: path(member.name)))) }
        return list
    }

    /// The members that are not in the list: a newer codex32's, which are kept as they are.
    public func others(than names: Set<String>) -> [JSON.Member] { members.filter { !names.contains($0.name) } }

    public func strings(_ name: String) throws(DocumentError) -> [String] {
        var list: [String] = []
        for (index, value) in try values(name).enumerated() {
            guard case .string(let text) = value else {
                throw DocumentError("\(path(name))[\(index)]", "must be a string")
            }
            list.append(text)
        }
        return list
    }

    public func objects(_ name: String) throws(DocumentError) -> [JSONObject] {
        var list: [JSONObject] = []
        for (index, value) in try values(name).enumerated() {
            list.append(try JSONObject(value, at: "\(path(name))[\(index)]"))
        }
        return list
    }

    public func object(_ name: String) throws(DocumentError) -> JSONObject? {
        guard let value = value(name) else { return nil }
        return try JSONObject(value, at: path(name))
    }

    private func values(_ name: String) throws(DocumentError) -> [JSON] {
        guard let value = value(name) else { return [] }
        guard case .array(let values) = value else { throw DocumentError(path(name), "must be an array") }
        return values
    }
}
