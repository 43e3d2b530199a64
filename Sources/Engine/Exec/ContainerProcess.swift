internal import LinuxKernel
internal import Sandbox

/// A process of a container, held by descriptors: whatever happens to its number, these mean it and no other.
struct ContainerProcess: ~Copyable {
    let pidfd: Descriptor
    /// `/proc/PID`.
    let folder: Descriptor

    /// The container's first process; where that is codex32's own reaper (`--init`), which is closed to everybody
    /// but root, the program below it.
    ///
    /// - Throws: when it has ended, or is not to be looked into by this user.
    static func open(_ record: ContainerRecord) throws(Problem) -> ContainerProcess {
        guard let identity = record.state.life?.process else { throw gone(record.name) }
        let what = "cannot enter \(record.name)"
        let held = try explaining(what) { () throws(KernelError) in try hold(identity) }
        guard let first = held else { throw gone(record.name) }
        if try explaining(what, { () throws(KernelError) in try first.isOpen() }) { return first }
        guard let program = first.openChild(of: identity.pid) else {
            guard !identity.hasEnded else { throw gone(record.name) }
            throw Problem(
                "cannot enter \(record.name)", "its first process is closed to this user",
                hint: "try again when its program has begun, or run codex32 as root")
        }
        return program
    }

    static func gone(_ name: String) -> Problem {
        Problem("cannot enter \(name)", "its program has just ended", hint: "codex32 start \(name)")
    }

    /// Nil: it is gone, for certain.
    static func hold(_ identity: ProcessIdentity) throws(KernelError) -> ContainerProcess? {
        guard let pidfd = try identity.held() else { return nil }
        let folder = try unlessMissing { () throws(KernelError) -> Descriptor in
            try Descriptor.open("/proc/\(identity.pid)", [.read, .folder])
        }
        // Alive after the folder was opened, so the folder is this very process's.
        guard let folder, !pidfd.waitReadable(milliseconds: 0) else { return nil }
        return ContainerProcess(pidfd: pidfd, folder: folder)
    }

    private init(pidfd: consuming Descriptor, folder: consuming Descriptor) {
        self.pidfd = pidfd
        self.folder = folder
    }

    /// Nil also where it could not be looked at.
    init?(_ identity: ProcessIdentity) {
        guard let held = (try? ContainerProcess.hold(identity)) ?? nil else { return nil }
        self = held
    }

    /// Whether its namespaces may be joined: the kernel asks for the same right to look at them (ptrace(2)).
    private borrowing func isOpen() throws(KernelError) -> Bool {
        do { return try inode(.user) != nil } catch {
            if error.number == Errno.denied || error.number == Errno.permission { return false }
            throw error
        }
    }

    /// Nil: a kernel without such namespaces, or a process that has ended.
    private borrowing func inode(_ namespace: Namespace) throws(KernelError) -> UInt64? {
        let seen = try unlessMissing { () throws(KernelError) -> FileStatus in
            try folder.status(of: "ns/\(namespace.file)", followLinks: true)
        }
        return seen?.inode
    }

    /// A child that is in the same user namespace, as far as that can be seen: one with the same maps.
    private borrowing func openChild(of pid: Int32) -> ContainerProcess? {
        guard let text = try? folder.contents(of: "task/\(pid)/children", limit: 1 << 16),
            let map = try? folder.contents(of: "uid_map")
        else { return nil }
        for word in text.split(separator: " ").prefix(64) {
            guard let number = Int32(word), let identity = ProcessIdentity(of: number),
                let child = ContainerProcess(identity), (try? child.isOpen()) == true,
                let status = try? child.folder.contents(of: "status"),
                ProcessStatus(text: status).number("PPid") == Int(pid),
                (try? child.folder.contents(of: "uid_map")) == map
            else { continue }
            return child
        }
        return nil
    }

    /// What there is to join.
    borrowing func target(_ record: ContainerRecord, outlives: Bool) throws(Problem) -> JoinTarget {
        let others: CaseSet<Namespace>
        let isOpen: Bool
        do throws(KernelError) { (others, isOpen) = (try otherNamespaces(), try self.isOpen()) } catch {
            throw Problem("cannot look at the namespaces of \(record.name)", error)
        }
        // One that ended meanwhile shows none any more, as if they were this process's own.
        guard isOpen else { throw ContainerProcess.gone(record.name) }
        let identity = others.contains(.user) ? try identityMap(record.name) : nil
        return JoinTarget(
            namespaces: others, identity: identity, inherited: try inherited(record), outlives: outlives)
    }

