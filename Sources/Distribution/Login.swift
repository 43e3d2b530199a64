public import OCISpec

/// Who somebody is at a registry.
public struct Credentials: Equatable, Sendable {
    public let user: String
    public let password: String
    /// What a login at the registry's own pages gave (Docker's config.json, "identitytoken"): it stands for user and
    /// password, and buys the tokens that are for one purpose and a short time.
    public let identityToken: String?

    public init(user: String, password: String) {
        (self.user, self.password, identityToken) = (user, password, nil)
    }

    public init(identityToken: String) { (user, password, self.identityToken) = ("", "", identityToken) }

    /// The header's value (RFC 7617).
    public var basic: String { "Basic " + Base64.encode("\(user):\(password)") }

    /// What a credential helper answers to `get`.
    public init(helper: String, said bytes: [UInt8]) throws(Failure) {
        guard let answer = try? JSONReader.read(bytes), case .string(let user)? = answer["Username"],
            case .string(let secret)? = answer["Secret"]
        else { throw Failure("the credential helper \(helper) answered with something else") }
        // docker-credential-helpers' name for whoever has one.
        if user == "<token>" { self.init(identityToken: secret) } else { self.init(user: user, password: secret) }
    }
}

/// Docker's config.json, and Podman's auth.json of the same form: which logins it has.
public struct LoginDocument: Equatable, Sendable {
    public private(set) var json: JSON

    public init(_ json: JSON = .object([])) { self.json = json }

    public enum Entry: Equatable, Sendable {
        case login(Credentials)
        /// Ask this helper for that name.
        case helper(String, key: String)
    }

    /// The names under which a registry may stand there; its own first.
    public static func keys(_ registry: String) -> [String] {
        if registry == "docker.io" { return ["https://index.docker.io/v1/", "docker.io"] }
        return [registry, "https://\(registry)", "https://\(registry)/v2/", "https://\(registry)/v1/"]
    }

    /// What stands there of a registry.
    /// - Returns: nil: nothing, or only ``usualHelper`` may know.
    /// - Throws: what stands there is no login.
    public func entry(_ registry: String, path: String) throws(Failure) -> Entry? {
        for key in LoginDocument.keys(registry) {
            if case .string(let helper)? = json["credHelpers"]?[key] { return .helper(helper, key: key) }
            let entry = json["auths"]?[key]
            if case .string(let token)? = entry?["identitytoken"], !token.isEmpty {
                return .login(Credentials(identityToken: token))
            }
            guard case .string(let text)? = entry?["auth"], !text.isEmpty else { continue }
            guard let both = Base64.decode(text), let colon = both.utf8.firstIndex(of: 0x3a) else {
                throw Failure("\(path): the entry for \(key) is damaged", hint: "codex32 login \(registry)")
            }
            return .login(
                Credentials(user: String(both[..<colon]), password: String(both[both.utf8.index(after: colon)...])))
        }
        return nil
    }

    /// The helper for all that stands nowhere else.
    public var usualHelper: String? {
        if case .string(let name)? = json["credsStore"] { name } else { nil }
    }

    /// The helper that keeps the login of that name; nil: this document does.
    public func helper(_ key: String) -> String? {
        if case .string(let name)? = json["credHelpers"]?[key] { name } else { usualHelper }
    }

    /// - Throws: `auths` is something else, and stays what it is.
    public mutating func keep(_ credentials: Credentials, _ key: String, path: String) throws(Failure) {
        let entry = JSON.members(["auth": .string(Base64.encode("\(credentials.user):\(credentials.password)"))])
        let auths = json["auths"] ?? .object([])
        guard case .object = json, case .object = auths else {
            throw Failure("\(path) is not as Docker keeps logins", hint: "mend it, or move it away")
        }
        json = json.setting("auths", auths.setting(key, entry))
    }

    /// - Returns: whether there was one.
    public mutating func forget(_ key: String) -> Bool {
        guard let auths = json["auths"], auths[key] != nil else { return false }
        json = json.setting("auths", auths.setting(key, nil))
        return true
    }
}

extension JSON {
    /// The object with one member exchanged, added at the end, or (nil) taken out.
    fileprivate func setting(_ name: String, _ value: JSON?) -> JSON {
        guard case .object(var members) = self else { return self }
        let index = members.firstIndex { $0.name == name }
        if let value {
            if let index { members[index] = Member(name, value) } else { members.append(Member(name, value)) }
        } else if let index {
            members.remove(at: index)
        }
        return .object(members)
    }
}
