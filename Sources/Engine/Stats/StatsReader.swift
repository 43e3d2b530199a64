internal import LinuxKernel

/// What a container uses, and how much of the CPUs since it was last looked at.
public struct ContainerStats: Sendable {
    public let usage: ContainerUsage
    /// In percent of one CPU; nil: it is looked at for the first time, or the kernel does not say.
    public let cpuPercent: Double?
}

/// Looks at containers again and again.
public struct StatsReader: Sendable {
    private struct Earlier {
        let pid: Int32
        let usage: ContainerUsage
    }
    private var earlier: [String: Earlier] = [:]

    public init() {}

    /// What the running ones among these use now, by their ids.
    public mutating func look(
        _ entries: [ContainerStore.Entry], _ foreground: [RunningContainer]
    ) -> [String: ContainerStats] {
        var snapshot: ProcessSnapshot?
        let ownNetwork = ProcessTable.namespace("net", of: Machine.pid)
        var found: [String: ContainerStats] = [:]
        var seen: [String: Earlier] = [:]
        let note = { (id: String, pid: Int32, usage: ContainerUsage, earlier: Earlier?) in
            let percent = earlier.flatMap { $0.pid == pid ? usage.cpuPercent(since: $0.usage) : nil }
            found[id] = ContainerStats(usage: usage, cpuPercent: percent)
            seen[id] = Earlier(pid: pid, usage: usage)
        }
        for entry in entries {
            // A number alone may be another process's by now.
            guard case .container(let record) = entry, let process = record.state.life?.process, process.isAlive,
                let usage = StatsReader.usage(process.pid, cgroup: record.cgroup, &snapshot, ownNetwork)
            else { continue }
            note(record.id, process.pid, usage, earlier[record.id])
        }
        for run in foreground {
            guard let pid = run.pid else { continue }
            if snapshot == nil { snapshot = ProcessSnapshot() }
            // Its parent is the codex32 that runs it; else the entry is one that a killed one left.
            guard let owner = run.owner, snapshot?.parent(of: pid) == owner,
                let usage = StatsReader.usage(
                    pid, cgroup: run.cgroupParent.map { "\($0)/\(run.id)" }, &snapshot, ownNetwork)
            else { continue }
            note(run.id, pid, usage, earlier[run.id])
        }
        earlier = seen
        return found
    }

    private static func usage(
        _ pid: Int32, cgroup: String?, _ snapshot: inout ProcessSnapshot?, _ ownNetwork: String?
    ) -> ContainerUsage? {
        var usage: ContainerUsage
        if let cgroup, let found = cgroupUsage(cgroup) {
            usage = found
        } else {
            if snapshot == nil { snapshot = ProcessSnapshot() }
            guard let found = snapshot?.usage(of: pid) else { return nil }
            usage = found
        }
        if let network = ProcessTable.namespace("net", of: pid), let ownNetwork, network != ownNetwork,
            let bytes = ProcessTable.networkBytes(of: pid)
        {
            (usage.receivedBytes, usage.sentBytes) = (bytes.received, bytes.sent)
        }
        return usage
    }

    /// From the files of a cgroup (admin-guide/cgroup-v2.rst); nil: there is no such cgroup.
    static func cgroupUsage(_ path: String) -> ContainerUsage? {
        guard let group = try? Cgroup(existing: path) else { return nil }
        var usage = ContainerUsage(source: .cgroup, at: Clock.monotonic)
        usage.cpuNanoseconds = group.number("cpu.stat", key: "usage_usec").map { $0 &* 1000 }
        usage.memoryBytes = group.number("memory.current")
        usage.memory = usage.memoryBytes == nil ? nil : .cgroup
        usage.memoryLimit = group.number("memory.max")
        usage.tasks = group.number("pids.current")
        usage.taskLimit = group.number("pids.max")
        usage.readBytes = group.ioTotal("rbytes")
        usage.writtenBytes = group.ioTotal("wbytes")
        return usage
    }
}
