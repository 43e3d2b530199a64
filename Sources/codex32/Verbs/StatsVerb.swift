internal import Engine
internal import LinuxKernel
internal import OCISpec

/// `codex32 stats`: what containers use.
enum StatsVerb {
    struct Draft: VerbDraft {
        var help = false
        var storage: String?
        var all = false
        var isOnce = false
        var whole = false
        var interval: Int64 = 1_000_000_000
        var format = Format.table
        var filters: [Filter] = []
    }

    static let command = Command<Draft>(
        name: "stats", synopsis: "codex32 stats [OPTIONS] [CONTAINER...]",
        summary: "show what containers use: CPU, memory, processes, network, disks",
        details: """
            Without names it shows those that run. CPU is in percent of one CPU, between two looks. The figures are those
            of the container's cgroup; without cgroup v2, of its processes. One that is not known is - or null, never 0.
            --format json writes one object a line. Fields for --format: ID Name State CPUPerc MemUsage MemPerc NetIO
            BlockIO PIDs, and those of json.
            """,
        groups: [
            (
                "Options",
                [
                    .flag("-a", "--all", help: "those that do not run too") { $0.all = true },
                    .flag("--no-stream", help: "once, and end") { $0.isOnce = true },
                    .option("--interval", value: "TIME", help: "between two looks (default 1s)") {
                        draft, text throws(Problem) in
                        let time = try Value.duration(text, option: "--interval")
                        guard (100_000_000...3_600_000_000_000).contains(time) else {
                            throw Value.wrong("--interval", text, "from 100ms to 1h")
                        }
                        draft.interval = time
                    },
                    .option("-f", "--filter", value: "KEY=VALUE", help: "as for list") {
                        draft, text throws(Problem) in draft.filters.append(try Filter(text))
                    },
                    .option("--format", value: "FORMAT", help: Format.help, choices: Format.choices) {
                        draft, text throws(Problem) in draft.format = try Format(text)
                    },
                    .flag("--no-trunc", help: "whole ids") { $0.whole = true },
                ]
            ), CommonOptions.group(),
        ])

    static let verb = Verb(command) { words throws(Problem) in
        guard let (draft, names) = try command.read(words, Draft(), count: 0...Int.max, what: "container") else {
            return 0
        }
        return try run(draft, names)
    }

    private static func run(_ draft: Draft, _ names: [String]) throws(Problem) -> Int32 {
        let storage = try Storage.current(option: draft.storage)
        let wanted = try ids(names, storage)
        var view = StatsView(storage)
        let look = Look.current
        var page = LivePage()
        if draft.isOnce {
            // The first look is what the second is compared with.
            _ = try view.look()
            Clock.sleep(milliseconds: Int(min(draft.interval, 500_000_000) / 1_000_000))
        }
        while true {
            let seen = try view.look()
            let rows = seen.filter { each in
                if let wanted { return wanted.contains(each.row.id) }
                return draft.all || each.row.isRunning
            }
            .filter { Filter.match(draft.filters, $0.row) }
            if let wanted, rows.isEmpty, !seen.contains(where: { wanted.contains($0.row.id) }) { return 0 }
            try show(rows, draft, look, &page)
            if draft.isOnce { return 0 }
            try StandardStream.output.checkFollowed()
            Clock.sleep(milliseconds: Int(draft.interval / 1_000_000))
        }
    }

    /// The ids of those that were named; nil: none was.
    private static func ids(_ names: [String], _ storage: Storage) throws(Problem) -> Set<String>? {
        guard !names.isEmpty else { return nil }
        let containers = Containers(storage)
        let foreground = try RunningContainer.all(storage)
        var ids: Set<String> = []
        for name in names {
            if let run = foreground.first(where: { $0.name == name || $0.id == name }) {
                ids.insert(run.id)
                continue
            }
            do { ids.insert(try containers.store.find(name).id) } catch {
                guard let run = RunningContainer.find(name, among: foreground) else { throw error }
                ids.insert(run.id)
            }
        }
        return ids
    }

    private static func show(
        _ rows: [StatsRow], _ draft: Draft, _ look: Look, _ page: inout LivePage
    ) throws(Problem) {
        let time = Clock.realtime
        switch draft.format {
        case .json:
            StandardStream.output.print(rows.map { $0.document(at: time).text() + "\n" }.joined())
        case .template(let template):
            var text = ""
            for row in rows { text += try template.text(row.fields(at: time)) + "\n" }
            StandardStream.output.print(text)
        case .table:
            let isLive = look.isLive && !draft.isOnce
            let text = table(rows, draft, look, bars: isLive)
            if isLive { page.show(text) } else { StandardStream.output.print(text) }
        }
    }

    private static func table(_ rows: [StatsRow], _ draft: Draft, _ look: Look, bars: Bool) -> String {
        var titles = ["NAME", "CPU", "MEMORY / LIMIT", "PIDS", "NET IN / OUT", "DISK READ / WRITTEN", "ID"]
        if bars { titles.insert(contentsOf: ["LAST LOOKS", ""], at: 3) }
        return Table.text(
            titles,
            rows.map { each in
                var cells = [
                    each.row.name.isEmpty ? "-" : each.row.name, Quantity.percent(each.stats?.cpuPercent), each.memory,
                    each.tasks, each.network, each.disk, draft.whole ? each.row.id : String(each.row.id.prefix(12)),
                ]
                if bars { cells.insert(contentsOf: [each.cpuBars(10, look), each.memoryBars(10, look)], at: 3) }
                return cells
            })
    }
}

/// A text on a terminal that is put in the place of the one before it. It needs nothing restored: whatever ends
/// this program leaves the cursor below what is shown.
struct LivePage {
    private var lines = 0
    private var size: TerminalSize?

    mutating func show(_ text: String) {
        let size = TerminalSize(of: .output) ?? TerminalSize(rows: 24, columns: 80)
        // After a change of the width nobody knows where the lines before are.
        var output = lines == 0 ? "" : self.size == size ? "\u{1b}[\(lines)A\r" : "\u{1b}[H\u{1b}[2J"
        let all = text.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
        let shown = all.prefix(max(1, Int(size.rows) - 1))
        for line in shown { output += Columns.cut(String(line), Int(size.columns) - 1).text + "\u{1b}[K\n" }
        StandardStream.output.print(output + "\u{1b}[J")
        (lines, self.size) = (shown.count, size)
    }
}
