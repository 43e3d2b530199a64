public import LinuxKernel
internal import OCISpec

/// A registry that has others' images too: a cache nearby, as Docker and Podman call it.
public struct RegistryMirror: Equatable, Sendable, CustomStringConvertible {
    /// HOST[:PORT].
    public let registry: String
    /// What stands in front of the image's path there; empty: nothing.
    let prefix: String

    /// - Parameter text: HOST[:PORT][/PATH].
    public init(_ text: String) throws(Problem) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        do throws(Problem) { registry = try RegistryReference.host(parts[0]) } catch {
            throw Problem("cannot use the mirror \(text)", "it is no registry", hint: "HOST[:PORT][/PATH]")
        }
        prefix = parts.count == 2 ? parts[1] : ""
        // Its images must be names too: a mirror leads to no other path of that server's.
        guard parts.count == 1 || ImageName("\(text)/x").map({ $0.repository == "\(text)/x" }) == true else {
            throw Problem("cannot use the mirror \(text)", "it is no registry", hint: "HOST[:PORT][/PATH]")
        }
    }

    func repository(_ repository: String) -> String { prefix.isEmpty ? repository : "\(prefix)/\(repository)" }

    public var description: String { prefix.isEmpty ? registry : "\(registry)/\(prefix)" }
}

/// Which registry has mirrors, as a person or the machine's administrator wrote it into `codex32/registries.json`:
///
///     {"mirrors": {"docker.io": ["mirror.example:5000", "cache.example/docker"]}}
///
/// For what a name without a digest means, a mirror is believed as the registry itself is: it is named, never guessed.
public struct RegistryMirrors: Sendable {
    private let mirrors: [(registry: String, mirrors: [RegistryMirror])]

    private static let largest = 1 << 20
    private static let most = 16

    /// Of the first file that names the registry: a person's own, then the machine's.
    ///
    /// - Throws: a file that is not understood.
    public static func of(_ registry: String) throws(Problem) -> [RegistryMirror] {
        for path in files() {
            guard let bytes = try contents(path) else { continue }
            let all: RegistryMirrors
            do throws(DocumentError) { all = try RegistryMirrors(bytes) } catch {
                throw Problem("cannot use \(path)", error.description, hint: "codex32 image pull --help shows its form")
            }
            if let found = all.mirrors.first(where: { $0.registry == registry }) { return found.mirrors }
        }
        return []
    }

    init(_ bytes: [UInt8]) throws(DocumentError) {
        let top = try JSONObject(try JSONReader.read(bytes), at: "")
        try top.allow(only: ["mirrors"])
        var mirrors: [(String, [RegistryMirror])] = []
        if let object = try top.object("mirrors") {
            for member in object.others(than: []) {
                let place = "mirrors.\(member.name)"
                let list = try object.strings(member.name)
                guard list.count <= RegistryMirrors.most else {
                    throw DocumentError(place, "has more than \(RegistryMirrors.most) mirrors")
                }
                var found: [RegistryMirror] = []
                do throws(Problem) {
                    _ = try RegistryReference.host(member.name)
                    for text in list { found.append(try RegistryMirror(text)) }
                } catch { throw DocumentError(place, "\(error.what): \(error.why)") }
                mirrors.append((member.name, found))
            }
        }
        self.mirrors = mirrors
    }

    private static func files() -> [String] {
        var files = ["/etc/codex32/registries.json"]
        if let home = Machine.environment("XDG_CONFIG_HOME"), home.hasPrefix("/") {
            files.insert("\(home)/codex32/registries.json", at: 0)
        } else if let home = Machine.environment("HOME"), home.hasPrefix("/") {
            files.insert("\(home)/.config/codex32/registries.json", at: 0)
        }
        return files
    }

    private static func contents(_ path: String) throws(Problem) -> [UInt8]? {
        do throws(KernelError) {
            let file = try Descriptor.open(path, [.read, .nonblocking])
            let status = try file.status()
            guard status.kind == .file, status.mode & 0o002 == 0 else {
                throw KernelError("open", path, number: Errno.invalid)
            }
            return try file.readAll(limit: largest)
        } catch {
            if error.number == Errno.missing || error.number == Errno.notFolder { return nil }
            guard error.number == Errno.invalid else { throw Problem("cannot use \(path)", error) }
            throw Problem(
                "cannot use \(path)", "it is no file, or everybody may write to it",
                hint: "it says where images come from: chmod o-w \(path)")
        }
    }
}
