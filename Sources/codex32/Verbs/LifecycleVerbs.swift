internal import Engine
internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// The verbs that move a container on in its life.
enum LifecycleVerbs {
    private static func command<Draft: VerbDraft>(
        _ name: String, _ operands: String, _ summary: String, details: String = "", _ options: [Option<Draft>] = []
    ) -> Command<Draft> {
        let own = options.isEmpty ? [] : [(title: "Options", options: options)]
        return Command<Draft>(
            name: name, synopsis: "codex32 \(name) [OPTIONS] \(operands)", summary: summary, details: details,
            groups: own + [CommonOptions.group()])
    }

    // MARK: start

    struct StartDraft: VerbDraft {
        var help = false
        var storage: String?
        var attach = false
        var interactive = false
        var quiet = false
    }

    private static let startCommand: Command<StartDraft> = command(
        "start", "CONTAINER...", "start containers that do not run",
        details: "With -a it shows what the program writes and ends as the program ends, with its exit status.",
        [
            .flag("-a", "--attach", help: "show its output, pass signals on, and wait for its end") {
                $0.attach = true
            },
            .flag("-i", "--interactive", help: "pass input on too (the container must have been made with -i)") {
                ($0.interactive, $0.attach) = (true, true)
            },
            .flag("-q", "--quiet", help: "no warnings") { $0.quiet = true },
        ])

    static let start = Verb(startCommand) { words throws(Problem) in
        guard
            let (draft, names) = try startCommand.read(words, StartDraft(), count: 1...Int.max, what: "container")
        else { return 0 }
        let containers = try CommonOptions.containers(draft)
        let quiet = draft.quiet
        if draft.attach {
            guard names.count == 1 else {
                throw Problem("cannot attach to several containers", "a terminal shows one", hint: "leave out -a")
            }
            return try containers.startAttached(names[0], input: draft.interactive) { if !quiet { warn($0) } }
        }
        return forEach(names) { name throws(Problem) in
            try containers.start(name) { if !quiet { warn($0) } }
            StandardStream.output.print(name + "\n")
        }
    }

    // MARK: stop, kill, restart

    struct StopDraft: VerbDraft {
        var help = false
        var storage: String?
        var signal: Int32?
        var timeout: Int64?
    }

    private static let timeoutOption = Option<StopDraft>.option(
        "-t", "--time", "--timeout", value: "TIME", help: "then SIGKILL (default: the container's, 10s)"
    ) {
        draft, text throws(Problem) in
        draft.timeout = text == "0" ? 0 : try Value.duration(text, option: "-t")
    }

    private static let signalOption = Option<StopDraft>.option(
        "-s", "--signal", value: "SIGNAL", help: "the signal (default: the container's, TERM; for kill: KILL)"
    ) {
        draft, text throws(Problem) in draft.signal = try Value.signal(text, option: "-s")
    }

    private static let stopCommand: Command<StopDraft> = command(
        "stop", "CONTAINER...", "end containers: the stop signal, then SIGKILL",
        details: "A container that does not run stays as it is.", [timeoutOption, signalOption])

    static let stop = Verb(stopCommand) { words throws(Problem) in
        guard let (draft, names) = try stopCommand.read(words, StopDraft(), count: 1...Int.max, what: "container")
        else { return 0 }
        let containers = try CommonOptions.containers(draft)
        return forEach(names) { name throws(Problem) in
            try containers.stop(name, signal: draft.signal, timeout: draft.timeout)
            StandardStream.output.print(name + "\n")
        }
    }

    private static let killCommand: Command<StopDraft> = command(
        "kill", "CONTAINER...", "send a signal to containers (default KILL)", [signalOption])

    static let kill = Verb(killCommand) { words throws(Problem) in
        guard let (draft, names) = try killCommand.read(words, StopDraft(), count: 1...Int.max, what: "container")
        else { return 0 }
        let containers = try CommonOptions.containers(draft)
        return forEach(names) { name throws(Problem) in
            try containers.kill(name, signal: draft.signal ?? Signal.kill)
            StandardStream.output.print(name + "\n")
        }
    }

    private static let restartCommand: Command<StopDraft> = command(
        "restart", "CONTAINER...", "stop containers and start them again", [timeoutOption])

