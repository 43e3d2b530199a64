internal import LinuxKernel

/// A folder of the selftest's own, with all that attacks are aimed at, and all that they use:
///
///     codex32          the program under test: a copy that the caller owns, which is harder to keep whole
///     sentinel/file    the secret
///     volume/          shown inside, writable: `link` leads to the secret, `setuid` is a setuid program
///     read-only/file   shown inside, read-only
///     images/          root file systems that are the attacker's
///     storage/         the storage folder of the program under test
struct Place: ~Copyable {
    let path: String
    let secret: String
    private let parent: Descriptor
    private let name: String
    private let before: [String]
    /// Locked as long as this value is there: by that others know what nobody uses any more.
    private let lock: Descriptor

    /// - Parameter folder: where it is made; not in memory, so that a disk is what volumes lie on.
    init(in folder: String) throws(Problem) {
        let parent = try explaining("cannot make a folder for the selftest") { () throws(KernelError) in
            try makeFolders(folder)
        }
        Place.sweep(parent)
        let name = "selftest.\(Machine.randomHex(bytes: 8))"
        let secret = "secret-\(Machine.randomHex(bytes: 16))"
        let lock: Descriptor
        do {
            lock = try explaining("cannot make a folder for the selftest") { () throws(KernelError) in
                try parent.makeFolder(name, mode: 0o700)
                let root = try parent.open(name, [.read, .folder])
                _ = try root.lock(wait: false)
                try Place.fill(root, "\(folder)/\(name)", secret: secret)
                return root
            }
        } catch {
            try? parent.removeTree(name)
            throw error
        }
        self.lock = lock
        self.parent = parent
        self.name = name
        self.path = "\(folder)/\(name)"
        self.secret = secret
        before = Place.look("\(folder)/\(name)")
    }

    /// Takes away what was left by a selftest that was killed.
    private static func sweep(_ parent: borrowing Descriptor) {
        for name in (try? parent.entries()) ?? [] where name.hasPrefix("selftest.") {
            guard let root = try? parent.open(name, [.read, .folder, .noFollow]),
                (try? root.lock(wait: false)) == true
            else { continue }
            try? parent.removeContainerTree(name)
        }
    }

