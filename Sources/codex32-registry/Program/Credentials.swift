internal import Distribution
internal import Glibc
internal import OCISpec

/// Where Docker and Podman keep who somebody is.
extension Credentials {
    /// - Parameter registry: HOST[:PORT], as in an image's name.
    /// - Returns: nil: nobody, so that only what is public can be had.
    static func find(_ registry: String) throws(Failure) -> Credentials? {
        for path in CredentialFile.paths {
            guard let file = try CredentialFile.read(path) else { continue }
            switch try file.entry(registry, path: path) {
            case .login(let found): return found
            case .helper(let helper, let key): return try ask(helper, key)
            case nil: break
            }
            guard let helper = file.usualHelper else { continue }
            for key in LoginDocument.keys(registry) { if let found = try ask(helper, key) { return found } }
        }
        return nil
    }

    private static func ask(_ helper: String, _ key: String) throws(Failure) -> Credentials? {
        let output = try Helper.run(helper, "get", input: key)
        return output.isEmpty ? nil : try Credentials(helper: helper, said: output)
    }

    /// Keeps them: with the helper that the file names, else in the file, readable by its owner alone.
    ///
    /// - Returns: what a person should know about where they are.
    func keep(_ registry: String) throws(Failure) -> String {
        let path = try CredentialFile.own()
        var file = try CredentialFile.read(path) ?? LoginDocument()
        let key = LoginDocument.keys(registry)[0]
        if let helper = file.helper(key) {
            let entry = JSON.members([
                "ServerURL": .string(key), "Username": .string(user), "Secret": .string(password),
            ])
            _ = try Helper.run(helper, "store", input: entry.text())
            return "kept by docker-credential-\(helper)"
        }
        try file.keep(self, key, path: path)
        try CredentialFile.write(path, file.json)
        return "kept in \(path), where they are not encrypted"
    }

    /// - Returns: whether there were any.
    static func forget(_ registry: String) throws(Failure) -> Bool {
        let path = try CredentialFile.own()
        guard var file = try CredentialFile.read(path) else { return false }
        var (isFound, isChanged) = (false, false)
        for key in LoginDocument.keys(registry) {
            if let helper = file.helper(key) {
                isFound = try !Helper.run(helper, "get", input: key).isEmpty || isFound
                _ = try? Helper.run(helper, "erase", input: key)
            }
            isChanged = file.forget(key) || isChanged
        }
        if isChanged { try CredentialFile.write(path, file.json) }
        return isFound || isChanged
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

    /// Nil: there is none.
    static func read(_ path: String) throws(Failure) -> LoginDocument? {
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
        do throws(DocumentError) { return LoginDocument(try JSONReader.read(bytes)) } catch {
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
