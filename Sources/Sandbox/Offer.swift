public import LinuxKernel

/// What this machine offers to this user. Planning looks at nothing else of the machine, so that
/// every plan can be made, compared and audited on any other.
public struct Offer: Sendable {
    public var isRoot: Bool
    public var uid: UInt32
    public var gid: UInt32
    public var kernel: KernelVersion
    public var architecture: String
    public var landlockABI: Int?
    public var cgroup: Result<CgroupPlace, CgroupPlace.Missing>
    /// From /etc/subuid and /etc/subgid; nil: none for this user.
    public var subordinateUIDs: IdentityRange?
    public var subordinateGIDs: IdentityRange?
    public var callerCapabilities: CapabilitySet
    /// Whether processes with the ids of a container could write to codex32's own program file.
    public var ownProgramIsWritable: Bool

    public init(
        isRoot: Bool, uid: UInt32, gid: UInt32, kernel: KernelVersion, architecture: String, landlockABI: Int?,
        cgroup: Result<CgroupPlace, CgroupPlace.Missing>, subordinateUIDs: IdentityRange?,
        subordinateGIDs: IdentityRange?, callerCapabilities: CapabilitySet, ownProgramIsWritable: Bool
    ) {
        self.isRoot = isRoot
        self.uid = uid
        self.gid = gid
        self.kernel = kernel
        self.architecture = architecture
        self.landlockABI = landlockABI
        self.cgroup = cgroup
        self.subordinateUIDs = subordinateUIDs
        self.subordinateGIDs = subordinateGIDs
        self.callerCapabilities = callerCapabilities
        self.ownProgramIsWritable = ownProgramIsWritable
    }

    /// The oldest kernel that has all of the mount API used here, with id-mapped mounts.
    public static let oldestKernel = KernelVersion(5, 15, text: "5.15")

    /// Looks at the running machine: for a cgroup, and for subordinate ids, only where they are wanted.
    public static func current(cgroup wanted: Bool, subordinateIDs: Bool) throws(Problem) -> Offer {
        guard let kernel = KernelVersion(Machine.kernelRelease), kernel >= oldestKernel else {
            throw Problem(
                "cannot start a sandbox",
                "this kernel is \(Machine.kernelRelease), and \(oldestKernel) or newer is needed",
                hint: "Debian 12, Ubuntu 22.04 and RHEL 9.4 have newer ones")
        }
        let place: Result<CgroupPlace, CgroupPlace.Missing>
        if wanted {
            do { place = .success(try CgroupPlace.find()) } catch { place = .failure(error) }
        } else {
            place = .failure(CgroupPlace.Missing("no limit needs one", hint: ""))
        }
        let root = Machine.isRoot
        let reads = subordinateIDs && !root
        return Offer(
            isRoot: root, uid: Machine.uid, gid: Machine.gid, kernel: kernel, architecture: Machine.architecture,
            landlockABI: Machine.landlockABI, cgroup: place,
            subordinateUIDs: reads ? SubordinateIDs.range(in: "/etc/subuid", uid: Machine.uid) : nil,
            subordinateGIDs: reads ? SubordinateIDs.range(in: "/etc/subgid", uid: Machine.uid) : nil,
            callerCapabilities: .effective, ownProgramIsWritable: !programIsRootOwned())
    }

    /// The ids of a container are never root's own: what only root may write is out of its reach.
    private static func programIsRootOwned() -> Bool {
        guard let status = try? Descriptor.status(ofPath: "/proc/self/exe") else { return false }
        return status.uid == 0 && status.mode & 0o022 == 0
    }
}
