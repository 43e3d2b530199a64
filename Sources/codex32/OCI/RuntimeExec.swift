internal import Engine
internal import LinuxKernel

/// `codex32 oci exec`: a second program in a container.
enum RuntimeExec {
    struct Draft: VerbDraft {
        var help = false
        var storage: String?
        var execution = BundleExecution()
    }

    static let command = Command<Draft>(
        name: "oci exec", synopsis: "codex32 oci exec [OPTIONS] CONTAINER [COMMAND [ARGUMENT...]]",
        summary: "run another program in a container",
        details: """
            It has what the container's own process has, unless an option says otherwise: namespaces, cgroup, seccomp
            filter, capabilities, limits. The status is the program's; 255 it could not be started.
            """,
        groups: [("Options", options)])

    private static let options: [Option<Draft>] = [
        .option("-p", "--process", value: "FILE", help: "the whole process, as in config.json; no COMMAND then") {
            $0.execution.processFile = $1
        },
        .option("--cwd", value: "FOLDER", help: "where it begins") { draft, text throws(Problem) in
            draft.execution.folder = try Value.inside(text, option: "--cwd")
        },
        .option("-e", "--env", value: "NAME=VALUE", help: "a variable") { draft, text throws(Problem) in
            guard text.utf8.first != 0x3d, text.utf8.contains(0x3d), !text.utf8.contains(0) else {
                throw Value.wrong("--env", text, "NAME=VALUE")
            }
            draft.execution.environment.append(text)
        },
        .option("-u", "--user", value: "UID[:GID]", help: "its ids; without a GID the container's own") {
            draft, text throws(Problem) in
            let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
            guard parts.count <= 2 else { throw Value.wrong("--user", text, "UID[:GID], in numbers") }
            draft.execution.user = (
                try identity(parts[0], option: "--user"),
                parts.count == 2 ? try identity(parts[1], option: "--user") : nil
            )
        },
        .option("-g", "--additional-gids", value: "GID", help: "a group more") { draft, text throws(Problem) in
            for part in text.split(separator: ",", omittingEmptySubsequences: false) {
                draft.execution.groups.append(try identity(String(part), option: "--additional-gids"))
            }
        },
        .option("-c", "--cap", value: "NAME", help: "a capability more") { draft, text throws(Problem) in
            guard CapabilitySet(name: text) != nil else { throw Value.wrong("--cap", text, "as in CAP_NET_RAW") }
            draft.execution.capabilities.append(text)
        },
        .flag("-t", "--tty", help: "a terminal of its own") { $0.execution.terminal = true },
        .flag("-d", "--detach", help: "return when it has begun") { $0.execution.detach = true },
        .option("--console-socket", value: "SOCKET", help: "with --detach: where the terminal's master is sent") {
            $0.execution.consoleSocket = $1
        },
        .option("--pid-file", value: "FILE", help: "where the process's number is written") {
            $0.execution.pidFile = $1
        },
        .option("--preserve-fds", value: "N", help: "pass descriptors 3 to N+2 on") { draft, text throws(Problem) in
            draft.execution.preserved = Int(try Value.whole(text, option: "--preserve-fds", 0...65536))
        },
        .flag("--no-new-privs", help: "no program gives it more rights") { $0.execution.noNewPrivileges = true },
        .flag("--ignore-paused", help: "in a paused container too, where it waits") {
            $0.execution.ignoresPause = true
        },
        .option("--cgroup", value: "PATH", help: "not supported yet") { _, text throws(Problem) in
            throw unsupported("--cgroup", text)
        },
        .option("--apparmor", value: "PROFILE", help: "not supported yet") { _, text throws(Problem) in
            if !text.isEmpty { throw unsupported("--apparmor", text) }
        },
        .option("--process-label", value: "LABEL", help: "not supported yet") { _, text throws(Problem) in
            if !text.isEmpty { throw unsupported("--process-label", text) }
        },
        .flag("-h", "--help", help: "print this and exit") { $0.help = true },
    ]

    private static func unsupported(_ option: String, _ text: String) -> Problem {
        Problem("cannot use \(option) \(text)", "it is not supported yet", hint: "leave it out")
    }

    /// 4294967295 means "no id" to the kernel (CVE-2024-40635).
    private static func identity(_ text: String, option: String) throws(Problem) -> UInt32 {
        UInt32(try Value.whole(text, option: option, 0...UInt64(UInt32.max - 1)))
    }

    static func run(_ words: [String], _ runtime: BundleRuntime) throws(Problem) -> Int32 {
        var draft = Draft()
        var container: String?
        let rest = try command.parse(words, into: &draft) { _, word in
            container = word
            return false
        }
        if draft.help {
            StandardStream.output.print(HelpText.command(command))
            return 0
        }
        guard let container else { throw Problem("no container", "exec needs one", hint: "codex32 oci exec --help") }
        let program = rest.first == "--" ? Array(rest.dropFirst()) : rest
        draft.execution.arguments = program
        if draft.execution.processFile != nil, let first = program.first {
            throw Problem("cannot use \(first)", "--process says what is run", hint: "one of them")
        }
        if draft.execution.processFile == nil, program.first?.isEmpty ?? true {
            throw Problem(
                "no command", "exec needs one", hint: "codex32 oci exec \(container) COMMAND, or --process FILE")
        }
        return try runtime.exec(container, draft.execution)
    }
}
