internal import Glibc

/// The kernel's namespaces (namespaces(7)), in the order the launch report uses.
public enum Namespace: UInt8, CaseIterable, Sendable {
    case cgroup, ipc, mount, network, pid, time, user, uts

    /// The name under `/proc/PID/ns`.
    public var file: String {
        switch self {
        case .cgroup: "cgroup"
        case .ipc: "ipc"
        case .mount: "mnt"
        case .network: "net"
        case .pid: "pid"
        case .time: "time"
        case .user: "user"
        case .uts: "uts"
        }
    }

    /// The clone3(2) flag.
    public var cloneFlag: UInt64 {
        switch self {
        case .cgroup: 0x0200_0000
        case .ipc: 0x0800_0000
        case .mount: 0x0002_0000
        case .network: 0x4000_0000
        case .pid: 0x2000_0000
        case .time: 0x80
        case .user: 0x1000_0000
        case .uts: 0x0400_0000
        }
    }

    /// The namespace's identity for this process: its inode.
    public static func current(_ namespace: Namespace) -> UInt64? { of("self", namespace) }

    /// The same, of another process; nil: it is gone, or not this one's to look at.
    public static func of(_ pid: Int32, _ namespace: Namespace) -> UInt64? { of("\(pid)", namespace) }

    private static func of(_ process: String, _ namespace: Namespace) -> UInt64? {
        try? Descriptor.status(ofPath: "/proc/\(process)/ns/\(namespace.file)").inode
    }
}

/// One line of a uid or gid map (user_namespaces(7)): `count` ids from `inside` stand for those
/// from `outside`.
public struct IdentityRange: Equatable, Sendable {
    public let inside: UInt32
    public let outside: UInt32
    public let count: UInt32

    public init(inside: UInt32, outside: UInt32, count: UInt32) {
        self.inside = inside
        self.outside = outside
        self.count = count
    }

    public func contains(inside id: UInt32) -> Bool { id >= inside && UInt64(id) < UInt64(inside) + UInt64(count) }
    public func contains(outside id: UInt32) -> Bool { id >= outside && UInt64(id) < UInt64(outside) + UInt64(count) }
    /// `/proc/PID/uid_map` (user_namespaces(7)); a line that is none is left out.
    public static func list(_ text: String) -> [IdentityRange] {
        text.split(separator: "\n").compactMap { line in
            let numbers = line.split(separator: " ").compactMap { UInt32($0) }
            guard numbers.count == 3 else { return nil }
            return IdentityRange(inside: numbers[0], outside: numbers[1], count: numbers[2])
        }
    }

    var line: String { String(inside) + " " + String(outside) + " " + String(count) + "\n" }
}

/// The maps of a user namespace.
public struct IdentityMap: Equatable, Sendable {
    public var uids: [IdentityRange]
    public var gids: [IdentityRange]
    /// Written by newuidmap(1) and newgidmap(1), because the ids are subordinate ones.
    public var byHelper: Bool
    /// `deny` is written to `/proc/PID/setgroups`, without which an ordinary user may map no gid.
    public var deniesGroups: Bool

    public init(uids: [IdentityRange], gids: [IdentityRange], byHelper: Bool, deniesGroups: Bool) {
        self.uids = uids
        self.gids = gids
        self.byHelper = byHelper
        self.deniesGroups = deniesGroups
    }

    public func hostUID(_ inside: UInt32) -> UInt32? { IdentityMap.outside(inside, uids) }
    public func hostGID(_ inside: UInt32) -> UInt32? { IdentityMap.outside(inside, gids) }

    private static func outside(_ id: UInt32, _ ranges: [IdentityRange]) -> UInt32? {
        for range in ranges where range.contains(inside: id) { return range.outside + (id - range.inside) }
        return nil
    }

    /// Gives a child's new user namespace these maps.
    public func apply(to pid: Int32) throws(Problem) {
        if byHelper {
            try IdentityMap.runHelper("newuidmap", pid, uids)
            try IdentityMap.runHelper("newgidmap", pid, gids)
            return
        }
        let folder = try explaining("cannot set up the user namespace") { () throws(KernelError) in
            try Descriptor.open("/proc/\(pid)", [.read, .folder])
        }
        let hint = "codex32 doctor says what this machine allows"
        try explaining("cannot set up the user namespace", hint: hint) { () throws(KernelError) in
            if deniesGroups { try folder.open("setgroups", [.write]).write("deny") }
            try folder.open("uid_map", [.write]).write(IdentityMap.lines(uids))
            try folder.open("gid_map", [.write]).write(IdentityMap.lines(gids))
        }
    }

    /// Not `joined`: the standard library has it for every kind of text, and the runtime then looks for what is meant
    /// among all types of the program.
    private static func lines(_ ranges: [IdentityRange]) -> String {
        var text = ""
        for range in ranges { text += range.line }
        return text
    }

    private static func runHelper(_ name: String, _ pid: Int32, _ ranges: [IdentityRange]) throws(Problem) {
        guard let path = HostProgram.find(name) else {
            throw Problem("cannot map subordinate ids", "\(name) is not installed", hint: "apt-get install uidmap")
        }
        var arguments = [name, String(pid)]
        for range in ranges { arguments += [String(range.inside), String(range.outside), String(range.count)] }
        let status = try explaining("cannot run \(path)") { () throws(KernelError) in
            try HostProgram.run(path, arguments)
        }
        if status != 0 {
            throw Problem(
                "cannot map subordinate ids", "\(name) failed with status \(status)",
                hint:
                    "see /etc/subuid and /etc/subgid: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER"
            )
        }
    }
}
