internal import LinuxKernel

/// A script or program of the caller's, run over the `host` template.
enum ScriptImage {
    /// Where the file appears inside.
    static let folder = "/app"

    /// The interpreters for names without a `#!` line.
    private static let bySuffix: [(suffix: String, command: [String])] = [
        (".py", ["python3", "-u"]), (".sh", ["sh"]), (".bash", ["bash"]), (".js", ["node"]), (".mjs", ["node"]),
        (".rb", ["ruby"]), (".pl", ["perl"]), (".lua", ["lua"]), (".php", ["php"]),
    ]

    static func image(_ path: String, _ status: FileStatus) throws(Problem) -> Image {
        let name = String(path.split(separator: "/").last ?? "program")
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
        let line = String(decoding: head.dropFirst(2).prefix { $0 != 10 }, as: UTF8.self)
        let trimmed = line.drop { $0 == " " || $0 == "\t" }
        guard let program = trimmed.split(whereSeparator: { $0 == " " || $0 == "\t" || $0 == "\r" }).first else {
            return nil
        }
        let rest = trimmed.dropFirst(program.count).drop { $0 == " " || $0 == "\t" }
        var argument = rest
        while let last = argument.last, last == " " || last == "\t" || last == "\r" { argument.removeLast() }
        return argument.isEmpty ? [String(program)] : [String(program), String(argument)]
    }
}
