/// What a server wants before it answers (RFC 9110, 11.6.1; distribution-spec, "Token Authentication").
struct Challenge: Equatable {
    enum Scheme: Equatable { case basic, bearer }
    let scheme: Scheme
    let parameters: [String: String]

    /// The first of the headers that can be met; a token before a password.
    static func best(_ headers: [String]) -> Challenge? {
        let all = headers.compactMap(Challenge.init)
        return all.first { $0.scheme == .bearer } ?? all.first
    }

    init?(_ text: String) {
        guard text.utf8.count <= 4096 else { return nil }
        let bytes = Array(text.utf8)
        var at = 0
        func word() -> String {
            let start = at
            while at < bytes.count, ![0x20, 0x09, 0x3d, 0x2c].contains(bytes[at]) { at += 1 }
            return String(decoding: bytes[start..<at], as: UTF8.self)
        }
        func skip(_ set: [UInt8]) { while at < bytes.count, set.contains(bytes[at]) { at += 1 } }
        switch word().lowercased() {
        case "basic": scheme = .basic
        case "bearer": scheme = .bearer
        default: return nil
        }
        var found: [String: String] = [:]
        while at < bytes.count {
            skip([0x20, 0x09, 0x2c])
            let name = word().lowercased()
            if name.isEmpty { break }
            guard at < bytes.count, bytes[at] == 0x3d else { break }
            at += 1
            if at < bytes.count, bytes[at] == 0x22 {
                at += 1
                var value: [UInt8] = []
                while at < bytes.count, bytes[at] != 0x22 {
                    if bytes[at] == 0x5c, at + 1 < bytes.count { at += 1 }
                    value.append(bytes[at])
                    at += 1
                }
                at += 1
                found[name] = String(decoding: value, as: UTF8.self)
            } else {
                found[name] = word()
            }
        }
        parameters = found
    }
}
