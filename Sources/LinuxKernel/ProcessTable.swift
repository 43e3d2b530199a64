internal import Glibc

/// One process at one moment, as `/proc/PID/stat` has it (proc_pid_stat(5)).
public struct ProcessEntry: Sendable, Equatable {
    public let pid: Int32
    public let parent: Int32
    /// It has ended, and nobody has waited for it: it runs nothing, and cgroup.procs does not list it (cgroups(7)).
    public let isZombie: Bool
    /// Its threads; a zombie counts as one, as in `pids.current`.
    public let threads: UInt64
    /// CPU time of it, and of those of its children that have ended and were waited for, in nanoseconds. Summed
    /// over a whole tree it only grows: what a process used passes to its parent when it ends.
    public let cpuNanoseconds: UInt64
    /// Bytes in memory, with those that it shares.
    public let residentBytes: UInt64

    /// The name in field 2 may hold blanks and brackets: the fields are counted from the last bracket.
    init?(pid: Int32, text: String, ticksPerSecond: UInt64, pageSize: UInt64) {
        guard let end = text.lastIndex(of: ")") else { return nil }
        let fields = text[text.index(after: end)...].split(separator: " ")
        guard fields.count > 21, let parent = Int32(fields[1]), let threads = UInt64(fields[17]), ticksPerSecond > 0
        else { return nil }
        var ticks: UInt64 = 0
        for field in fields[11...14] { ticks &+= UInt64(field) ?? 0 }
        self.pid = pid
        self.parent = parent
        isZombie = fields[0] == "Z" || fields[0] == "X"
        self.threads = threads
        cpuNanoseconds = ticks &* (1_000_000_000 / ticksPerSecond)
        residentBytes = (UInt64(fields[21]) ?? 0) &* pageSize
    }
}

/// The processes of this machine.
public enum ProcessTable {
    /// All that `/proc` shows to the caller. One that ends meanwhile is left out.
    public static func all() -> [ProcessEntry] {
        guard let proc = try? Descriptor.open("/proc", [.read, .folder]), let names = try? proc.entries() else {
            return []
        }
        let ticks = UInt64(max(sysconf(Int32(_SC_CLK_TCK)), 1))
        let page = UInt64(max(sysconf(Int32(_SC_PAGESIZE)), 1))
        return names.compactMap { name in
            guard let pid = Int32(name), let text = try? proc.contents(of: "\(name)/stat") else { return nil }
            return ProcessEntry(pid: pid, text: text, ticksPerSecond: ticks, pageSize: page)
        }
    }

    /// Which namespace of a kind ("pid", "net") a process is in, as in "pid:[4026531836]"; nil: the caller may not
    /// know, or the process is gone (namespaces(7)).
    public static func namespace(_ kind: String, of pid: Int32) -> String? {
        try? Descriptor.link("/proc/\(pid)/ns/\(kind)")
    }

    /// Bytes in memory, a page that several have being shared among them; nil: the caller may not know (proc_pid_smaps(5)).
    public static func proportionalBytes(of pid: Int32) -> UInt64? {
        guard let text = try? Descriptor.contents(of: "/proc/\(pid)/smaps_rollup") else { return nil }
        for line in text.split(separator: "\n") where line.hasPrefix("Pss:") {
            return line.split(separator: " ").dropFirst().first.flatMap { UInt64($0) }.map { $0 &* 1024 }
        }
        return nil
    }

    /// Bytes that a process, and those of its children that it waited for, had the disks read and write; nil: the
    /// caller may not know (proc_pid_io(5)).
    public static func diskBytes(of pid: Int32) -> (read: UInt64, written: UInt64)? {
        guard let text = try? Descriptor.contents(of: "/proc/\(pid)/io") else { return nil }
        var values: [Substring: UInt64] = [:]
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ")
            if words.count == 2 { values[words[0]] = UInt64(words[1]) }
        }
        guard let read = values["read_bytes:"], let written = values["write_bytes:"] else { return nil }
        return (read, written)
    }

    /// Bytes through the interfaces of a process's network namespace, loopback left out (proc_pid_net(5)).
    public static func networkBytes(of pid: Int32) -> (received: UInt64, sent: UInt64)? {
        guard let text = try? Descriptor.contents(of: "/proc/\(pid)/net/dev") else { return nil }
        return networkBytes(text)
    }

    static func networkBytes(_ text: String) -> (received: UInt64, sent: UInt64) {
        var total: (received: UInt64, sent: UInt64) = (0, 0)
        for line in text.split(separator: "\n") {
            guard let colon = line.lastIndex(of: ":") else { continue }
            let fields = line[line.index(after: colon)...].split(separator: " ").map { UInt64($0) }
            let name = line[..<colon].drop { $0 == " " }
            guard name != "lo", fields.count >= 16, let received = fields[0], let sent = fields[8] else { continue }
            total.received &+= received
            total.sent &+= sent
        }
        return total
    }
}
