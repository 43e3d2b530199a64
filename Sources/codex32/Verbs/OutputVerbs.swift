internal import Engine
internal import LinuxKernel
internal import OCISpec

/// The verbs that show what a container writes, and what happened to it.
enum OutputVerbs {
    // MARK: logs

    struct LogsDraft: VerbDraft {
        var help = false
        var storage: String?
        var follow = false
        var times = false
        var selection = LogSelection()
    }

    private static let logsCommand = Command<LogsDraft>(
        name: "logs", synopsis: "codex32 logs [OPTIONS] CONTAINER", summary: "show what a container wrote",
        details: "TIME is a moment such as 2026-01-02T03:04:05Z, seconds since 1970, or how long ago: 10m, 2h.",
        groups: [
            (
                "Options",
                [
                    .flag("-f", "--follow", help: "go on until it ends") { $0.follow = true },
                    .option("--since", value: "TIME", help: "what was written since then") {
                        draft, text throws(Problem) in draft.selection.since = try Moment.parse(text, "--since")
                    },
                    .option("--until", value: "TIME", help: "what was written until then") {
                        draft, text throws(Problem) in draft.selection.until = try Moment.parse(text, "--until")
                    },
                    .option("-n", "--tail", value: "NUMBER", help: "the last lines (all: every one)") {
                        draft, text throws(Problem) in
                        draft.selection.tail =
                            text == "all" ? nil : Int(try Value.whole(text, option: "--tail", 0...1_000_000))
                    },
                    .flag("-t", "--timestamps", help: "each line's time in front of it") { $0.times = true },
                ]
            ), CommonOptions.group(),
        ])

    static let logs = Verb(logsCommand) { words throws(Problem) in
        guard let (draft, names) = try logsCommand.read(words, LogsDraft(), count: 1...1, what: "container") else {
            return 0
        }
        try CommonOptions.containers(draft).logs(names[0], draft.selection, follow: draft.follow) {
            entry throws(Problem) in
            if draft.times, entry.beginsLine, let time = entry.time {
                entry.stream.print(Timestamp.exact(time) + " ")
            }
            entry.stream.write(entry.bytes[...])
            // With -f there is no end at which that would be seen.
            try entry.stream.checkFollowed()
        }
        return 0
    }

    // MARK: attach

    struct AttachDraft: VerbDraft {
        var help = false
        var storage: String?
        var input = true
        var signals = true
        var keys = Containers.usualDetachKeys
    }

    private static let attachCommand = Command<AttachDraft>(
        name: "attach", synopsis: "codex32 attach [OPTIONS] CONTAINER",
        summary: "watch a running container, and type into it",
        details: "Several can be attached at once. Ctrl-P Ctrl-Q ends the attachment and leaves the container alone.",
        groups: [
            (
                "Options",
                [
                    .flag("--no-stdin", help: "only watch") { $0.input = false },
                    .flag("--no-sig-proxy", help: "keep signals for this command") { $0.signals = false },
                    .option("--detach-keys", value: "KEYS", help: "as in ctrl-p,ctrl-q; none: no keys do") {
                        draft, text throws(Problem) in draft.keys = try DetachKeys.parse(text)
                    },
                ]
            ), CommonOptions.group(),
        ])

    static let attach = Verb(attachCommand) { words throws(Problem) in
        guard let (draft, names) = try attachCommand.read(words, AttachDraft(), count: 1...1, what: "container") else {
            return 0
        }
        return try CommonOptions.containers(draft)
            .attach(names[0], input: draft.input, signals: draft.signals, detachKeys: draft.keys)
    }

    // MARK: events

    struct EventsDraft: VerbDraft {
        var help = false
        var storage: String?
        var follow = false
        var since: Int64?
        var until: Int64?
        var after: Int64 = -1
        var filters: [EventFilter] = []
        var format = Format.table
    }

