/// URLs that registries give, as text: what is behind the host is theirs alone.
public enum RegistryURL {
    static let longest = 16384

    /// SCHEME://HOST[:PORT] of a URL; nil: it is none that is spoken here.
    public static func origin(of url: String) -> String? {
        for scheme in ["https://", "http://"] where url.lowercased().hasPrefix(scheme) {
            let rest = url.dropFirst(scheme.utf8.count)
            let host = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
            // A user's name in it is a way to look like another host.
            guard !host.isEmpty, !host.contains("@") else { return nil }
            let isPlain = host.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f }
            return isPlain ? scheme + host.lowercased() : nil
        }
        return nil
    }

    /// Where a `Location` points to that came from a URL.
    public static func resolve(_ target: String, from url: String) throws(Failure) -> String {
        guard target.utf8.count <= longest, target.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
            throw Failure("the registry points to a place that is no URL")
        }
        if target.hasPrefix("/"), !target.hasPrefix("//"), let origin = origin(of: url) { return origin + target }
        guard origin(of: target) != nil else { throw Failure("the registry points to a place that is no URL") }
        return target
    }

    /// For messages: without what may be a secret.
    public static func shown(_ url: String) -> String { origin(of: url) ?? "somewhere" }

    /// Who gives the token that a challenge wants.
    public static func tokenPlace(_ challenge: Challenge) throws(Failure) -> String {
        guard let realm = challenge.parameters["realm"], origin(of: realm) != nil,
            realm.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f })
        else { throw Failure("the registry wants a token and does not say from where") }
        return realm
    }

    /// Where the token is to be had, with what it is for.
    public static func token(_ challenge: Challenge) throws(Failure) -> String {
        let place = try tokenPlace(challenge)
        let fields = fields(challenge).joined(separator: "&")
        return fields.isEmpty ? place : place + (place.utf8.contains(0x3f) ? "&" : "?") + fields
    }

    /// What is sent there (RFC 6749, 6) by whoever has an identity token, which stands in no URL.
    public static func form(_ challenge: Challenge, identityToken: String) -> String {
        let own = ["grant_type=refresh_token", "client_id=codex32", "refresh_token=\(escape(identityToken))"]
        return (fields(challenge) + own).joined(separator: "&")
    }

    private static func fields(_ challenge: Challenge) -> [String] {
        ["service", "scope"].compactMap { name in challenge.parameters[name].map { "\(name)=\(escape($0))" } }
    }

    /// RFC 3986, 2.1: all but the unreserved.
    public static func escape(_ text: String) -> String {
        var output = ""
        for byte in text.utf8 {
            let isPlain =
                (0x61...0x7a).contains(byte) || (0x41...0x5a).contains(byte) || (0x30...0x39).contains(byte)
                || [0x2d, 0x2e, 0x5f, 0x7e].contains(byte)
            if isPlain {
                output.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                let digits = String(byte, radix: 16, uppercase: true)
                output += "%" + (digits.utf8.count == 1 ? "0" : "") + digits
            }
        }
        return output
    }
}
