internal import LinuxKernel

/// The machine's processes at one moment, looked at once for all containers.
struct ProcessSnapshot {
    let at: Int64
    private let entries: [Int32: ProcessEntry]
    private let children: [Int32: [Int32]]
    private let namespaces: [String: [Int32]]

    init() {
        at = Clock.monotonic
        var entries: [Int32: ProcessEntry] = [:]
        var children: [Int32: [Int32]] = [:]
        var namespaces: [String: [Int32]] = [:]
        for entry in ProcessTable.all() {
            entries[entry.pid] = entry
            children[entry.parent, default: []].append(entry.pid)
            if let namespace = ProcessTable.namespace("pid", of: entry.pid) {
                namespaces[namespace, default: []].append(entry.pid)
            }
        }
        self.entries = entries
        self.children = children
        self.namespaces = namespaces
    }

    func parent(of pid: Int32) -> Int32? { entries[pid]?.parent }

    /// The processes of the container whose first one this is: those in its pid namespace, whoever started them, and
    /// theirs in namespaces further inside. Empty: the caller may not know, or it is gone.
    func members(of first: Int32) -> [ProcessEntry] {
        guard let namespace = ProcessTable.namespace("pid", of: first),
            namespace != ProcessTable.namespace("pid", of: Machine.pid)
        else { return [] }
        var found: Set<Int32> = []
        var waiting = namespaces[namespace] ?? []
        while let pid = waiting.popLast() {
            if found.insert(pid).inserted { waiting += children[pid] ?? [] }
        }
        return found.compactMap { entries[$0] }
    }

    /// What a container's processes use together; nil: it has none that could be seen.
    func usage(of first: Int32) -> ContainerUsage? {
        let members = members(of: first)
        guard !members.isEmpty else { return nil }
        var usage = ContainerUsage(source: .processes, at: at)
        usage.cpuNanoseconds = members.reduce(0) { $0 &+ $1.cpuNanoseconds }
        usage.tasks = members.reduce(0) { $0 &+ $1.threads }
        let proportional = members.map { ProcessTable.proportionalBytes(of: $0.pid) }
        if proportional.allSatisfy({ $0 != nil }) {
            usage.memoryBytes = proportional.reduce(0) { $0 &+ ($1 ?? 0) }
            usage.memory = .proportional
        } else {
            usage.memoryBytes = members.reduce(0) { $0 &+ $1.residentBytes }
            usage.memory = .resident
        }
        // One that cannot be read makes the sum one that nobody knows.
        let disk = members.map { ProcessTable.diskBytes(of: $0.pid) }
        if disk.allSatisfy({ $0 != nil }) {
            usage.readBytes = disk.reduce(0) { $0 &+ ($1?.read ?? 0) }
            usage.writtenBytes = disk.reduce(0) { $0 &+ ($1?.written ?? 0) }
        }
        return usage
    }
}
