public import LinuxKernel
public import OCISpec

/// One process of a container, as seen from outside.
public struct ContainerProcessLine: Sendable {
    public let pid: Int32
    /// Its number inside; nil: it is just being born or has ended.
    public let inside: Int32?
    public let parent: Int32
    /// By the container's own files, else the number; the host's number where the container has none for it.
    public let user: String
    /// R, S, D, T, Z (proc_pid_stat(5)).
    public let state: String
    /// Of user and system together.
    public let cpuSeconds: Double
    /// Resident.
    public let memoryBytes: UInt64
    /// With its arguments, a blank between; in brackets the name of one that has none.
    public let command: String

    public var document: JSON {
        .members([
            "pid": .number(pid), "inside": .number(inside), "parent": .number(parent), "user": .string(user),
            "state": .string(state), "cpuSeconds": .real(cpuSeconds), "memoryBytes": .number(memoryBytes),
            "command": .string(command),
        ])
    }
}

/// Who is in a container: its cgroup's processes, or, without cgroup v2, those of its pid namespace and all that are
/// below them.
struct ContainerProcesses {
    /// What is read of a process, from one open folder: its number may be another's a moment later.
    private struct Entry {
        let pid: Int32
        let parent: Int32
        let namespace: UInt64?
        let isBelowOurs: Bool
    }
    private let cgroup: String?
    private let first: ProcessIdentity
    private let map: [IdentityRange]
    private let users: ExecUser

    init(_ record: ContainerRecord) throws(Problem) {
        guard let first = record.state.life?.process, first.isAlive else {
            throw Problem(
                "cannot show the processes of \(record.name)", "it is \(record.state.kind.rawValue)",
                hint: "codex32 start \(record.name)")
        }
        self.init(first, cgroup: record.cgroup, process: try? ContainerProcess.open(record))
    }

    /// Of a container of a bundle's.
    init(_ first: ProcessIdentity) { self.init(first, cgroup: nil, process: ContainerProcess(first)) }

    private init(_ first: ProcessIdentity, cgroup: String?, process: consuming ContainerProcess?) {
        self.cgroup = cgroup
        self.first = first
        map = ContainerProcess.ranges((try? Descriptor.contents(of: "/proc/\(first.pid)/uid_map")) ?? "")
        if let process, let root = try? process.folder.open("root", [.pathOnly, .folder]) {
            users = ExecUser(root: root)
        } else {
            users = ExecUser(passwd: "", group: "")
        }
    }

    func lines(namespace: UInt64?) -> [ContainerProcessLine] {
        pids(namespace).compactMap(line).sorted { $0.pid < $1.pid }
    }

    /// Those of these that are still there.
    func lines(of pids: Set<Int32>) -> [ContainerProcessLine] { pids.compactMap(line).sorted { $0.pid < $1.pid } }

    private func pids(_ namespace: UInt64?) -> Set<Int32> {
        if let path = cgroup, path.hasPrefix("/sys/fs/cgroup/"),
            let text = try? Descriptor.contents(of: "\(path)/cgroup.procs", limit: 8 << 20)
        {
            return Set(text.split(separator: "\n").compactMap { Int32($0) })
        }
        return ofNamespace(namespace)
    }

    private func ofNamespace(_ known: UInt64?) -> Set<Int32> {
        let names = (try? Descriptor.open("/proc", [.read, .folder]).entries()) ?? []
        let entries = names.compactMap { Int32($0).flatMap(entry) }
        let wanted = known ?? entries.first { $0.pid == first.pid }?.namespace
        var found: Set<Int32> = [first.pid]
        for entry in entries where wanted != nil && entry.namespace == wanted { found.insert(entry.pid) }
        // A process in a namespace of its own, or one that this user may not look at, is found by who its parent is.
        let others = entries.filter { $0.isBelowOurs && !found.contains($0.pid) }
        var grows = true
        while grows {
            grows = false
            for entry in others where found.contains(entry.parent) && found.insert(entry.pid).inserted { grows = true }
        }
        return found
    }

    private func entry(_ pid: Int32) -> Entry? {
        guard let folder = try? Descriptor.open("/proc/\(pid)", [.read, .folder]),
            let text = try? folder.contents(of: "status")
        else { return nil }
        let status = ProcessStatus(text: text)
        let numbers = status["NSpid"]?.split(separator: "\t").count ?? 1
        return Entry(
            pid: pid, parent: Int32(clamping: status.number("PPid") ?? 0),
            namespace: (try? folder.status(of: "ns/pid", followLinks: true))?.inode, isBelowOurs: numbers > 1)
    }

    private func line(_ pid: Int32) -> ContainerProcessLine? {
        guard let folder = try? Descriptor.open("/proc/\(pid)", [.read, .folder]),
            let text = try? folder.contents(of: "status"), let stat = try? folder.contents(of: "stat"),
            let end = stat.lastIndex(of: ")")
        else { return nil }
        let status = ProcessStatus(text: text)
        // proc_pid_stat(5): counted from the bracket, state is 0, utime 11 and stime 12, in ticks of 1/100 s.
        let fields = stat[stat.index(after: end)...].split(separator: " ")
        guard fields.count > 12 else { return nil }
        let ticks = (UInt64(fields[11]) ?? 0) &+ (UInt64(fields[12]) ?? 0)
        let kilobytes = status["VmRSS"]?.split(separator: " ").first.flatMap { UInt64($0) } ?? 0
        let numbers = status["NSpid"]?.split(separator: "\t").compactMap { Int32($0) } ?? []
        return ContainerProcessLine(
            pid: pid, inside: numbers.count > 1 ? numbers[1] : nil,
            parent: Int32(clamping: status.number("PPid") ?? 0), user: user(status), state: String(fields[0]),
            cpuSeconds: Double(ticks) / 100, memoryBytes: kilobytes &* 1024,
            command: ContainerProcesses.command(folder, status["Name"] ?? ""))
    }

    private func user(_ status: ProcessStatus) -> String {
        guard let word = status["Uid"]?.split(separator: "\t").first, let outside = UInt32(word) else { return "" }
        guard let range = map.first(where: { $0.contains(outside: outside) }) else { return String(outside) }
        let uid = range.inside + (outside - range.outside)
        return users.name(of: uid) ?? String(uid)
    }

    /// A program may write anything there, megabytes of it too: the beginning is enough.
    private static func command(_ folder: borrowing Descriptor, _ name: String) -> String {
        guard let file = try? folder.open("cmdline", [.read, .noFollow]), let bytes = try? file.readPrefix(4096),
            !bytes.isEmpty
        else { return "[\(name)]" }
        var words = bytes[...]
        while words.last == 0 { words.removeLast() }
        return String(decoding: words.map { $0 == 0 ? 0x20 : $0 }, as: UTF8.self)
    }
}

extension Containers {
    /// The processes of a container that runs, by their number outside.
    public func processes(_ reference: String) throws(Problem) -> [ContainerProcessLine] {
        let container: ContainerFolder
        do { container = try store.find(reference) } catch {
            guard let run = RunningContainer.findBegun(reference, storage) else { throw error }
            return try processes(of: run)
        }
        let record = try view(container)
        var namespace: UInt64?
        // An ordinary user may not look at codex32's own reaper, but what the start had read back says it.
        if case .object(let members)? = container.receipt()?["namespaces"],
            let pid = members.first(where: { $0.name == "pid" })?.value, case .integer(let inode)? = pid["inode"]
        {
            namespace = UInt64(exactly: inode)
        }
        return try ContainerProcesses(record).lines(namespace: namespace)
    }
}
