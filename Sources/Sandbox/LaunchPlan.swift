public import LinuxKernel

/// The whole of a launch as one value: made from (level, request, offer), with nothing of the kernel
/// touched. It can be printed, compared and audited; C executes it.
public struct LaunchPlan: Sendable {
    public var level: IsolationLevel
    public var namespaces: CaseSet<Namespace> = []
    /// A cgroup namespace is made by the child once it is in its cgroup: clone3 would root it at
    /// the parent's (cgroup_namespaces(7)).
    public var unsharesCgroup = false
    public var identity: IdentityMap?
    public var sources: [BindSource] = []
    public var steps: [LaunchStep] = []
    public var slotCount = 0
    public var cgroup: CgroupPlan?
    public var user = UserIdentity()
    public var capabilities: CapabilitySet = []
    public var seccomp: SeccompSummary?
    /// See ``SandboxRequest/learned``.
    public var learned: LearnedCalls?
    public var landlockABI: Int?
    public var landlockNetwork = false
    public var readOnlyRoot = false
    /// See ``SandboxRequest/storageLimit``.
    public var storageLimit: UInt64?
    public var storageKind = StorageKind.memory
    public var resourceLimits: [ResourceLimit] = []
    public var notices: [Notice] = []
    /// What limits the processes in the place of the cgroup that cannot.
    public var processLimit: String?
    public var required: CaseSet<Item> = []
    public var hostname = ""
    public var terminal = false
    public var candidates: [String] = []
    public var arguments: [String] = []
    public var environment: [String] = []
    public var hold = false

    public init(level: IsolationLevel) { self.level = level }

    /// What stands in for an item that is not in force.
    public var substitutes: [(item: Item, by: String)] { processLimit.map { [(.cgroupPids, $0)] } ?? [] }
}

/// A mount source that the parent opens and clones before the start.
public struct BindSource: Equatable, Sendable {
    public enum Owners: Equatable, Sendable {
        /// As on disk.
        case plain
        /// As the container's user namespace maps them: for images, whose root is root.
        case namespace
        /// The source's owner and the program's user stand for each other; all others as they are.
        case exchanged(uid: UInt32, gid: UInt32)
    }
    public enum Kind: Equatable, Sendable {
        /// What is at the path.
        case tree
        /// The file system in the `disk` of the layer at the path.
        /// - layered: it has the two folders that overlayfs wants; else its root is the container's.
        case disk(layered: Bool)
    }
    public let slot: Slot
    public let source: HostPath
    public let recursive: Bool
    public let attributes: MountAttributes
    public var owners: Owners
    public var kind = Kind.tree
}

public struct CgroupPlan: Equatable, Sendable {
    public let place: CgroupPlace
    public let limits: CgroupLimits
}

public struct SeccompSummary: Equatable, Sendable {
    /// The profile's name: a level's, or the file's.
    public let profile: String
    public let instructions: Int
}
