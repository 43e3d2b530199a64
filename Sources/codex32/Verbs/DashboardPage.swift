internal import Engine
internal import LinuxKernel

/// What the dashboard shows, and what keys change of it.
struct DashboardPage {
    enum Order: String, CaseIterable { case age, name, cpu, memory, processes }

    let look: Look
    var rows: [StatsRow] { didSet { keepSelection() } }
    private var order = Order.cpu
    private var showsEnded = false
    private var selected: String?
    /// The first line of the list that is shown.
    private var top = 0

    init(look: Look, rows: [StatsRow]) {
        self.look = look
        self.rows = rows
        keepSelection()
    }

    // MARK: Keys

    /// Does what a key asks for. True: the dashboard ends.
    mutating func press(_ key: KeyReader.Key) -> Bool {
        switch key {
        case .letter(UInt8(ascii: "q")), .letter(3), .letter(4): return true
        case .letter(UInt8(ascii: "s")):
            let all = Order.allCases
            order = all[((all.firstIndex(of: order) ?? 0) + 1) % all.count]
        case .letter(UInt8(ascii: "a")): showsEnded.toggle()
        case .up, .letter(UInt8(ascii: "k")): move(-1)
        case .down, .letter(UInt8(ascii: "j")): move(1)
        case .pageUp: move(-10)
        case .pageDown: move(10)
        case .home: move(-rows.count)
        case .end: move(rows.count)
        case .letter: break
        }
        keepSelection()
        return false
    }

    private mutating func move(_ by: Int) {
        let shown = shown
        guard !shown.isEmpty else { return }
        let now = shown.firstIndex { $0.row.id == selected } ?? 0
        selected = shown[min(max(now + by, 0), shown.count - 1)].row.id
    }

    private mutating func keepSelection() {
        let shown = shown
        if !shown.contains(where: { $0.row.id == selected }) { selected = shown.first?.row.id }
    }

    /// The rows in their order.
    private var shown: [StatsRow] {
        let list = rows.filter { showsEnded || $0.row.isRunning }
        let byName = { (a: StatsRow, b: StatsRow) in (a.row.name, a.row.id) < (b.row.name, b.row.id) }
        let most = { (figure: (StatsRow) -> Double) in
            list.sorted { (figure($0), $1.row.id) > (figure($1), $0.row.id) }
        }
        return switch order {
        case .age: list.sorted { ($0.row.createdAt, $0.row.id) < ($1.row.createdAt, $1.row.id) }
        case .name: list.sorted(by: byName)
        case .cpu: most { $0.stats?.cpuPercent ?? -1 }
        case .memory: most { Double($0.usage?.memoryBytes ?? 0) }
        case .processes: most { Double($0.usage?.tasks ?? 0) }
        }
    }

    // MARK: Lines

    private struct Column {
        let title: String
        let width: Int
        let text: (StatsRow) -> String
    }

    /// The lines of a screen, each as wide as it or less.
    mutating func lines(_ size: TerminalSize) -> [String] {
        let (width, height) = (Int(size.columns), Int(size.rows))
        guard width >= 20, height >= 4 else { return [Columns.cut("too small a window", width).text] }
        let shown = shown
        let details = height >= 16 ? detailLines(shown.first { $0.row.id == selected }, width) : []
        // Head, titles, list, details, keys.
        let room = max(1, height - 3 - details.count)
        let index = shown.firstIndex { $0.row.id == selected } ?? 0
        top = min(max(min(top, index), index - room + 1), max(0, shown.count - room))
        var lines = [look.inverse(Columns.fit(head, width))]
        let columns = columns(width)
        lines.append(look.colored(line(columns.map { ($0.title, $0.width) }, width), 1))
        for row in shown[top..<min(top + room, shown.count)] {
            let text = line(columns.map { ($0.text(row), $0.width) }, width)
            lines.append(row.row.id == selected ? look.inverse(text) : text)
        }
        if shown.isEmpty { lines.append(Columns.cut(nothing, width).text) }
        while lines.count < height - 1 - details.count { lines.append("") }
        lines += details
        let keys = " q end  j/k select  s sort: \(order.rawValue)  a \(showsEnded ? "running only" : "ended too")"
        lines.append(look.inverse(Columns.fit(keys, width)))
        return lines
    }

