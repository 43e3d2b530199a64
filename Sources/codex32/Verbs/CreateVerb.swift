internal import Engine
internal import LinuxKernel
internal import Sandbox

/// What `create` and `run -d` take beyond what a foreground run does.
struct LifecycleDraft: Sendable {
    var detach = false
    var labels: [(key: String, value: String)] = []
    var restart: RestartPolicy?
    var log = LogPolicy()
    var logWasChosen = false
    var health: HealthCheck?
    var healthWasChosen = false
    var orphan: OrphanPolicy?
    var removesItself = false

    /// The first option that has a meaning only for a container that outlives its command.
    var lastingOption: String? {
        if !labels.isEmpty { return "--label" }
        if restart != nil { return "--restart" }
        if logWasChosen { return "--log-driver" }
        if orphan != nil { return "--orphan" }
        return health == nil && !healthWasChosen ? nil : "--health-cmd"
    }
}

/// `codex32 create`.
enum CreateVerb {
    static let command = Command<RunDraft>(
        name: "create",
        synopsis:
            "codex32 create [OPTIONS] IMAGE [COMMAND...]\n       codex32 create [OPTIONS] --image IMAGE -- COMMAND...",
        summary: "make a container without starting it",
        details: """
            Prints the container's id. codex32 start begins it; it runs without a terminal, a daemon or this command.
            IMAGE is a script or program (./bot.py), a folder with a root file system, template:NAME, or the NAME[:TAG]
            of a loaded image (codex32 image load).
            """
    ) { number in
        switch number - RunOptions.sandboxGroupCount {
        case ..<0: RunOptions.sandboxGroup(number)
        case 0: ("Life", LifecycleOptions.all)
        case 1: RunOptions.planGroup
        default: nil
        }
    }

    static let verb = Verb(command) { words throws(Problem) in
        guard let (draft, arguments) = try RunDraft.read(command, words) else { return 0 }
        let containers = Containers(try Storage.current(option: draft.storage))
        let configuration = try draft.containerConfiguration(arguments: arguments)
        if draft.dryRun { return try PlanPage.print(configuration.run, draft.format) }
        try tell(try containers.create(configuration, note: note(draft.quiet)).id, of: containers)
        return 0
    }

    /// What is said of a container that was made.
    static func note(_ quiet: Bool) -> (String) -> Void {
        { if !quiet { StandardStream.error.print("codex32: \($0)\n") } }
    }

    /// Prints the id of a container that was just made. One whose id nobody was told is not left behind.
    static func tell(_ id: String, of containers: Containers) throws(Problem) {
        do { try StandardStream.output.tell(Array("\(id)\n".utf8)[...]) } catch {
            _ = try? containers.remove(id, force: true, volumes: true)
            throw Problem(
                "cannot print the container's id", error, hint: "it was taken away again: nobody could have found it")
        }
    }
}

/// The options of a container's life.
enum LifecycleOptions {
    static let all: [Option<RunDraft>] = [
        .option("-l", "--label", value: "KEY=VALUE", help: "a label, for --filter label=KEY") {
            draft, text throws(Problem) in
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard !parts[0].isEmpty, !Value.hasControls(text), text.utf8.count <= 4096 else {
                throw Value.wrong("--label", text, "KEY=VALUE without control characters")
            }
            draft.life.labels.removeAll { $0.key == parts[0] }
            draft.life.labels.append((parts[0], parts.count == 2 ? parts[1] : ""))
        },
        .option(
            "--restart", value: "POLICY", help: "no (default), on-failure[:N], always, unless-stopped",
            choices: ["no", "on-failure", "always", "unless-stopped"]
        ) {
            draft, text throws(Problem) in draft.life.restart = try restart(text)
        },
        .option(
            "--orphan", value: "POLICY",
            help:
                "where its supervisor is killed: end the program (default), or adopt it: it runs on under another; one"
                + " that ends before that loses what stands in its output pipes",
            choices: OrphanPolicy.allCases.map(\.rawValue)
        ) {
            draft, text throws(Problem) in
            guard let policy = OrphanPolicy(rawValue: text) else { throw Value.wrong("--orphan", text, "end or adopt") }
            draft.life.orphan = policy
        },
        .option(
            "--log-driver", value: "FORM", help: "json (default), raw or none",
            choices: LogPolicy.Format.allCases.map(\.rawValue)
        ) {
            draft, text throws(Problem) in
            // Docker's name for the same form.
            guard let format = LogPolicy.Format(rawValue: text == "json-file" ? "json" : text) else {
                throw Value.wrong("--log-driver", text, "json, raw or none")
            }
            (draft.life.log.format, draft.life.logWasChosen) = (format, true)
        },
        .option("--log-max-size", value: "SIZE", help: "of one log file (default 10m)") {
            draft, text throws(Problem) in
            let size = try Value.size(text, option: "--log-max-size")
            guard size >= 1 << 17 else { throw Value.wrong("--log-max-size", text, "at least 128k") }
            (draft.life.log.fileSize, draft.life.logWasChosen) = (size, true)
        },
        .option("--log-max-files", value: "NUMBER", help: "log files that are kept (default 3)") {
            draft, text throws(Problem) in
            draft.life.log.files = try Value.whole(text, option: "--log-max-files", 1...1000)
            draft.life.logWasChosen = true
        },
        .option("--health-cmd", value: "COMMAND", help: "a shell command inside that fails when the program is ill") {
            draft, text throws(Problem) in
            guard !text.isEmpty else { throw Value.wrong("--health-cmd", text, "a command") }
            draft.setHealth { $0.command = ["/bin/sh", "-c", text] }
        },
        .option("--health-interval", value: "TIME", help: "between two checks (default 30s)") {
            draft, text throws(Problem) in
            let time = try Value.duration(text, option: "--health-interval")
            draft.setHealth { $0.interval = time }
        },
        .option("--health-timeout", value: "TIME", help: "a check that takes longer has failed (default 30s)") {
            draft, text throws(Problem) in
            let time = try Value.duration(text, option: "--health-timeout")
            draft.setHealth { $0.timeout = time }
        },
        .option("--health-retries", value: "NUMBER", help: "so many failures in a row: unhealthy (default 3)") {
            draft, text throws(Problem) in
            let count = try Value.whole(text, option: "--health-retries", 1...1000)
            draft.setHealth { $0.retries = count }
        },
        .option("--health-start-period", value: "TIME", help: "failures in this time do not count (default 0)") {
            draft, text throws(Problem) in
            let time = text == "0" ? 0 : try Value.duration(text, option: "--health-start-period")
            draft.setHealth { $0.startPeriod = time }
        },
    ]

