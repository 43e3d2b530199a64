/// What a program is given by the scheduler and the memory, in the kernel's own forms.
public enum LaunchTuning: Hashable, Sendable {
    /// A mask of CPUs (sched_setaffinity(2)).
    case affinity([UInt8])
    /// `struct sched_attr` (sched_setattr(2)).
    case scheduler([UInt8])
    /// Class and level (ioprio_set(2)).
    case ioPriority(UInt32)
    /// personality(2).
    case personality(UInt32)
    /// Mode with its flags, and a mask of nodes (set_mempolicy(2)).
    case memoryPolicy(UInt32, nodes: [UInt8])
    /// The NIS domain name (setdomainname(2)).
    case domainName(String)
    /// Lines of `/proc/PID/timens_offsets`, in a new time namespace (time_namespaces(7)).
    case timeOffsets(String)
    /// The profile of the program (apparmor(7)).
    case appArmor(String)
    /// The label of the program (proc(5), "/proc/pid/attr/exec").
    case seLinux(String)

    /// For messages: the member of a bundle's configuration.
    public var name: String {
        switch self {
        case .affinity: "process.execCPUAffinity"
        case .scheduler: "process.scheduler"
        case .ioPriority: "process.ioPriority"
        case .personality: "linux.personality"
        case .memoryPolicy: "linux.memoryPolicy"
        case .domainName: "domainname"
        case .timeOffsets: "linux.timeOffsets"
        case .appArmor: "process.apparmorProfile"
        case .seLinux: "process.selinuxLabel"
        }
    }

    /// A mask from numbers, in the bytes of a word, as the kernel of either byte order of ours (little) takes it.
    public static func mask(_ numbers: Set<Int>) -> [UInt8] {
        guard let most = numbers.max() else { return [] }
        var bytes = [UInt8](repeating: 0, count: (most / 64 + 1) * 8)
        for number in numbers { bytes[number / 8] |= 1 << UInt8(number % 8) }
        return bytes
    }
}

/// Where mounts that are made on either side of a copied mount show (mount_namespaces(7), "shared subtrees").
public enum MountPropagation: UInt64, Hashable, Sendable {
    case unbindable = 0x2_0000
    case isPrivate = 0x4_0000
    case slave = 0x8_0000
    case shared = 0x10_0000
}

/// A device node, or a named pipe, of a container's (mknod(2)).
public struct LaunchNode: Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
        case character, block, pipe

        /// S_IFMT of inode(7).
        var bits: UInt32 {
            switch self {
            case .character: 0o020000
            case .block: 0o060000
            case .pipe: 0o010000
            }
        }
    }
    public let path: String
    public let kind: Kind
    /// As stat(2) has it in `st_rdev`.
    public let number: UInt64
    /// Permission bits.
    public let mode: UInt32
    public let uid: UInt32
    public let gid: UInt32

    public init(path: String, kind: Kind, number: UInt64, mode: UInt32, uid: UInt32, gid: UInt32) {
        self.path = path
        self.kind = kind
        self.number = number
        self.mode = mode
        self.uid = uid
        self.gid = gid
    }

    /// makedev(3).
    public static func number(_ major: UInt64, _ minor: UInt64) -> UInt64 {
        (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~0xff) << 12 | (major & ~0xfff) << 32
    }
}
