internal import Engine
internal import LinuxKernel
internal import OCISpec

/// `codex32 list`, `ls` and `ps`: the containers and foreground runs of a store.
enum ListVerb {
    struct Draft: VerbDraft {
        var help = false
        var storage: String?
        var format = Format.table
        var quiet = false
        var all = false
        var running = false
        var whole = false
        var filters: [Filter] = []
    }

    static let command = Command<Draft>(
        name: "list", synopsis: "codex32 list [OPTIONS]", summary: "show containers and what runs",
        details: """
            list shows all; ls and ps show those that run, as Docker's do, and with -a all.
            Fields for --format: ID Name Image Isolation State Status PID CreatedAt Command Labels Health Restarts
            ExitStatus Denied (with --explain, of the last run that ended).
            """,
        groups: [
            (
                "Options",
                [
                    .flag("-a", "--all", help: "ended ones too") { $0.all = true },
                    .flag("--running", help: "only those that run") { $0.running = true },
                    .option(
                        "-f", "--filter", value: "KEY=VALUE",
                        help: "name=, id=, state=, label=KEY[=VALUE], image=, isolation=, health=, exited=STATUS"
                    ) {
                        draft, text throws(Problem) in draft.filters.append(try Filter(text))
                    },
                    .option("--format", value: "FORMAT", help: Format.help, choices: Format.choices) {
                        draft, text throws(Problem) in draft.format = try Format(text)
                    },
                    .flag("-q", "--quiet", help: "ids only") { $0.quiet = true },
                    .flag("--no-trunc", help: "whole commands") { $0.whole = true },
                ]
            ), CommonOptions.group(),
        ])

    static let verb = Verb(command) { words throws(Problem) in try run(words, showsAll: true) }

    /// - Parameter showsAll: whether ended ones are shown when nothing says so.
    static func run(_ words: [String], showsAll: Bool) throws(Problem) -> Int32 {
        guard let (draft, _) = try command.read(words, Draft(), count: 0...0, what: "name") else { return 0 }
        let storage = try Storage.current(option: draft.storage)
        let ended = draft.all || draft.filters.contains { $0.key == "state" || $0.key == "exited" }
        let rows = try ContainerRow.all(storage)
            .filter { row in ended || (showsAll && !draft.running) || row.isRunning }
            .filter { Filter.match(draft.filters, $0) }
        if draft.quiet {
            StandardStream.output.print(rows.map { $0.id + "\n" }.joined())
            return 0
        }
        switch draft.format {
        case .table: StandardStream.output.print(table(rows, whole: draft.whole))
        case .json: StandardStream.output.print(JSON.array(rows.map(\.document)).text(pretty: true) + "\n")
        case .template(let template):
            for row in rows { StandardStream.output.print(try template.text(row.document) + "\n") }
        }
        return 0
    }

    private static func table(_ rows: [ContainerRow], whole: Bool) -> String {
        Table.text(
            ["ID", "NAME", "IMAGE", "ISOLATION", "STATUS", "CREATED", "COMMAND"],
            rows.map { row in
                let command = whole || row.command.count <= 40 ? row.command : row.command.prefix(39) + "…"
                return [
                    whole ? row.id : String(row.id.prefix(12)), row.name, row.image, row.isolation, row.status,
                    Ago.text(row.createdAt), String(command),
                ]
            })
    }
}

/// One line of the list.
struct ContainerRow {
    let id: String
    let name: String
    let image: String
    let isolation: String
    let state: String
    /// The state in words: "running 5 minutes (healthy)", "exited (3) 2 hours ago".
    let status: String
    let pid: Int32?
    /// Nanoseconds since 1970.
    let createdAt: Int64
    let command: String
    var labels: [(key: String, value: String)] = []
    var health: String?
    var restarts: UInt64 = 0
    var exitStatus: Int32?
    /// What its last run was denied, as the verdict has it; null: nobody asked.
    var denied: JSON = .null

    var isRunning: Bool { ["running", "paused", "stopping", "restarting"].contains(state) }

    /// Containers, oldest first, and then what runs in the foreground.
    static func all(_ storage: Storage) throws(Problem) -> [ContainerRow] {
        rows(try Containers(storage).all(), try RunningContainer.all(storage))
    }

    static func rows(_ entries: [ContainerStore.Entry], _ foreground: [RunningContainer]) -> [ContainerRow] {
        var rows: [ContainerRow] = []
        for entry in entries {
            switch entry {
            case .container(let record): rows.append(ContainerRow(record))
            case .broken(let id, let why):
                rows.append(
                    ContainerRow(
                        id: id, name: "", image: "", isolation: "", state: "broken", status: "broken: \(why)",
                        pid: nil, createdAt: 0, command: ""))
            }
        }
        for running in foreground {
            let started = Timestamp.nanoseconds(running.startedAt) ?? 0
            rows.append(
                ContainerRow(
                    id: running.id, name: running.name ?? "", image: running.image, isolation: running.isolation,
                    state: "running", status: "running \(Ago.duration(since: started)) (foreground)",
                    pid: running.pid, createdAt: started, command: running.command))
        }
        return rows
    }