    private static func fill(
        _ root: borrowing Descriptor, _ path: String, secret: String
    ) throws(KernelError) {
        let program = try Descriptor.open("/proc/self/exe", [.read]).readAll(limit: 256 << 20)
        try write(root, "codex32", program, mode: 0o755)
        for folder in ["sentinel", "volume", "read-only", "images", "jail"] {
            try root.makeFolder(folder, mode: 0o755)
        }
        try write(root.open("sentinel", [.read, .folder]), "file", Array(secret.utf8), mode: 0o644)
        let volume = try root.open("volume", [.read, .folder])
        try volume.makeLink("link", to: "\(path)/sentinel/file")
        try write(volume, "setuid", program, mode: 0o4755)
        try write(root.open("read-only", [.read, .folder]), "file", Array("as it was\n".utf8), mode: 0o666)
        try write(root, "allow-all.json", Array(#"{"defaultAction": "SCMP_ACT_ALLOW"}"#.utf8), mode: 0o644)
        let unknown = #"{"defaultAction": "SCMP_ACT_ALLOW", "forgiving": true}"#
        try write(root, "unknown.json", Array(unknown.utf8), mode: 0o644)
        let timeless =
            #"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["time"], "action": "SCMP_ACT_ERRNO"}]}"#
        try write(root, "no-time.json", Array(timeless.utf8), mode: 0o644)
        let images = try root.open("images", [.read, .folder])
        for (image, links) in hostile(path) { try makeImage(images, image, links: links) }
    }

    /// For each image, the links that lie in wait in it: where, and where they lead.
    private static func hostile(_ path: String) -> [(name: String, links: [(at: String, to: String)])] {
        let sentinel = "\(path)/sentinel"
        return [
            ("plain", []), ("proc-link", [("proc", sentinel)]), ("sys-link", [("sys", sentinel)]),
            ("dev-link", [("dev", sentinel)]),
            ("tmp-link", [("tmp", sentinel)]),
            (
                "race",
                [
                    ("data-link", sentinel), ("proc-link", sentinel), ("dev-link", sentinel),
                    ("dev/link", "\(sentinel)/file"), ("dev/console-link", "\(sentinel)/file"),
                ]
            ),
            (
                "null-link",
                ["null", "zero", "console", "ptmx", "tty", "random"].map { ("dev/\($0)", "\(sentinel)/file") }
            ),
            (
                "data-link",
                [
                    ("data", sentinel), ("up", "../../../../../../../../../..\(sentinel)"),
                    ("descriptor", "/proc/self/fd/5"), ("old", "/proc/1/root\(sentinel)"),
                ]
            ),
        ]
    }

    private static func makeImage(
        _ images: borrowing Descriptor, _ name: String, links: [(at: String, to: String)]
    ) throws(KernelError) {
        try images.makeFolder(name, mode: 0o755)
        let root = try images.open(name, [.read, .folder])
        let taken = links.map(\.at)
        for folder in ["bin", "dev", "etc", "proc", "sys", "tmp", "run"] + (name == "race" ? ["data"] : [])
        where !taken.contains(folder) {
            try root.makeFolder(folder, mode: 0o755)
        }
        guard let busybox = HostProgram.find("busybox") else {
            throw KernelError("open", "busybox", number: Errno.missing)
        }
        let bytes = try Descriptor.open(busybox, [.read]).readAll(limit: 16 << 20)
        let programs = try root.open("bin", [.read, .folder])
        try write(programs, "busybox", bytes, mode: 0o755)
        for applet in ["sh", "cat", "ls", "echo"] { try programs.makeLink(applet, to: "busybox") }
        for file in name == "race" ? ["null", "console"] : [] {
            try write(root.open("dev", [.read, .folder]), file, [], mode: 0o666)
        }
        for link in links {
            let parts = link.at.split(separator: "/").map(String.init)
            if parts.count == 2 {
                try root.open(parts[0], [.read, .folder]).makeLink(parts[1], to: link.to)
            } else {
                try root.makeLink(parts[0], to: link.to)
            }
        }
    }

    private static func write(
        _ folder: borrowing Descriptor, _ name: String, _ bytes: [UInt8], mode: UInt32
    ) throws(KernelError) {
        let file = try folder.open(name, [.write, .create, .exclusive])
        try file.write(bytes: bytes)
        try file.setMode(mode)
    }

    /// What must not change: names, contents, owners, modes.
    private static func look(_ path: String) -> [String] {
        var seen: [String] = []
        for folder in ["sentinel", "read-only"] {
            let names = (try? Descriptor.open("\(path)/\(folder)", [.read, .folder]).entries()) ?? []
            seen.append("\(folder): \(names.sorted().joined(separator: " "))")
        }
        for file in ["sentinel/file", "read-only/file", "codex32"] {
            guard let status = try? Descriptor.status(ofPath: "\(path)/\(file)") else {
                seen.append("\(file): gone")
                continue
            }
            seen.append(
                "\(file): \(status.inode) \(status.uid) \(status.gid) \(status.mode) \(status.size) \(status.modified)")
            if file != "codex32", let text = try? Descriptor.contents(of: "\(path)/\(file)") { seen.append(text) }
        }
        return seen
    }

    /// What is no more as it was; nil: all is.
    func change() -> String? {
        let now = Place.look(path)
        guard now != before else { return nil }
        let changed = zip(before, now).first { $0 != $1 }
        return changed.map { "\($0.0) is now \($0.1)" } ?? "files are gone"
    }

    /// `@place@` and the profile for controls, in an option or a word.
    func filled(_ word: String) -> String {
        if word == Corpus.allowAll { return "\(path)/allow-all.json" }
        return word.replacing("@place@", with: path)
    }

    consuming func remove() throws(Problem) {
        try parent.removeContainerTree(name)
    }
}

extension String {
    /// With every place where a mark stands filled with a text.
    func replacing(_ mark: String, with text: String) -> String {
        guard holds(mark) else { return self }
        var rest = Substring(self)
        var filled = ""
        while !rest.isEmpty {
            if rest.hasPrefix(mark) {
                filled += text
                rest = rest.dropFirst(mark.count)
            } else {
                filled.append(rest.removeFirst())
            }
        }
        return filled
    }
}
