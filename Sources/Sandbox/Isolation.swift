public import LinuxKernel

/// How far a program is kept from the machine it runs on.
public enum IsolationLevel: String, CaseIterable, Sendable {
    /// Plain process isolation, for programs that are trusted.
    case minimal
    /// For development and most bots.
    case standard
    /// For code that nobody trusts: what cannot be enforced is an error.
    case strict

    public static let names = allCases.map(\.rawValue).joined(separator: ", ")

    /// Docker's default set, which the standard level keeps inside its user namespace
    /// (docs.docker.com, "Linux kernel capabilities").
    static let dockerCapabilities: CapabilitySet = [
        .init(number: 0), .init(number: 1), .init(number: 3), .init(number: 4), .init(number: 5), .init(number: 6),
        .init(number: 7), .init(number: 8), .init(number: 10), .init(number: 13), .init(number: 18), .init(number: 27),
        .init(number: 29), .init(number: 31),
    ]

    /// Limits that hold when none is asked for: design.md, section 3.
    func defaultLimits() -> CgroupLimits {
        var limits = CgroupLimits()
        guard self != .minimal else { return limits }
        limits.memoryMax = 512 << 20
        limits.swapMax = 0
        limits.pidsMax = 512
        limits.cpuQuota = CgroupLimits.cpuPeriod
        return limits
    }

    /// What a program of this level has when nothing else is asked for; the caller's own at minimal.
    public var usualCapabilities: CapabilitySet {
        switch self {
        case .minimal: .effective
        case .standard: IsolationLevel.dockerCapabilities
        case .strict: []
        }
    }

    var ownRoot: Bool { self != .minimal }
}

/// One thing that a sandbox may have in force, by the name that `--require` and `--waive` take.
public enum Item: UInt8, CaseIterable, Sendable {
    case cgroup, cgroupMemory, cgroupSwap, cgroupCPU, cgroupPids, cgroupIO, cgroupCpuset, seccomp,
        landlock, landlockNetwork, noNewPrivileges, capabilities, readOnlyRoot, maskedPaths,
        userNamespace, pidNamespace, mountNamespace, networkNamespace, ipcNamespace, utsNamespace,
        cgroupNamespace, timeNamespace, volumeOwners

    /// As `--require` and `--waive` take it.
    public var name: String {
        switch self {
        case .cgroup: "cgroup"
        case .cgroupMemory: "cgroup-memory"
        case .cgroupSwap: "cgroup-swap"
        case .cgroupCPU: "cgroup-cpu"
        case .cgroupPids: "cgroup-pids"
        case .cgroupIO: "cgroup-io"
        case .cgroupCpuset: "cgroup-cpuset"
        case .seccomp: "seccomp"
        case .landlock: "landlock"
        case .landlockNetwork: "landlock-net"
        case .noNewPrivileges: "no-new-privileges"
        case .capabilities: "capabilities"
        case .readOnlyRoot: "read-only-root"
        case .maskedPaths: "masked-paths"
        case .userNamespace: "user-namespace"
        case .pidNamespace: "pid-namespace"
        case .mountNamespace: "mount-namespace"
        case .networkNamespace: "network-namespace"
        case .ipcNamespace: "ipc-namespace"
        case .utsNamespace: "uts-namespace"
        case .cgroupNamespace: "cgroup-namespace"
        case .timeNamespace: "time-namespace"
        case .volumeOwners: "volume-owners"
        }
    }

    public init?(name: String) {
        var number: UInt8 = 0
        while let item = Item(rawValue: number) {
            if item.name == name {
                self = item
                return
            }
            number += 1
        }
        return nil
    }

    public static var names: String { allCases.map(\.name).joined(separator: ", ") }

    /// Those without which a strict sandbox may start when a person says so by name.
    public static let waivable = cgroupLimits.with(.cgroup).with(.seccomp).with(.landlock).with(.landlockNetwork)
        .with(.cgroupNamespace).with(.timeNamespace).with(.volumeOwners)

    private static let cgroupLimits = CaseSet<Item>().with(.cgroupMemory).with(.cgroupSwap).with(.cgroupCPU)
        .with(.cgroupPids).with(.cgroupIO).with(.cgroupCpuset)

    /// The items that a waiver of this one covers.
    var covered: CaseSet<Item> {
        let own = CaseSet<Item>().with(self)
        switch self {
        case .cgroup: return own.union(Item.cgroupLimits).with(.cgroupNamespace)
        case .landlock: return own.with(.landlockNetwork)
        default: return own
        }
    }

    /// What limits need, each with the controller that it takes.
    static func of(_ limits: CgroupLimits) -> CaseSet<Item> {
        var items = CaseSet<Item>()
        if limits.memoryMax != nil { items.insert(.cgroupMemory) }
        if limits.swapMax != nil { items.insert(.cgroupSwap) }
        if limits.cpuQuota != nil || limits.cpuWeight != nil { items.insert(.cgroupCPU) }
        if limits.pidsMax != nil { items.insert(.cgroupPids) }
        if !limits.io.isEmpty || limits.ioWeight != nil { items.insert(.cgroupIO) }
        if limits.cpus != nil { items.insert(.cgroupCpuset) }
        return items
    }

    /// Of an item of ``of(_:)-(CgroupLimits)``.
    var controller: CgroupController? {
        switch self {
        case .cgroupMemory, .cgroupSwap: .memory
        case .cgroupCPU: .cpu
        case .cgroupPids: .pids
        case .cgroupIO: .io
        case .cgroupCpuset: .cpuset
        default: nil
        }
    }

    static func of(_ namespace: Namespace) -> Item {
        switch namespace {
        case .cgroup: .cgroupNamespace
        case .ipc: .ipcNamespace
        case .mount: .mountNamespace
        case .network: .networkNamespace
        case .pid: .pidNamespace
        case .time: .timeNamespace
        case .user: .userNamespace
        case .uts: .utsNamespace
        }
    }
}

/// Something that was asked for, or that the level promises, and that is not in force.
public struct Notice: Equatable, Sendable {
    public let item: Item
    public let why: String
    public let hint: String?
    /// A person said by name that it may be missing.
    public let waived: Bool

    public init(_ item: Item, _ why: String, hint: String?, waived: Bool) {
        self.item = item
        self.why = why
        self.hint = hint
        self.waived = waived
    }
}
