internal import Engine
internal import LinuxKernel
internal import OCISpec

/// `codex32 health`.
enum HealthVerb {
    struct Draft: VerbDraft {
        var help = false
        var storage: String?
        var format = Format.table
        var quiet = false
    }

    static let command = Command<Draft>(
        name: "health", synopsis: "codex32 health [OPTIONS] CONTAINER",
        summary: "check the health of a container now",
        details: """
            Runs its --health-cmd, and ends with 0 when that passed, 1 when it failed. The result counts like that of
            any other check: list shows what the container is by now, inspect the last checks.
            Fields for --format: Status ExitStatus FailingStreak Output.
            """,
        groups: [
            (
                "Options",
                [
                    .option("--format", value: "FORMAT", help: Format.help, choices: Format.choices) {
                        draft, text throws(Problem) in draft.format = try Format(text)
                    },
                    .flag("-q", "--quiet", help: "only the exit status") { $0.quiet = true },
                ]
            ), CommonOptions.group(),
        ])

    static let verb = Verb(command) { words throws(Problem) in
        guard let (draft, names) = try command.read(words, Draft(), count: 1...1, what: "container") else { return 0 }
        let health = try CommonOptions.containers(draft).checkHealth(names[0])
        let document = JSON.members([
            "status": .string(health.status), "exitStatus": .number(health.exitStatus),
            "failingStreak": .number(health.failures), "output": .string(health.output),
        ])
        if !draft.quiet {
            switch draft.format {
            case .table: StandardStream.output.print(text(health))
            case .json: StandardStream.output.print(document.text(pretty: true) + "\n")
            case .template(let template): StandardStream.output.print(try template.text(document) + "\n")
            }
        }
        return health.passed ? 0 : 1
    }

    private static func text(_ health: Containers.Health) -> String {
        var text = health.passed ? "passed" : "failed (\(health.exitStatus))"
        text += ", and the container is \(health.status)\n"
        // What a container wrote is anybody's: each line is made harmless.
        for line in health.output.split(separator: "\n") { text += "  \(String(line).quotedForTerminal)\n" }
        return text
    }
}