    /// Their inodes, as far as the caller may know them.
    var namespaces: [Namespace: UInt64] {
        var inodes: [Namespace: UInt64] = [:]
        for namespace in Namespace.allCases { inodes[namespace] = (try? inode(namespace)) ?? nil }
        return inodes
    }

    /// Those that are not this process's own already.
    ///
    /// - Throws: what kept one from being looked at. Left out, whatever is run in it would be in the caller's.
    borrowing func otherNamespaces() throws(KernelError) -> CaseSet<Namespace> {
        var others: CaseSet<Namespace> = []
        for namespace in Namespace.allCases {
            guard let inode = try inode(namespace) else { continue }
            if inode != Namespace.current(namespace) { others.insert(namespace) }
        }
        return others
    }

    borrowing func identityMap(_ name: String) throws(Problem) -> IdentityMap {
        let (uids, gids, groups) = try explaining("cannot read the ids of \(name)") {
            () throws(KernelError) -> (String, String, String) in
            (
                try folder.contents(of: "uid_map"), try folder.contents(of: "gid_map"),
                try folder.contents(of: "setgroups")
            )
        }
        return IdentityMap(
            uids: ContainerProcess.ranges(uids), gids: ContainerProcess.ranges(gids), byHelper: false,
            deniesGroups: groups.hasPrefix("deny"))
    }

    /// `/proc/PID/uid_map` (user_namespaces(7)).
    static func ranges(_ text: String) -> [IdentityRange] { IdentityRange.list(text) }

    /// The limits that the container's program began with are its supervisor's, which never changes them.
    /// Those of the caller of `exec` may be others.
    private borrowing func inherited(_ record: ContainerRecord) throws(Problem) -> [ResourceLimit] {
        guard let supervisor = record.supervisor else { return [] }
        let (known, here) = try explaining("cannot read the limits of \(record.name)") {
            () throws(KernelError) -> (String?, String) in
            let there = try unlessMissing { () throws(KernelError) -> String in
                try Descriptor.contents(of: "/proc/\(supervisor.pid)/limits")
            }
            return (there, try Descriptor.contents(of: "/proc/self/limits"))
        }
        // Nearly always the same: taking it apart costs more than all else here.
        guard let there = known, there != here, supervisor.isAlive else { return [] }
        let own = ContainerProcess.limits(here)
        return ContainerProcess.limits(there).compactMap { limit in
            guard let now = own.first(where: { $0.resource == limit.resource }), now != limit else { return nil }
            // Only root raises a hard limit (setrlimit(2)).
            let hard = Machine.isRoot ? limit.hard : min(limit.hard, now.hard)
            let wanted = ResourceLimit(resource: limit.resource, soft: min(limit.soft, hard), hard: hard)
            return wanted == now ? nil : wanted
        }
    }

    /// `/proc/PID/limits`: a title of 26 characters, then the soft and the hard limit.
    static func limits(_ text: String) -> [ResourceLimit] {
        text.split(separator: "\n").compactMap { line in
            guard let known = ResourceLimit.known.first(where: { line.hasPrefix($0.title + "  ") }) else { return nil }
            let words = line.dropFirst(known.title.count).split(separator: " ")
            guard words.count >= 2, let soft = number(words[0]), let hard = number(words[1]) else { return nil }
            return ResourceLimit(resource: known.number, soft: soft, hard: hard)
        }
    }

    private static func number(_ word: Substring) -> UInt64? {
        word == "unlimited" ? ResourceLimit.unlimited : UInt64(word)
    }

    /// The cgroup that it was born in, opened; nil: it has none.
    borrowing func cgroup(_ record: ContainerRecord) throws(Problem) -> Descriptor? {
        guard let path = record.cgroup else { return nil }
        let root = "/sys/fs/cgroup"
        let seen = try explaining("cannot enter \(record.name)") { () throws(KernelError) in
            try unlessMissing { () throws(KernelError) in try folder.contents(of: "cgroup") }
        }
        let memberships = seen ?? ""
        guard path.hasPrefix(root + "/"),
            memberships.split(separator: "\n").contains(where: { $0 == "0::" + path.dropFirst(root.count) })
        else {
            throw Problem(
                "cannot enter \(record.name)", "its program is not in the cgroup \(path)",
                hint: "codex32 restart \(record.name)")
        }
        return try explaining("cannot open the cgroup of \(record.name)") { () throws(KernelError) -> Descriptor? in
            try Descriptor.open(path, [.read, .folder, .noFollow])
        }
    }
}