    var document: JSON {
        .members([
            "id": .string(id), "name": .string(name), "names": .string(name), "image": .string(image),
            "isolation": .string(isolation), "state": .string(state), "status": .string(status), "pid": .number(pid),
            "createdAt": .string(Timestamp.text(createdAt)), "command": .string(command),
            "labels": .object(labels.map { .init($0.key, .string($0.value)) }), "health": .text(health),
            "restarts": .number(restarts), "exitStatus": .number(exitStatus),
            "denied": denied,
        ])
    }
}

extension ContainerRow {
    init(_ record: ContainerRecord) {
        let arguments: [String] =
            if case .array(let words)? = record.configuration["arguments"] {
                words.compactMap { if case .string(let word) = $0 { word } else { nil } }
            } else { [] }
        self.init(
            id: record.id, name: record.name, image: record.image, isolation: record.isolation,
            state: record.state.kind.rawValue, status: ContainerRow.status(record),
            pid: record.state.life?.process.pid, createdAt: record.createdAt,
            command: arguments.joined(separator: " "), labels: record.labels, health: record.health,
            restarts: record.restarts, exitStatus: record.state.ending?.status,
            denied: record.state.ending?.verdict["denied"] ?? .null)
    }

    private static func status(_ record: ContainerRecord) -> String {
        let health = record.health.map { " (\($0))" } ?? ""
        switch record.state {
        case .created: return "created"
        case .running(let life): return "running \(Ago.duration(since: life.startedAt))\(health)"
        case .paused(let life): return "paused, started \(Ago.text(life.startedAt))"
        case .stopping: return "stopping"
        case .restarting(let ending, _): return "restarting (\(ending.status))"
        case .exited(let ending):
            var when = ""
            if case .string(let text)? = ending.verdict["finishedAt"], let time = Timestamp.nanoseconds(text) {
                when = " " + Ago.text(time)
            }
            var why = ""
            if case .string(let reason)? = ending.verdict["reason"], reason != "exited" { why = " \(reason)" }
            return "exited (\(ending.status))\(why)\(when)"
        case .dead(let why): return "dead: \(why)"
        }
    }
}

/// Times as people say them.
enum Ago {
    static func text(_ time: Int64) -> String {
        time == 0 ? "" : "\(duration(since: time)) ago"
    }

    static func duration(since time: Int64) -> String { duration(max(0, Clock.realtime - time)) }

    static func duration(_ nanoseconds: Int64) -> String {
        let seconds = nanoseconds / 1_000_000_000
        let (number, unit): (Int64, String) =
            switch seconds {
            case ..<120: (seconds, "second")
            case ..<7200: (seconds / 60, "minute")
            case ..<172_800: (seconds / 3600, "hour")
            default: (seconds / 86400, "day")
            }
        return "\(number) \(unit)\(number == 1 ? "" : "s")"
    }
}

/// `--filter KEY=VALUE`.
struct Filter: Sendable {
    let key: String
    let value: String
    static let keys = ["name", "id", "state", "status", "label", "image", "isolation", "health", "exited"]

    init(_ text: String) throws(Problem) {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2, Filter.keys.contains(parts[0]) else {
            throw Problem(
                "cannot use --filter \(text)", "it must be KEY=VALUE",
                hint: "the keys are \(Filter.keys.joined(separator: ", "))")
        }
        key = parts[0] == "status" ? "state" : parts[0]
        value = parts[1]
    }

    /// As with Docker: of several for one key one must match, but each label that is asked for must be there.
    static func match(_ filters: [Filter], _ row: ContainerRow) -> Bool {
        filters.allSatisfy { filter in
            filter.matches(row)
                || filter.key != "label" && filters.contains { $0.key == filter.key && $0.matches(row) }
        }
    }

    private func matches(_ row: ContainerRow) -> Bool {
        switch key {
        case "name": row.name.holds(value)
        case "id": row.id.hasPrefix(value)
        case "state": row.state == value
        case "label": matches(label: row.labels)
        case "image": row.image.holds(value)
        case "isolation": row.isolation == value
        case "health": row.health == value
        default: row.exitStatus.map { String($0) == value } ?? false
        }
    }

    private func matches(label labels: [(key: String, value: String)]) -> Bool {
        let parts = value.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        return labels.contains { $0.key == parts[0] && (parts.count == 1 || $0.value == parts[1]) }
    }
}
