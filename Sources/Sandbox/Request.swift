public import LinuxKernel

/// Everything that was asked of a sandbox, parsed and with host paths resolved to what they are.
public struct SandboxRequest: Sendable {
    public var level: IsolationLevel = .standard
    public var waived: CaseSet<Item> = []
    public var required: CaseSet<Item> = []
    public var root: RootSource = .host
    public var readOnly = false
    public var hostname = "codex32"
    public var network: NetworkMode?
    public var userNamespace: UserNamespaceMode = .automatic
    public var user = UserIdentity()
    public var limits = CgroupLimits()
    public var resourceLimits: [ResourceLimit] = []
    public var sysctls: [(name: String, value: String)] = []
    public var addedCapabilities: CapabilitySet = []
    public var droppedCapabilities: CapabilitySet = []
    /// The text of a profile in Docker's format, and its name for messages; nil: the level's own.
    public var seccompProfile: (name: String, bytes: [UInt8])?
    public var volumes: [Volume] = []
    public var temporary: [TemporaryMount] = []
    /// Bytes; nil: 64 MiB.
    public var shmSize: UInt64?
    /// Bytes that changes to the root may take together; nil: as many as where they are kept has. They are in a file
    /// system of that size then, so that this itself can say no.
    public var storageLimit: UInt64?
    public var storageKind = StorageKind.memory
    /// What the program changes of its root is gone with it.
    public var isKeptInMemory: Bool { storageLimit != nil && storageKind == .memory }
    public var workspace: WorkspaceMount?
    public var devices: [DeviceNode] = []
    public var terminal = false
    public var reaper = false
    /// The child waits before it gives up its rights, so that what is in force can be read.
    public var hold = false
    /// What the filter refuses is told, and kept for the verdict (`--explain`).
    public var explains = false
    /// Every call of the program's is told to the parent, which lets it go on (`learn`).
    public var observer: CallObserver.Filter?
    /// Of the calls that the filter lets through only these are left (`--profile`).
    public var learned: LearnedCalls?
    /// The program goes on where the process that started it ends.
    public var outlives = false
    public var workingFolder = "/"
    public var command: [String] = []
    public var environment: [String] = []
    /// Seconds of CPU time for each process (RLIMIT_CPU), under the cgroup's own count.
    public var cpuSeconds: UInt64?

    public init() {}
}

/// The file system that takes the changes where they have a limit.
public enum StorageKind: String, Sendable {
    /// Gone at the end (tmpfs(5), "size").
    case memory = "tmpfs"
    /// In a file of its own, which is there at the next start too (ext4(5) on loop(4)).
    case disk = "ext4"
    /// A copy of the image, where no overlay can be mounted; it has no limit.
    case copy
}

public enum NetworkMode: String, CaseIterable, Sendable { case none, host }

public enum UserNamespaceMode: String, CaseIterable, Sendable {
    case automatic = "auto"
    /// One id inside stands for the caller.
    case single
    /// 65,536 ids, those of /etc/subuid for an ordinary user.
    case subordinate
}

/// Who the program is, inside.
public struct UserIdentity: Equatable, Sendable {
    public var uid: UInt32 = 0
    public var gid: UInt32 = 0
    public var groups: [UInt32] = []
    public var home = "/root"
    /// The caller chose it (`-u`); otherwise the level decides.
    public var chosen = false
    public init() {}
}

/// What the program sees as its "/".
public enum RootSource: Equatable, Sendable {
    /// The machine's own tree (minimal only).
    case host
    /// A folder of the host, with those of the asked-about paths that it has.
    case folder(HostPath, present: [String])
    /// The layers of an image, top first, at least two.
    case layers([HostPath])
    /// A new, empty tree, and what is put into it.
    case assembled([RootEntry])

    /// A root file system that is there already, and may have programs that change their user.
    public var isImage: Bool {
        switch self {
        case .folder, .layers: true
        case .host, .assembled: false
        }
    }
}

/// A host path, with what it was when it was looked at: it is used only while it still is that.
public struct HostPath: Equatable, Sendable {
    public let path: String
    public let status: FileStatus
    public init(_ path: String, _ status: FileStatus) {
        self.path = path
        self.status = status
    }
}

public enum RootEntry: Equatable, Sendable {
    case folder(String, mode: UInt32)
    case link(String, to: String)
    case file(String, mode: UInt32, contents: String)
    case bind(HostPath, at: String)
}

/// A folder or file of the host, shown inside.
public struct Volume: Equatable, Sendable {
    public var source: HostPath
    public var target: String
    public var readOnly = false
    public var noExecute = false
    /// Files belong to the program's user inside, whoever owns them outside.
    public var mapOwners: Bool?
    public init(source: HostPath, target: String) {
        self.source = source
        self.target = target
    }
}

public struct TemporaryMount: Equatable, Sendable {
    public var target: String
    /// Bytes.
    public var size: UInt64
    public var mode: UInt32
    public var executable: Bool
    public var readOnly = false
    public init(target: String, size: UInt64, mode: UInt32, executable: Bool) {
        self.target = target
        self.size = size
        self.mode = mode
        self.executable = executable
    }
}

/// A folder of the host that the program changes in a layer of its own (`--workspace`): the folder itself stays as it
/// is until a person applies the changes.
public struct WorkspaceMount: Equatable, Sendable {
    public let source: HostPath
    public let target: String
    /// A folder with `upper` and `work` in it.
    public let layer: HostPath
    public init(source: HostPath, target: String, layer: HostPath) {
        (self.source, self.target, self.layer) = (source, target, layer)
    }
}

public struct DeviceNode: Equatable, Sendable {
    public let path: String
    public let target: String
    /// stat(2) `st_rdev`.
    public let number: UInt64
    public init(path: String, target: String, number: UInt64) {
        self.path = path
        self.target = target
        self.number = number
    }
}

/// Where a container's changes to its root go: a private folder with `upper` and `work` in it.
public struct WritableLayer: Equatable, Sendable {
    public let folder: HostPath
    /// Its `upper`, for a container that is started again: there it is an assembled root itself.
    public let tree: HostPath?
    /// The two are not in the folder but in the file system in its `disk`, whose root is an assembled root itself.
    public let isDisk: Bool
    /// The tree is a whole root of its own, with the image's files in it.
    public let isCopy: Bool
    public init(_ folder: HostPath, tree: HostPath? = nil, isDisk: Bool = false, isCopy: Bool = false) {
        self.folder = folder
        self.tree = tree
        self.isDisk = isDisk
        self.isCopy = isCopy
    }

    /// It is there at the next start too.
    var lasts: Bool { tree != nil || isDisk }
}