    static let restart = Verb(restartCommand) { words throws(Problem) in
        guard let (draft, names) = try restartCommand.read(words, StopDraft(), count: 1...Int.max, what: "container")
        else { return 0 }
        let containers = try CommonOptions.containers(draft)
        return forEach(names) { name throws(Problem) in
            try containers.restart(name, timeout: draft.timeout) { warn($0) }
            StandardStream.output.print(name + "\n")
        }
    }

    // MARK: pause, unpause, wait, rename

    /// A verb that takes containers and does one thing to each.
    private static func simple(
        _ name: String, _ summary: String, details: String = "",
        _ body: @escaping @Sendable (Containers, String) throws(Problem) -> String
    ) -> Verb {
        let command: Command<PlainDraft> = command(name, "CONTAINER...", summary, details: details)
        return Verb(command) { words throws(Problem) in
            guard let (draft, names) = try command.read(words, PlainDraft(), count: 1...Int.max, what: "container")
            else { return 0 }
            let containers = try CommonOptions.containers(draft)
            return forEach(names) { name throws(Problem) in
                StandardStream.output.print(try body(containers, name) + "\n")
            }
        }
    }

    static let pause = simple(
        "pause", "freeze all processes of containers", details: "Needs cgroup v2 (cgroup.freeze)."
    ) {
        containers, name throws(Problem) in
        try containers.pause(name)
        return name
    }

    static let unpause = simple("unpause", "let paused containers go on") { containers, name throws(Problem) in
        try containers.unpause(name)
        return name
    }

    struct WaitDraft: VerbDraft {
        var help = false
        var storage: String?
        var format = Format.table
    }

    private static let waitCommand: Command<WaitDraft> = command(
        "wait", "CONTAINER...", "wait for the end of containers, and print their exit statuses",
        details: """
            Of a container that has ended already the status is printed at once. With --format the verdict is: how it ended,
            what it used, and, where it was made with --explain, what it was denied.
            """,
        [
            .option(
                "-f", "--format", value: "FORMAT", help: "of the verdict: json, or a template: '{{json .Denied}}'"
            ) { draft, text throws(Problem) in draft.format = try Format(text) }
        ])

    static let wait = Verb(waitCommand) { words throws(Problem) in
        guard let (draft, names) = try waitCommand.read(words, WaitDraft(), count: 1...Int.max, what: "container")
        else { return 0 }
        let containers = try CommonOptions.containers(draft)
        return forEach(names) { name throws(Problem) in
            let ending = try containers.waitForEnding(name)
            let text =
                switch draft.format {
                case .table: String(ending.status)
                case .json: ending.verdict.text()
                case .template(let template): try template.text(ending.verdict)
                }
            StandardStream.output.print(text + "\n")
        }
    }

    private static let renameCommand: Command<PlainDraft> = command(
        "rename", "CONTAINER NAME", "give a container another name")

    static let rename = Verb(renameCommand) { words throws(Problem) in
        guard let (draft, names) = try renameCommand.read(words, PlainDraft(), count: 2...2, what: "container and name")
        else { return 0 }
        try CommonOptions.containers(draft).rename(names[0], to: names[1])
        return 0
    }

    // MARK: remove

    struct RemoveDraft: VerbDraft {
        var help = false
        var storage: String?
        var force = false
        var volumes = false
    }

    private static let removeCommand: Command<RemoveDraft> = command(
        "remove", "CONTAINER...", "take containers away, with their changes and logs",
        [
            .flag("-f", "--force", help: "kill one that runs first; take away one whose record is broken") {
                $0.force = true
            },
            .flag("-v", "--volumes", help: "with the volumes that are its own (-v /DST); else those are kept") {
                $0.volumes = true
            },
        ])

    static let remove = Verb(removeCommand) { words throws(Problem) in
        guard let (draft, names) = try removeCommand.read(words, RemoveDraft(), count: 1...Int.max, what: "container")
        else { return 0 }
        let containers = try CommonOptions.containers(draft)
        return forEach(names) { name throws(Problem) in
            let kept = try containers.remove(name, force: draft.force, volumes: draft.volumes)
            if let id = kept.workspace {
                StandardStream.error.print(
                    "codex32: its workspace \(id) has changes and is kept: codex32 workspace diff, apply or discard \(id)\n"
                )
            }
            for path in kept.volumes {
                StandardStream.error.print(
                    "codex32: the volume \(path.quotedForTerminal) is kept: codex32 prune --volumes removes it\n")
            }
            StandardStream.output.print(name + "\n")
        }
    }
}