    private var head: String {
        let running = rows.count { $0.row.isRunning }
        let cpu = rows.compactMap { $0.stats?.cpuPercent }
        let memory = rows.compactMap { $0.usage?.memoryBytes }
        let all = [
            "codex32", "\(running) of \(rows.count) running",
            "CPU \(Quantity.percent(cpu.isEmpty ? nil : cpu.reduce(0, +)))",
            "memory \(Quantity.bytes(memory.isEmpty ? nil : memory.reduce(0, &+)))",
        ]
        return " " + all.joined(separator: "  ")
    }

    private var nothing: String {
        rows.isEmpty
            ? " There is no container: codex32 run -d, or codex32 create." : " None runs. a shows the ended ones."
    }

    private func columns(_ width: Int) -> [Column] {
        let look = look
        var list = [
            Column(title: "NAME", width: 20) { $0.row.name.isEmpty ? $0.row.id : $0.row.name },
            Column(title: "STATE", width: 10) { $0.row.health ?? $0.row.state },
            Column(title: "CPU", width: 8) { Quantity.percent($0.stats?.cpuPercent) },
            Column(title: "MEMORY", width: 19) { $0.memory },
            Column(title: "PIDS", width: 5) { $0.tasks },
        ]
        let used = list.reduce(1) { $0 + $1.width + 1 }
        // A wide window has room for what else is known.
        let more = width >= 140 ? 42 : width >= 110 ? 21 : 0
        let bars = (width - used - 2 - more) / 2
        // Below three a bar says nothing.
        if width >= 76, bars >= 3 {
            let wide = min(bars, 24)
            list.insert(Column(title: "", width: wide) { $0.cpuBars(wide, look) }, at: 3)
            list.insert(Column(title: "", width: wide) { $0.memoryBars(wide, look) }, at: 5)
        }
        let left = width - list.reduce(1) { $0 + $1.width + 1 }
        if left >= 21 { list.append(Column(title: "NET IN / OUT", width: 20) { $0.network }) }
        if left >= 42 { list.append(Column(title: "DISK READ / WRITTEN", width: 20) { $0.disk }) }
        return list
    }

    private func line(_ cells: [(text: String, width: Int)], _ width: Int) -> String {
        let text = " " + cells.map { Columns.fit($0.text, $0.width) }.joined(separator: " ")
        return Columns.fit(text, width)
    }

    /// More of the one that is selected.
    private func detailLines(_ row: StatsRow?, _ width: Int) -> [String] {
        guard let row else { return [] }
        let bars = max(0, min(width - 44, 120))
        let most = row.memoryHistory.compactMap { $0 }.max().map { Quantity.bytes(UInt64($0)) } ?? "-"
        let lines = [
            (" \(row.row.name)  \(row.row.id)  \(row.row.status)", 1),
            (" image   \(row.row.image)  isolation \(row.row.isolation)", 0),
            (" command \(row.row.command)", 0),
            (" CPU     \(row.cpuBars(bars, look)) \(Quantity.percent(row.stats?.cpuPercent))", 0),
            (" memory  \(row.memoryBars(bars, look)) \(row.memory), most \(most)", 0),
            (" net     \(row.network)   disk \(row.disk)   restarts \(row.row.restarts)", 0),
        ]
        let rule = String(repeating: look.hasUnicode ? "─" : "-", count: width)
        return [rule]
            + lines.map { text, color in
                let cut = Columns.cut(text, width).text
                return color == 0 ? cut : look.colored(cut, color)
            }
    }
}