    private static let eventsCommand = Command<EventsDraft>(
        name: "events", synopsis: "codex32 events [OPTIONS]", summary: "show what happened to containers",
        details: "Each event has a sequence number; --after goes on behind one that was seen.",
        groups: [
            (
                "Options",
                [
                    .flag("-f", "--follow", help: "go on as they come") { $0.follow = true },
                    .option("--since", value: "TIME", help: "those since then: a moment, or how long ago") {
                        draft, text throws(Problem) in draft.since = try Moment.parse(text, "--since")
                    },
                    .option("--until", value: "TIME", help: "those until then; with -f, end at that moment") {
                        draft, text throws(Problem) in draft.until = try Moment.parse(text, "--until")
                    },
                    .option(
                        "--filter", value: "KEY=VALUE",
                        help: "type=TYPE (create, start, die, ...), container=NAME or ID"
                    ) {
                        draft, text throws(Problem) in draft.filters.append(try EventFilter(text))
                    },
                    .option("--after", value: "NUMBER", help: "those behind this sequence number") {
                        draft, text throws(Problem) in
                        draft.after = Int64(try Value.whole(text, option: "--after", 0...UInt64(Int64.max)))
                    },
                    .option("--format", value: "FORMAT", help: Format.help, choices: Format.choices) {
                        draft, text throws(Problem) in draft.format = try Format(text)
                    },
                ]
            ), CommonOptions.group(),
        ])

    static let events = Verb(eventsCommand) { words throws(Problem) in
        guard let (draft, _) = try eventsCommand.read(words, EventsDraft(), count: 0...0, what: "name") else {
            return 0
        }
        let journal = EventJournal(try Storage.current(option: draft.storage))
        try journal.read(after: draft.after, follow: draft.follow, until: draft.until) { event throws(Problem) in
            if let since = draft.since, time(event) < since { return }
            if let until = draft.until, time(event) > until { return }
            guard EventFilter.match(draft.filters, event) else { return }
            StandardStream.output.print(try line(event, draft.format) + "\n")
            try StandardStream.output.checkFollowed()
        }
        return 0
    }

    private static func time(_ event: Event) -> Int64 {
        guard case .string(let text)? = event.json["time"] else { return 0 }
        return Timestamp.nanoseconds(text) ?? 0
    }

    private static func line(_ event: Event, _ format: Format) throws(Problem) -> String {
        switch format {
        case .json: return event.document.text()
        case .template(let template): return try template.text(event.document)
        case .table:
            let field = { (name: String) -> String in
                if case .string(let text)? = event.json[name] { text.quotedForTerminal } else { "" }
            }
            var status = ""
            if case .integer(let number)? = event.json["exitStatus"] { status = " (\(number))" }
            return "\(field("time"))  \(field("type"))\(status)  \(field("name"))  \(field("id"))"
        }
    }
}

/// `events --filter KEY=VALUE`.
struct EventFilter: Sendable {
    let key: String
    let value: String

    init(_ text: String) throws(Problem) {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2, ["type", "event", "container"].contains(parts[0]) else {
            throw Problem(
                "cannot use --filter \(text)", "it must be KEY=VALUE", hint: "the keys are type and container")
        }
        // Docker's word for what is a type here.
        key = parts[0] == "event" ? "type" : parts[0]
        value = parts[1]
    }

    /// Of several for one key one must match.
    static func match(_ filters: [EventFilter], _ event: Event) -> Bool {
        filters.allSatisfy { filter in filters.contains { $0.key == filter.key && $0.matches(event) } }
    }

    private func matches(_ event: Event) -> Bool {
        let text = { (name: String) -> String in if case .string(let text)? = event.json[name] { text } else { "" } }
        if key == "type" { return text("type") == value }
        return text("name") == value || (value.utf8.count >= 2 && text("id").hasPrefix(value))
    }
}

/// A moment on the command line.
enum Moment {
    static func parse(_ text: String, _ option: String) throws(Problem) -> Int64 {
        if let moment = Timestamp.nanoseconds(text) { return moment }
        if text.utf8.count >= 10, let seconds = Int64(text), (0..<1 << 33).contains(seconds) {
            return seconds * 1_000_000_000
        }
        do { return Clock.realtime - (try Value.duration(text, option: option)) } catch {
            throw Value.wrong(option, text, "a moment such as 2026-01-02T03:04:05Z, or how long ago: 10m")
        }
    }
}

/// `--detach-keys ctrl-p,ctrl-q`; `none`: an empty sequence.
enum DetachKeys {
    static func parse(_ text: String) throws(Problem) -> [UInt8] {
        if text == "none" { return [] }
        var keys: [UInt8] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let bytes = Array(part.utf8)
            if part.hasPrefix("ctrl-"), bytes.count == 6, (0x40...0x7e).contains(bytes[5]) {
                keys.append(bytes[5] & 0x1f)
            } else if bytes.count == 1, (0x21...0x7e).contains(bytes[0]) {
                keys.append(bytes[0])
            } else {
                throw Value.wrong("--detach-keys", text, "letters or ctrl-LETTER, with commas between, or none")
            }
        }
        return keys
    }
}
