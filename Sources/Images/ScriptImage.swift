public import LinuxKernel

/// A script or program of the caller's, run over the `host` template.
public enum ScriptImage {
    /// Where the file appears inside.
    public static let folder = "/app"

    /// The interpreters for names without a `#!` line.
    private static let bySuffix: [(suffix: String, command: [String])] = [
        (".py", ["python3", "-u"]), (".sh", ["sh"]), (".bash", ["bash"]), (".js", ["node"]), (".mjs", ["node"]),
        (".rb", ["ruby"]), (".pl", ["perl"]), (".lua", ["lua"]), (".php", ["php"]),
    ]

    private static func name(_ path: String) -> String { String(path.split(separator: "/").last ?? "program") }

    static func image(_ path: String, _ status: FileStatus) throws(Problem) -> Image {
        let name = name(path)
        let inside = "\(folder)/\(name)"
        let command = try interpreter(path, name, status)
        guard case .assembled(let root) = try Template.named("host").kind else {
            throw Problem("the template host is broken", "it must be assembled")
        }
        var entries = root.entries()
        entries.append(.folder(folder, mode: 0o755))
        entries.append(.bind(path, status, at: inside))
        return Image(
            reference: path, root: .assembled(entries), entrypoint: command + [inside], command: [],
            workingFolder: folder)
    }

    /// The same over an image with what the script needs, instead of over the machine's own programs.
    static func image(_ path: String, over root: Image.Root) throws(Problem) -> Image {
        let status = try explaining("cannot use the image \(path)") { () throws(KernelError) in
            try Descriptor.status(ofPath: path)
        }
        guard status.kind == .file else {
            throw Problem("cannot use the image \(path)", "it is no script any more", hint: "make the container anew")
        }
        let inside = "\(folder)/\(name(path))"
        let command = try interpreter(path, name(path), status)
        var image = Image(
            reference: path, root: root, entrypoint: command + [inside], command: [], workingFolder: folder)
        image.script = (path, status, inside)
        return image
    }

    /// Whether it is Python that runs a file: what it needs may stand in a `requirements.txt` beside it.
    public static func isPython(_ path: String) throws(Problem) -> Bool {
        guard let status = try? Descriptor.status(ofPath: path), status.kind == .file else { return false }
        let command = try interpreter(path, name(path), status)
        let isEnv = command.first?.hasSuffix("/env") == true
        // env(1) -S has the words in one argument, as the kernel gave them.
        let words = isEnv ? command.dropFirst().flatMap { $0.split(separator: " ").map(String.init) } : command
        guard let program = words.first(where: { !isEnv || !$0.hasPrefix("-") && !$0.holds("=") }) else { return false }
        let name = (program.split(separator: "/").last ?? "").utf8
        let digits = name.dropFirst("python".utf8.count)
        return name.starts(with: "python".utf8) && digits.allSatisfy { (0x30...0x39).contains($0) || $0 == 0x2e }
    }

    /// By the first line where it says, else by the name, else as a program of its own.
    private static func interpreter(_ path: String, _ name: String, _ status: FileStatus) throws(Problem) -> [String] {
        let head: [UInt8] = try explaining(
            "cannot use the image \(path)", hint: "it must be readable by the user who runs codex32"
        ) {
            () throws(KernelError) in
            try Descriptor.open(path, [.read, .nonblocking]).readPrefix(256)
        }
        if head.isEmpty {
            throw Problem("cannot use the image \(path)", "the file is empty", hint: "write a program into it")
        }
        if let command = parse(head) { return command }
        if head.starts(with: [0x7f, 0x45, 0x4c, 0x46]) {
            guard status.mode & 0o111 != 0 else {
                throw Problem("cannot run \(path)", "it is not executable", hint: "chmod +x \(path)", status: 126)
            }
            return []
        }
        for (suffix, command) in bySuffix where name.hasSuffix(suffix) { return command }
        throw Problem(
            "cannot run \(path)", "it has no #! line, and its name does not tell its language",
            hint: "begin it with a line such as #!/usr/bin/env python3", status: 126)
    }

    /// "#!interpreter [argument]", as the kernel reads it: one argument at most (execve(2)).
    static func parse(_ head: [UInt8]) -> [String]? {
        guard head.starts(with: [0x23, 0x21]) else { return nil }
        let isBlank = { (byte: UInt8) in byte == 0x20 || byte == 0x09 }
        // By bytes, as the kernel does it; a carriage return at the end is an editor's of another system.
        var line = head.dropFirst(2).prefix { $0 != 0x0a }.drop(while: isBlank)
        while let last = line.last, isBlank(last) || last == 0x0d { line.removeLast() }
        let program = line.prefix { !isBlank($0) }
        guard !program.isEmpty else { return nil }
        let argument = line.dropFirst(program.count).drop(while: isBlank)
        let words = [program] + (argument.isEmpty ? [] : [argument])
        return words.map { String(decoding: $0, as: UTF8.self) }
    }
}
