internal import Engine
internal import LinuxKernel
internal import OCISpec

/// `codex32 top CONTAINER`, and `top --all`: the dashboard.
enum TopVerb {
    struct Draft: VerbDraft {
        var help = false
        var storage: String?
        var format = Format.table
        var quiet = false
        var whole = false
        var all = false
    }

    static let command = Command<Draft>(
        name: "top", synopsis: "codex32 top [OPTIONS] CONTAINER | --all", summary: "show the processes of a container",
        details: """
            PID is a process's number outside, INSIDE the one that the container sees. With --all it shows all containers
            on a full screen, live, as codex32 dashboard does.
            Fields for --format: Pid Inside Parent User State CpuSeconds MemoryBytes Command.
            """,
        groups: [
            (
                "Options",
                [
                    .flag("-a", "--all", help: "all containers, live, on a full screen") { $0.all = true },
                    .option("--format", value: "FORMAT", help: Format.help, choices: Format.choices) {
                        draft, text throws(Problem) in draft.format = try Format(text)
                    },
                    .flag("-q", "--quiet", help: "only the numbers outside") { $0.quiet = true },
                    .flag("--no-trunc", help: "whole commands") { $0.whole = true },
                ]
            ), CommonOptions.group(),
        ])

    static let verb = Verb(command) { words throws(Problem) in
        guard let (draft, names) = try command.read(words, Draft(), count: 0...1, what: "container") else { return 0 }
        if draft.all {
            // What the full screen has no place for is not left out in silence.
            guard names.isEmpty, !draft.quiet, !draft.whole, case .table = draft.format else {
                throw Problem(
                    "cannot use --all with \(names.first ?? "-q, --format or --no-trunc")",
                    "the full screen shows all containers", hint: "codex32 stats --no-stream prints them")
            }
            return try Dashboard.run(try Storage.current(option: draft.storage))
        }
        guard !names.isEmpty else {
            throw Problem("no container", "top needs one", hint: "codex32 top --all shows all containers")
        }
        let lines = try CommonOptions.containers(draft).processes(names[0])
        if draft.quiet {
            StandardStream.output.print(lines.map { "\($0.pid)\n" }.joined())
            return 0
        }
        switch draft.format {
        case .table: StandardStream.output.print(table(lines, whole: draft.whole))
        case .json: StandardStream.output.print(JSON.array(lines.map(\.document)).text(pretty: true) + "\n")
        case .template(let template):
            for line in lines { StandardStream.output.print(try template.text(line.document) + "\n") }
        }
        return 0
    }

    private static func table(_ lines: [ContainerProcessLine], whole: Bool) -> String {
        Table.text(
            ["PID", "INSIDE", "USER", "STATE", "CPU", "MEMORY", "COMMAND"],
            lines.map { line in
                let command = whole || line.command.count <= 60 ? line.command : line.command.prefix(59) + "…"
                return [
                    String(line.pid), line.inside.map { String($0) } ?? "", line.user, line.state,
                    time(line.cpuSeconds), size(line.memoryBytes), command,
                ]
            })
    }

    /// As ps(1) has it: minutes, and seconds with two digits behind the point.
    private static func time(_ seconds: Double) -> String {
        let hundredths = Int(seconds * 100 + 0.5)
        let two = { (number: Int) in number < 10 ? "0\(number)" : String(number) }
        return "\(hundredths / 6000):\(two(hundredths / 100 % 60)).\(two(hundredths % 100))"
    }

    private static func size(_ bytes: UInt64) -> String {
        switch bytes {
        case ..<(10 << 20): "\(bytes >> 10)K"
        case ..<(10 << 30): "\(bytes >> 20)M"
        default: "\(bytes >> 30)G"
        }
    }
}
