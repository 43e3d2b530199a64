public import LinuxKernel

/// Where codex32 keeps what lasts and what a reboot may take (design.md, section 5).
public struct Storage: Sendable {
    /// `/var/lib/codex32`, or the user's own: templates, layers, caches.
    public let data: String
    /// `/run/codex32`, or the user's own: what runs now.
    public let runtime: String

    public init(data: String, runtime: String) {
        self.data = data
        self.runtime = runtime
    }

    /// By `--root`, else by the environment, else by who asks.
    public static func current(option: String?) throws(Problem) -> Storage {
        if let root = option ?? Machine.environment("CODEX32_STORAGE_DIR")
            ?? Machine.environment("CONTAINER_STORAGE_DIR")
        {
            guard root.hasPrefix("/") || option != nil else {
                throw Problem(
                    "cannot use the storage folder \(root)", "it must be an absolute path",
                    hint: "set CODEX32_STORAGE_DIR to one that begins with /")
            }
            let path = root.hasPrefix("/") ? root : "\(Machine.workingFolder)/\(root)"
            return Storage(data: path, runtime: "\(path)/run")
        }
        if Machine.isRoot { return Storage(data: "/var/lib/codex32", runtime: "/run/codex32") }
        guard let home = Machine.environment("HOME"), home.hasPrefix("/") else {
            throw Problem("cannot find the storage folder", "HOME is not set", hint: "set it, or use --root FOLDER")
        }
        let data = (Machine.environment("XDG_DATA_HOME") ?? "\(home)/.local/share") + "/codex32"
        let runtime = Machine.environment("XDG_RUNTIME_DIR").map { "\($0)/codex32" } ?? "\(data)/run"
        return Storage(data: data, runtime: runtime)
    }

    public var seccompCache: String { "\(data)/cache" }
    var running: String { "\(runtime)/containers" }
    var containers: String { "\(data)/containers" }
    /// The sockets of supervisors.
    var supervised: String { "\(runtime)/supervised" }
    var names: String { "\(data)/names" }
    var journal: String { "\(data)/events" }
    var layers: String { "\(data)/layers" }
    /// Volumes of containers' own: see ``OwnVolumes``.
    var volumes: String { "\(data)/volumes" }
}

/// A container's id: 64 random bits for its owner, long enough for a million of them.
public enum ContainerID {
    public static func make() -> String { Machine.randomHex(bytes: 8) }

    public static func isValid(_ text: String) -> Bool {
        text.utf8.count == 16 && text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }

    /// The first of the 65,536 host ids that a container of root gets: one of 8,192 blocks in a
    /// part of the number space that no distribution gives to people or services.
    public static func identityBase(_ id: String) -> UInt32 {
        let block = UInt32(id.suffix(4), radix: 16).map { $0 % 8192 } ?? 0
        return 1_073_741_824 + block * 65536
    }
}
