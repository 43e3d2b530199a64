/// What a server wants before it answers (RFC 9110, 11.6.1; distribution-spec, "Token Authentication").
public struct Challenge: Equatable, Sendable {
    public enum Scheme: Equatable, Sendable { case basic, bearer }
    public let scheme: Scheme
    /// By their names in lower case.
    public let parameters: [String: String]

    /// Bytes of the longest header that is read.
    static let longest = 4096

    /// The first of the headers that can be met; a token before a password.
    public static func best(_ headers: [String]) -> Challenge? {
        let all = headers.flatMap(list)
        return all.first { $0.scheme == .bearer } ?? all.first
    }

    /// Those of one header that are known: a header may have several, between commas, as their parameters are. What
    /// follows something that is neither is left out.
    static func list(_ header: String) -> [Challenge] {
        guard header.utf8.count <= longest else { return [] }
        var reader = Reader(bytes: Array(header.utf8))
        var found: [Challenge] = []
        // A scheme's name is followed by a space, that of a parameter by "=".
        var name = reader.word()
        while !name.isEmpty {
            let scheme = name.lowercased()
            var parameters: [String: String] = [:]
            name = ""
            while true {
                reader.skip(spaceAndComma)
                let word = reader.word()
                guard let value = reader.value() else {
                    name = word
                    break
                }
                parameters[word.lowercased()] = value
            }
            switch scheme {
            case "basic": found.append(Challenge(scheme: .basic, parameters: parameters))
            case "bearer": found.append(Challenge(scheme: .bearer, parameters: parameters))
            default: break
            }
        }
        return found
    }

    private static let space: [UInt8] = [0x20, 0x09]
    private static let spaceAndComma = space + [0x2c]

    private struct Reader {
        let bytes: [UInt8]
        var at = 0

        var next: UInt8? { at < bytes.count ? bytes[at] : nil }

        mutating func skip(_ set: [UInt8]) { while let byte = next, set.contains(byte) { at += 1 } }

        mutating func word() -> String {
            let start = at
            while let byte = next, byte != 0x3d, !spaceAndComma.contains(byte) { at += 1 }
            return String(decoding: bytes[start..<at], as: UTF8.self)
        }

        /// What follows "=", as it is or in quotes; nil: there is no "=", and nothing was read.
        mutating func value() -> String? {
            let start = at
            skip(space)
            guard next == 0x3d else {
                at = start
                return nil
            }
            at += 1
            skip(space)
            guard next == 0x22 else { return word() }
            at += 1
            var value: [UInt8] = []
            while let byte = next, byte != 0x22 {
                if byte == 0x5c, at + 1 < bytes.count { at += 1 }
                value.append(bytes[at])
                at += 1
            }
            at = min(at + 1, bytes.count)
            return String(decoding: value, as: UTF8.self)
        }
    }
}
