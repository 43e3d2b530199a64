internal import Engine
internal import LinuxKernel
internal import OCISpec

/// `codex32 oci VERB`, and the same when the program is called `codex32-oci` or `runc`: an OCI runtime's command line.
enum RuntimeVerb {
    struct Global: VerbDraft {
        var help = false
        var storage: String?
        var log: String?
        var logsJSON = false
        var cgroups = true
        var systemd = false
        var isolation: String?
        var version = false
    }

    struct Draft: VerbDraft {
        var help = false
        var storage: String?
        var creation = BundleRuntime.Creation()
        var force = false
        var all = false
        var detach = false
        var receipt = false
        var format = "table"
        var update = RuntimeUpdate()
        var events = RuntimeEvents()
        var images = BundleImages()
    }

    static let verbs = [
        "create", "start", "state", "kill", "delete", "run", "exec", "list", "features", "spec", "pause", "resume",
        "update", "events", "ps", "checkpoint", "restore",
    ]

    static let command = Command<Global>(
        name: "oci", synopsis: "codex32 oci [OPTIONS] VERB [OPTIONS] [CONTAINER]",
        summary: "be an OCI runtime, for Podman and others",
        details:
            "Verbs: \(verbs.joined(separator: ", ")). The same when the program is called codex32-oci or runc. What a config.json asks for and is not supported yet is refused by name.",
        groups: [
            (
                "Options",
                [
                    .option("--root", value: "FOLDER", help: "where states are kept") { $0.storage = $1 },
                    .option("--log", value: "FILE", help: "where errors go too") { $0.log = $1 },
                    .option("--log-format", value: "FORMAT", help: "text or json", choices: ["text", "json"]) {
                        draft, text throws(Problem) in
                        guard ["text", "json"].contains(text) else {
                            throw Value.wrong("--log-format", text, "text or json")
                        }
                        draft.logsJSON = text == "json"
                    },
                    .flag("--debug", help: "taken for compatibility: nothing more is told") { _ in },
                    .option(
                        "--cgroup-manager", value: "NAME", help: "disabled: containers have no cgroup of their own",
                        choices: ["disabled", "cgroupfs", "systemd"]
                    ) { draft, text throws(Problem) in
                        guard ["disabled", "cgroupfs", "systemd"].contains(text) else {
                            throw Value.wrong("--cgroup-manager", text, "disabled, cgroupfs or systemd")
                        }
                        draft.cgroups = text != "disabled"
                        draft.systemd = text == "systemd"
                    },
                    .flag("--systemd-cgroup", help: "a container's cgroup is a scope of systemd's") {
                        $0.systemd = true
                    },
                    // For callers that cannot annotate a container, as Docker 20.10: their daemon's configuration gives it.
                    .option(
                        "--isolation", value: "LEVEL",
                        help: "strict: its walls around every container, as by the annotation codex32.isolation",
                        choices: ["strict"]
                    ) { draft, text throws(Problem) in
                        guard text == "strict" else { throw Value.wrong("--isolation", text, "strict") }
                        draft.isolation = text
                    },
                    .flag("-v", "--version", help: "print the version and exit") { $0.version = true },
                    .flag("-h", "--help", help: "print this and exit") { $0.help = true },
                ]
            )
        ])

    static let verb = Verb(command) { words throws(Problem) in run(words) }

    private static func verbCommand(_ name: String) -> Command<Draft> {
        var options: [Option<Draft>] = []
        if name == "create" || name == "run" || name == "spec" || name == "restore" {
            options.append(
                .option("-b", "--bundle", value: "FOLDER", help: "the bundle; default: this folder") {
                    $0.creation.bundle = $1
                })
        }
        if name == "create" || name == "run" || name == "restore" {
            options += [
                .option("--pid-file", value: "FILE", help: "where the process's number is written") {
                    $0.creation.pidFile = $1
                },
                .option("--console-socket", value: "SOCKET", help: "where the terminal's master is sent") {
                    $0.creation.consoleSocket = $1
                },
            ]
        }
        if name == "create" || name == "run" {
            options += [
                .option("--preserve-fds", value: "N", help: "pass descriptors 3 to N+2 on") {
                    draft, text throws(Problem) in
                    draft.creation.preserved = Int(try Value.whole(text, option: "--preserve-fds", 0...65536))
                },
                .flag("--no-new-keyring", help: "keep the caller's session keyring") { $0.creation.keyring = false },
            ]
        }
        if name == "state" {
            options.append(.flag("--receipt", help: "what is in force, read back") { $0.receipt = true })
        }
        if name == "run" {
            options.append(.flag("-d", "--detach", help: "return when its program has begun") { $0.detach = true })
        }
        if name == "delete" { options.append(.flag("-f", "--force", help: "end it first") { $0.force = true }) }
        if name == "kill" {
            options.append(.flag("-a", "--all", help: "every process of the container's") { $0.all = true })
        }
        if name == "list" || name == "ps" {
            options.append(
                .option("-f", "--format", value: "FORMAT", help: "table or json", choices: ["table", "json"]) {
                    draft, text throws(Problem) in
                    guard ["table", "json"].contains(text) else { throw Value.wrong("--format", text, "table or json") }
                    draft.format = text
                })
        }
        if name == "checkpoint" || name == "restore" { options += RuntimeImages.options(name) }
        if name == "update" { options += RuntimeUpdate.options }
        if name == "events" { options += RuntimeEvents.options }
        options.append(.flag("-h", "--help", help: "print this and exit") { $0.help = true })
        return Command<Draft>(
            name: "oci \(name)", synopsis: "codex32 oci \(name) [OPTIONS] [CONTAINER]",
            summary: "see runtime.md of the OCI runtime specification", details: "", groups: [("Options", options)])
    }

