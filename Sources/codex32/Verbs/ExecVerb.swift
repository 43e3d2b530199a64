internal import Engine
internal import LinuxKernel

/// `codex32 exec`.
enum ExecVerb {
    struct Draft: VerbDraft {
        var help = false
        var storage: String?
        var container: String?
        var exec = ExecConfiguration(command: [])
        /// Nil: the usual ones, where there is a terminal to type them on.
        var keys: [UInt8]?
    }

    static let command = Command<Draft>(
        name: "exec", synopsis: "codex32 exec [OPTIONS] CONTAINER COMMAND [ARGUMENT...]",
        summary: "run another program in a container that runs",
        details: """
            It has what the container's own program has: namespaces, cgroup, limits, seccomp filter, capabilities and
            Landlock. Its exit status is this command's; 125 codex32 could not do it, 126 not executable, 127 not
            found. When this command ends, however it ends, so does the program, unless it was started with -d, or Ctrl-P
            Ctrl-Q was typed (with -i -t): then it goes on, with its terminal, and nobody there.
            """
    ) { number in
        switch number {
        case 0: ("Options", options)
        case 1: CommonOptions.group()
        default: nil
        }
    }

    private static let options: [Option<Draft>] = [
        .flag("-i", "--interactive", help: "pass input on") { $0.exec.interactive = true },
        .flag("-t", "--tty", help: "a terminal of its own, from the container") {
            $0.exec.terminal = true
        },
        .flag("-d", "--detach", help: "return when it has begun; it has no input and no output") {
            $0.exec.detach = true
        },
        .option(
            "--detach-keys", value: "KEYS",
            help: "with -i -t: these instead of ctrl-p,ctrl-q leave the program alone; none: no keys do"
        ) { draft, text throws(Problem) in draft.keys = try DetachKeys.parse(text) },
        .option("-e", "--env", value: "NAME[=VALUE]", help: "a variable; without a value, this command's") {
            draft, text throws(Problem) in try setEnvironment(text, in: &draft)
        },
        .option("-w", "--workdir", value: "FOLDER", help: "where it begins (default: as the container)") {
            draft, text throws(Problem) in
            draft.exec.workingFolder = try Value.inside(text, option: "-w")
        },
        .option(
            "-u", "--user", value: "USER[:GROUP]",
            help: "run as this user: numbers, or names that the container knows"
        ) { $0.exec.user = $1 },
    ]

    private static func setEnvironment(_ text: String, in draft: inout Draft) throws(Problem) {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard let name = parts.first, !name.isEmpty, !text.utf8.contains(0) else {
            throw Value.wrong("-e", text, "NAME=VALUE or NAME")
        }
        guard let value = parts.count == 2 ? parts[1] : Machine.environment(name) else { return }
        draft.exec.environment.append((name, value))
    }

    static let verb = Verb(command) { words throws(Problem) in try run(words) }

    /// As the process that keeps the program: see ``ExecKeeper``.
    static func runKept(_ words: [String]) throws(Problem) -> Int32 {
        try run(Array(words.dropFirst(2)), keeper: try ExecKeeper.Link(words))
    }

    static func run(_ words: [String], keeper: consuming ExecKeeper.Link? = nil) throws(Problem) -> Int32 {
        var draft = Draft()
        let rest = try command.parse(words, into: &draft) { draft, word throws(Problem) in
            draft.container = word
            return false
        }
        if draft.help {
            StandardStream.output.print(HelpText.command(command))
            return 0
        }
        guard let container = draft.container else {
            throw Problem("no container", "exec needs one", hint: "codex32 exec --help")
        }
        draft.exec.command = rest.first == "--" ? Array(rest.dropFirst()) : rest
        guard let program = draft.exec.command.first, !program.isEmpty else {
            throw Problem("no command", "exec needs one", hint: "codex32 exec \(container) COMMAND")
        }
        if draft.exec.detach, draft.exec.terminal || draft.exec.interactive {
            throw Problem(
                "cannot use -d with \(draft.exec.terminal ? "-t" : "-i")",
                "a program without this command has nobody to talk to", hint: "leave one of them out")
        }
        let isTypedOn = draft.exec.terminal && draft.exec.interactive && StandardStream.input.isTerminal
        guard isTypedOn || draft.keys?.isEmpty != false else {
            throw Problem(
                "cannot use --detach-keys", "nothing is typed on a terminal of the program's",
                hint: "codex32 exec -i -t, on a terminal; -d leaves a program alone from its start")
        }
        draft.exec.detachKeys = isTypedOn ? draft.keys ?? Containers.usualDetachKeys : []
        if !draft.exec.detachKeys.isEmpty, keeper == nil { return try ExecKeeper.run(words) }
        return try CommonOptions.containers(draft).exec(container, draft.exec, keeper: keeper)
    }
}