    static func restart(_ text: String) throws(Problem) -> RestartPolicy {
        guard let policy = RestartPolicy(text) else {
            throw Value.wrong("--restart", text, "no, on-failure, on-failure:N, always or unless-stopped")
        }
        return policy
    }
}

extension RunDraft {
    mutating func setHealth(_ change: (inout HealthCheck) -> Void) {
        var check = life.health ?? HealthCheck(command: [])
        change(&check)
        life.health = check
        life.healthWasChosen = true
    }

    /// Reads the words of `run` or `create`: the first one that is no option is the image, unless --image named it.
    /// What follows belongs to the program, options or not.
    ///
    /// - Parameter image: of a command for which none is named; nil: one must be.
    static func read(
        _ command: Command<RunDraft>, _ words: [String], otherwise image: String? = nil
    ) throws(Problem) -> (draft: RunDraft, arguments: [String])? {
        var draft = RunDraft()
        var arguments: [String] = []
        let rest = try command.parse(words, into: &draft) { draft, word throws(Problem) in
            if draft.image == nil { draft.image = word } else { arguments = [word] }
            return false
        }
        if draft.help {
            StandardStream.output.print(HelpText.command(command))
            return nil
        }
        arguments += rest
        if arguments.first == "--" { arguments.removeFirst() }
        if draft.image == nil, !arguments.isEmpty { draft.image = image }
        try draft.meetImage()
        return (draft, arguments)
    }

    /// What a container that outlives this command needs to know: paths are made absolute, because it is started
    /// from anywhere.
    func containerConfiguration(arguments: [String]) throws(Problem) -> ContainerConfiguration {
        var run = try configuration(arguments: arguments)
        run.request.storageKind = .ofContainer(removesItself: life.removesItself)
        run.settle()
        var configuration = ContainerConfiguration(run: run)
        configuration.labels = life.labels
        configuration.restart = life.restart ?? .no
        configuration.log = life.log
        configuration.removesItself = life.removesItself
        withImage(&configuration)
        if let health {
            guard !health.command.isEmpty else {
                throw Problem("no health check", "there is nothing to check with", hint: "--health-cmd COMMAND")
            }
            configuration.health = health
        }
        configuration.orphan = life.orphan ?? .end
        if configuration.orphan == .adopt {
            for (option, given) in [("-t", run.request.terminal), ("-i", run.interactive)] where given {
                throw Problem(
                    "cannot use --orphan adopt with \(option)",
                    option == "-t" ? "a terminal ends with its supervisor" : "an input ends with its supervisor",
                    hint: "leave one of them out; codex32 exec -it gives a shell in any container")
            }
            guard !run.request.explains else {
                throw Problem(
                    "cannot use --explain with --orphan adopt",
                    "its supervisor answers for what is refused, and the program would go on without it",
                    hint: "leave one of them out")
            }
            configuration.run.request.outlives = true
        }
        if life.removesItself, let restart = life.restart, restart != .no {
            throw Problem(
                "cannot use --rm with --restart", "a container that is started again is not removed",
                hint: "leave one of them out")
        }
        return configuration
    }
}
