internal import Engine
internal import LinuxKernel
internal import OCISpec

/// A container with what it uses, and what it used in the moments before.
struct StatsRow {
    let row: ContainerRow
    let stats: ContainerStats?
    var cpuHistory: [Double?] = []
    var memoryHistory: [Double?] = []

    var usage: ContainerUsage? { stats?.usage }

    /// "12.3MiB / 512MiB"; only the first where there is no limit.
    var memory: String {
        guard let bytes = usage?.memoryBytes else { return "-" }
        return Quantity.bytes(bytes) + (usage?.memoryLimit.map { " / " + Quantity.bytes($0) } ?? "")
    }

    var tasks: String { usage?.tasks.map { String($0) } ?? "-" }
    var network: String { StatsRow.pair(usage?.receivedBytes, usage?.sentBytes) }
    var disk: String { StatsRow.pair(usage?.readBytes, usage?.writtenBytes) }

    private static func pair(_ a: UInt64?, _ b: UInt64?) -> String {
        a == nil && b == nil ? "-" : "\(Quantity.bytes(a)) / \(Quantity.bytes(b))"
    }

    /// What `--format json` writes: a figure that is not known is null.
    func document(at time: Int64) -> JSON { .object(figures(at: time)) }

    /// The same, and Docker's names for templates.
    func fields(at time: Int64) -> JSON {
        .object(
            figures(at: time) + [
                .init("container", .string(row.id)), .init("cpuPerc", .string(Quantity.percent(stats?.cpuPercent))),
                .init("memUsage", .string(memory)), .init("memPerc", .string(Quantity.percent(usage?.memoryPercent))),
                .init("netIO", .string(network)), .init("blockIO", .string(disk)),
            ])
    }

    private func figures(at time: Int64) -> [JSON.Member] {
        let real = { (value: Double?) -> JSON in value.map { .real(($0 * 100).rounded() / 100) } ?? .null }
        return [
            .init("time", .string(Timestamp.text(time))), .init("id", .string(row.id)),
            .init("name", .string(row.name)), .init("state", .string(row.state)),
            .init("from", .text(usage?.source.rawValue)), .init("cpuPercent", real(stats?.cpuPercent)),
            .init("cpuSeconds", usage?.cpuNanoseconds.map { .real(Double($0) / 1e9) } ?? .null),
            .init("memoryBytes", .number(usage?.memoryBytes)), .init("memoryLimitBytes", .number(usage?.memoryLimit)),
            .init("memoryPercent", real(usage?.memoryPercent)), .init("memoryFrom", .text(usage?.memory?.rawValue)),
            .init("pids", .number(usage?.tasks)), .init("pidsLimit", .number(usage?.taskLimit)),
            .init("readBytes", .number(usage?.readBytes)), .init("writtenBytes", .number(usage?.writtenBytes)),
            .init("receivedBytes", .number(usage?.receivedBytes)), .init("sentBytes", .number(usage?.sentBytes)),
        ]
    }
}

/// Looks at the containers of a store again and again, and remembers what it saw.
struct StatsView {
    private static let kept = 240
    private let containers: Containers
    private var reader = StatsReader()
    private var cpu: [String: [Double?]] = [:]
    private var memory: [String: [Double?]] = [:]

    init(_ storage: Storage) { containers = Containers(storage) }

    /// All containers, and what runs in the foreground, as they are now.
    mutating func look() throws(Problem) -> [StatsRow] {
        let entries = try containers.all()
        let foreground = try RunningContainer.all(containers.storage)
        let stats = reader.look(entries, foreground)
        let rows = ContainerRow.rows(entries, foreground)
        var (newCPU, newMemory): ([String: [Double?]], [String: [Double?]]) = ([:], [:])
        let result = rows.map { row in
            let one = stats[row.id]
            var seen = StatsRow(row: row, stats: one)
            seen.cpuHistory = StatsView.add(one?.cpuPercent, to: cpu[row.id])
            seen.memoryHistory = StatsView.add(one?.usage.memoryBytes.map { Double($0) }, to: memory[row.id])
            newCPU[row.id] = seen.cpuHistory
            newMemory[row.id] = seen.memoryHistory
            return seen
        }
        (cpu, memory) = (newCPU, newMemory)
        return result
    }

    private static func add(_ figure: Double?, to history: [Double?]?) -> [Double?] {
        Array((history ?? []).suffix(kept - 1)) + [figure]
    }
}

extension StatsRow {
    /// CPU time as bars: to one CPU, or to the most that was seen.
    func cpuBars(_ width: Int, _ look: Look) -> String {
        let most = cpuHistory.suffix(width).reduce(100) { max($0, $1 ?? 0) }
        return Sparkline.text(cpuHistory, top: most, width: width, unicode: look.hasUnicode)
    }

    /// Memory as bars: to its limit, or to the most that was seen.
    func memoryBars(_ width: Int, _ look: Look) -> String {
        let most = usage?.memoryLimit.map { Double($0) } ?? memoryHistory.suffix(width).reduce(1) { max($0, $1 ?? 0) }
        return Sparkline.text(memoryHistory, top: most, width: width, unicode: look.hasUnicode)
    }
}
