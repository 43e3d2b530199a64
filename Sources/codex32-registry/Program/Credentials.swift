internal import Glibc
internal import OCISpec

/// Who somebody is at a registry, from where Docker and Podman keep it.
struct Credentials: Sendable {
    let user: String
    let password: String
    /// What a login at the registry's own pages gave (Docker's config.json, "identitytoken"): it stands for user and
    /// password, and buys the tokens that are for one purpose and a short time.
    var identityToken: String?

    var basic: String { "Basic " + Base64.encode("\(user):\(password)") }

    /// - Parameter registry: HOST[:PORT], as in an image's name.
    /// - Returns: nil: nobody, so that only what is public can be had.
    static func find(_ registry: String) throws(Failure) -> Credentials? {
        for path in CredentialFile.paths {
            guard let file = try CredentialFile.read(path) else { continue }
            for key in CredentialFile.keys(registry) {
                if case .string(let helper)? = file["credHelpers"]?[key] { return try ask(helper, key) }
                let entry = file["auths"]?[key]
                if case .string(let token)? = entry?["identitytoken"], !token.isEmpty {
                    return Credentials(user: "", password: "", identityToken: token)
                }
                if case .string(let text)? = entry?["auth"], !text.isEmpty {
                    guard let both = Base64.decode(text), let colon = both.firstIndex(of: ":") else {
                        throw Failure("\(path): the entry for \(key) is damaged", hint: "codex32 login \(registry)")
                    }
                    return Credentials(
                        user: String(both[..<colon]), password: String(both[both.index(after: colon)...]))
                }
            }
            if case .string(let helper)? = file["credsStore"] {
                for key in CredentialFile.keys(registry) { if let found = try ask(helper, key) { return found } }
            }
        }
        return nil
    }

    private static func ask(_ helper: String, _ key: String) throws(Failure) -> Credentials? {
        let output = try Helper.run(helper, "get", input: key)
        if output.isEmpty { return nil }
        guard let answer = try? JSONReader.read(output), case .string(let user)? = answer["Username"],
            case .string(let secret)? = answer["Secret"]
        else { throw Failure("the credential helper \(helper) answered with something else") }
        // docker-credential-helpers' name for whoever has one.
        if user == "<token>" { return Credentials(user: "", password: "", identityToken: secret) }
        return Credentials(user: user, password: secret)
    }

    /// Keeps them: with the helper that the file names, else in the file, readable by its owner alone.
    ///
    /// - Returns: what a person should know about where they are.
    func keep(_ registry: String) throws(Failure) -> String {
        let path = try CredentialFile.own()
        let file = try CredentialFile.read(path) ?? .object([])
        let key = CredentialFile.keys(registry)[0]
        if let helper = CredentialFile.helper(file, key) {
            let entry = JSON.members([
                "ServerURL": .string(key), "Username": .string(user), "Secret": .string(password),
            ])
            _ = try Helper.run(helper, "store", input: entry.text())
            return "kept by docker-credential-\(helper)"
        }
        let entry = JSON.members(["auth": .string(Base64.encode("\(user):\(password)"))])
        let auths = (file["auths"] ?? .object([])).setting(key, entry)
        try CredentialFile.write(path, file.setting("auths", auths))
        return "kept in \(path), where they are not encrypted"
    }

    /// - Returns: whether there were any.
    static func forget(_ registry: String) throws(Failure) -> Bool {
        let path = try CredentialFile.own()
        guard let file = try CredentialFile.read(path) else { return false }
        var found = false
        var auths = file["auths"] ?? .object([])
        for key in CredentialFile.keys(registry) {
            if let helper = CredentialFile.helper(file, key) {
                found = try !Helper.run(helper, "get", input: key).isEmpty || found
                _ = try? Helper.run(helper, "erase", input: key)
            }
            if auths[key] != nil {
                found = true
                auths = auths.setting(key, nil)
            }
        }
        if found, file["auths"] != nil { try CredentialFile.write(path, file.setting("auths", auths)) }
        return found
    }
}

/// Docker's config.json, and Podman's auth.json of the same form.
enum CredentialFile {
    private static func variable(_ name: String) -> String? {
        guard let value = getenv(name), value.pointee != 0 else { return nil }
        return String(cString: value)
    }

    /// Where logins are kept: as Docker has it.
    static func own() throws(Failure) -> String {
        if let folder = variable("DOCKER_CONFIG") { return "\(folder)/config.json" }
        guard let home = variable("HOME") else {
            throw Failure("HOME is not set", hint: "set it, or DOCKER_CONFIG, to where logins are kept")
        }
        return "\(home)/.docker/config.json"
    }

    static var paths: [String] {
        var paths: [String] = []
        if let own = try? own() { paths.append(own) }
        if let folder = variable("XDG_RUNTIME_DIR") { paths.append("\(folder)/containers/auth.json") }
        return paths
    }

    /// The names under which a registry may stand there; its own first.
    static func keys(_ registry: String) -> [String] {
        if registry == "docker.io" { return ["https://index.docker.io/v1/", "docker.io"] }
        return [registry, "https://\(registry)", "https://\(registry)/v2/", "https://\(registry)/v1/"]
    }

    static func helper(_ file: JSON, _ key: String) -> String? {
        if case .string(let name)? = file["credHelpers"]?[key] { return name }
        if case .string(let name)? = file["credsStore"] { return name }
        return nil
    }

    /// Nil: there is none.
    static func read(_ path: String) throws(Failure) -> JSON? {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else {
            if errno == ENOENT || errno == ENOTDIR { return nil }
            throw Failure("cannot read \(path): \(String(cString: strerror(errno)))")
        }
        defer { close(file) }
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = Glibc.read(file, &piece, piece.count)
            if count < 0 { throw Failure("cannot read \(path): \(String(cString: strerror(errno)))") }
            if count == 0 { break }
            bytes += piece[..<count]
            if bytes.count > 4 << 20 { throw Failure("\(path) is larger than 4 MiB") }
        }
        do throws(DocumentError) { return try JSONReader.read(bytes) } catch {
            throw Failure("\(path) is no JSON: \(error)", hint: "mend it, or move it away")
        }
    }

    /// Whole or not at all, and never readable by others, not for a moment.
    static func write(_ path: String, _ document: JSON) throws(Failure) {
        let folder = String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
        let failed = { (what: String) in Failure("cannot write \(what): \(String(cString: strerror(errno)))") }
        if mkdir(folder, 0o700) < 0, errno != EEXIST { throw failed(folder) }
        var template = Array("\(path).XXXXXX".utf8CString)
        let file = mkstemp(&template)
        guard file >= 0 else { throw failed(path) }
        defer { close(file) }
        let bytes = Array((document.text(pretty: true) + "\n").utf8)
        guard Glibc.write(file, bytes, bytes.count) == bytes.count, fsync(file) == 0, rename(template, path) == 0 else {
            let failure = failed(path)
            unlink(template)
            throw failure
        }
    }
}

extension JSON {
    /// The object with one member exchanged, added at the end, or (nil) taken out.
    func setting(_ name: String, _ value: JSON?) -> JSON {
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
