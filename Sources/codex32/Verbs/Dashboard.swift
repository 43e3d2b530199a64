internal import Engine
internal import LinuxKernel

/// `codex32 dashboard`: all containers on a full screen, until a person has seen enough.
enum Dashboard {
    static let command = Command<PlainDraft>(
        name: "dashboard", synopsis: "codex32 dashboard [OPTIONS]",
        summary: "watch all containers on a full screen",
        details: """
            Works over ssh, on any terminal with xterm's control sequences. Keys: q ends it, arrows or j and k select,
            s sorts by the next column, a shows ended ones too or not.
            """,
        groups: [CommonOptions.group()])

    static let verb = Verb(command) { words throws(Problem) in
        guard let (draft, _) = try command.read(words, PlainDraft(), count: 0...0, what: "word") else { return 0 }
        return try run(try Storage.current(option: draft.storage))
    }

    private enum Token {
        static let keys: UInt64 = 1
        static let signals: UInt64 = 2
        static let tick: UInt64 = 3
    }

    /// Shows the store's containers until a key, a signal or the end of the terminal. Whatever it is, the terminal is
    /// as it was when this returns or throws.
    /// - Returns: 0, or 128+n when signal n ended it.
    static func run(_ storage: Storage) throws(Problem) -> Int32 {
        let what = "cannot show the dashboard"
        guard Look.current.isLive, StandardStream.input.isTerminal else {
            throw Problem(
                what, "it needs a terminal that can move its cursor, for input and output",
                hint: "codex32 stats --no-stream and codex32 list print the same to any file; over ssh use ssh -t")
        }
        let events = try explaining(what) { () throws(KernelError) in try EventQueue() }
        // Collected before the screen changes: from here on none ends this process without its being restored.
        let ends = [Signal.hangUp, Signal.interrupt, Signal.quit, Signal.terminate]
        let signals = try explaining(what) { () throws(KernelError) in
            try SignalQueue(ends + [Signal.windowChanged, Signal.pipe])
        }
        let timer = try explaining(what) { () throws(KernelError) in try Timer() }
        var view = StatsView(storage)
        var page = DashboardPage(look: Look.current, rows: try view.look())
        guard let screen = FullScreen() else { throw Problem(what, "the terminal cannot be set up") }
        try explaining(what) { () throws(KernelError) in
            try events.add(StandardStream.input.rawValue, token: Token.keys)
            try events.add(signals.descriptor.number, token: Token.signals)
            try events.add(timer.descriptor.number, token: Token.tick)
            try timer.set(nanoseconds: interval)
        }
        var keys = KeyReader()
        while true {
            screen.show(page.lines(screen.size))
            try StandardStream.output.checkFollowed()
            let ready = try explaining(what) { () throws(KernelError) in try events.wait() }
            for event in ready {
                switch event.token {
                case Token.keys:
                    // Nothing to read, though there is something: the terminal is gone.
                    guard let bytes = StandardStream.input.readSome(256), !bytes.isEmpty else { return 0 }
                    for key in keys.keys(bytes) where page.press(key) { return 0 }
                case Token.signals:
                    while let number = signals.next() {
                        if ends.contains(number) { return 128 + number }
                    }
                default:
                    page.rows = try view.look()
                    try explaining(what) { () throws(KernelError) in try timer.set(nanoseconds: interval) }
                }
            }
        }
    }

    /// Between two looks.
    private static let interval: Int64 = 1_000_000_000
}