    /// Failures end with 1, as the callers expect, and go to the log as well as to standard error.
    static func run(_ words: [String]) -> Int32 {
        var global = Global()
        var verb: String?
        do throws(Problem) {
            let rest = try command.parse(words, into: &global) { _, word in
                verb = word
                return false
            }
            if global.help || (verb == nil && !global.version) {
                StandardStream.output.print(HelpText.command(command))
                try StandardStream.output.checkTaken()
                return 0
            }
            guard let verb, !global.version else {
                StandardStream.output.print("codex32-oci version \(VersionCommand.version)\nspec: 1.3.0\n")
                try StandardStream.output.checkTaken()
                return 0
            }
            if verb == "checkpoint" || verb == "restore" { try RuntimeImages.check(verb) }
            guard verbs.contains(verb) else {
                throw Problem(
                    "unknown verb \(verb)", "codex32 oci has no such verb, yet",
                    hint: "it has \(verbs.joined(separator: ", "))")
            }
            let status = try act(verb, rest, global)
            try StandardStream.output.checkTaken()
            return status
        } catch {
            StandardStream.error.print("codex32: \(error)\n")
            log(error, global)
            return verb == "exec" ? 255 : 1
        }
    }

    private static func warn(_ problem: Problem, _ global: Global) {
        StandardStream.error.print("codex32: warning: \(problem)\n")
        log(problem, global, level: "warning")
    }

    /// As callers read them: one column of numbers, or ps(1)'s.
    private static func showProcesses(_ lines: [ContainerProcessLine], _ format: String) throws(Problem) {
        if format == "json" {
            return StandardStream.output.print(JSON.array(lines.map { .number($0.pid) }).text() + "\n")
        }
        StandardStream.output.print(
            Table.text(
                ["UID", "PID", "PPID", "STAT", "TIME", "CMD"],
                lines.map { line in
                    let seconds = Int(line.cpuSeconds)
                    let two = { (number: Int) in number < 10 ? "0\(number)" : String(number) }
                    return [
                        line.user, String(line.pid), String(line.parent), line.state,
                        "\(two(seconds / 3600)):\(two(seconds / 60 % 60)):\(two(seconds % 60))", line.command,
                    ]
                }))
    }

    /// One object a failure, which the callers read their reason from.
    private static func log(_ problem: Problem, _ global: Global, level: String = "error") {
        guard let path = global.log,
            let file = try? Descriptor.open(path, [.write, .create, .append, .noFollow], mode: 0o644)
        else { return }
        let text = "\(problem.what): \(problem.why)"
        let time = Timestamp.text(Clock.realtime)
        let line =
            global.logsJSON
            ? JSON.members(["level": .string(level), "msg": .string(text), "time": .string(time)]).text()
            : "time=\"\(time)\" level=\(level) msg=\(JSON.string(text).text())"
        try? file.write(line + "\n")
    }

    private static func act(_ verb: String, _ words: [String], _ global: Global) throws(Problem) -> Int32 {
        if verb == "exec" { return try RuntimeExec.run(words, try BundleRuntime(root: global.storage)) }
        Machine.forgetProgram()
        let command = verbCommand(verb)
        let counts: ClosedRange<Int> =
            verb == "list" || verb == "features" || verb == "spec" ? 0...0 : verb == "kill" ? 1...2 : 1...1
        guard let given = try command.read(words, Draft(), count: counts, what: "container") else { return 0 }
        var draft = given.draft
        let operands = given.operands
        draft.creation.cgroups = global.cgroups
        draft.creation.systemd = global.systemd
        draft.creation.isolation = global.isolation
        if draft.creation.bundle.isEmpty { draft.creation.bundle = Machine.workingFolder }
        // These two need no folder for states.
        switch verb {
        case "features":
            StandardStream.output.print(RuntimeFeatures.json.text(pretty: true) + "\n")
            return 0
        case "spec":
            try RuntimeFeatures.writeSpec(in: draft.creation.bundle)
            return 0
        default: break
        }
        let runtime = try BundleRuntime(root: global.storage)
        switch verb {
        case "create": try runtime.create(operands[0], draft.creation)
        case "run": return try runtime.run(operands[0], draft.creation, detach: draft.detach)
        case "start": try runtime.start(operands[0])
        case "state":
            let document = draft.receipt ? try runtime.receipt(operands[0]) : try runtime.state(operands[0])
            StandardStream.output.print(document.text(pretty: true) + "\n")
        case "kill":
            let signal = operands.count > 1 ? try Value.signal(operands[1], option: "kill") : Signal.terminate
            try runtime.kill(operands[0], signal: signal, all: draft.all)
        case "delete":
            for problem in try runtime.delete(operands[0], force: draft.force) { warn(problem, global) }
        case "checkpoint", "restore": try RuntimeImages.run(verb, runtime, operands[0], draft)
        case "pause", "resume": try runtime.pause(operands[0], verb == "pause")
        case "update":
            try runtime.update(operands[0], try draft.update.resources(), schemata: draft.update.schemata)
        case "events": try draft.events.print(runtime, operands[0])
        case "ps": try showProcesses(try runtime.processes(operands[0]), draft.format)
        default: list(try runtime.list(), draft.format)
        }
        return 0
    }

    private static func list(_ states: [JSON], _ format: String) {
        if format == "json" { return StandardStream.output.print(JSON.array(states).text() + "\n") }
        var text = "ID PID STATUS BUNDLE\n"
        for state in states {
            let words = ["id", "pid", "status", "bundle"].map { name in
                if case .string(let word)? = state[name] { return word.quotedForTerminal }
                return state[name]?.text() ?? "-"
            }
            text += words.joined(separator: " ") + "\n"
        }
        StandardStream.output.print(text)
    }
}
