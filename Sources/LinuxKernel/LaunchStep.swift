internal import CShims

/// A place in the table of descriptors that a launch shares between the parent and its child.
public struct Slot: Hashable, Sendable {
    public let index: Int
    public init(_ index: Int) { self.index = index }
}

/// Which descriptor is in which slot.
public struct SlotNumbers: Sequence, Sendable {
    private var list: [Int32] = []

    public init() {}
    public init(_ slot: Slot, _ number: Int32) { self[slot] = number }

    public subscript(slot: Slot) -> Int32? {
        get { slot.index < list.count && list[slot.index] >= 0 ? list[slot.index] : nil }
        set {
            while list.count <= slot.index { list.append(-1) }
            list[slot.index] = newValue ?? -1
        }
    }

    public struct Iterator: IteratorProtocol {
        fileprivate let list: [Int32]
        fileprivate var at = 0

        public mutating func next() -> (slot: Slot, number: Int32)? {
            while at < list.count {
                defer { at += 1 }
                if list[at] >= 0 { return (Slot(at), list[at]) }
            }
            return nil
        }
    }

    public func makeIterator() -> Iterator { Iterator(list: list) }
}

/// mount_setattr(2) attributes.
public struct MountAttributes: OptionSet, Hashable, Sendable {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    public static let readOnly = MountAttributes(rawValue: 0x1)
    public static let noSetuid = MountAttributes(rawValue: 0x2)
    public static let noDevices = MountAttributes(rawValue: 0x4)
    public static let noExecute = MountAttributes(rawValue: 0x8)
    public static let noAccessTime = MountAttributes(rawValue: 0x10)
    public static let noSymlinks = MountAttributes(rawValue: 0x0020_0000)
    static let idMap = MountAttributes(rawValue: 0x0010_0000)

    /// The names that mount(8) and `/proc/PID/mountinfo` use.
    public var names: [String] {
        var names: [String] = [contains(.readOnly) ? "ro" : "rw"]
        if contains(.noSetuid) { names.append("nosuid") }
        if contains(.noDevices) { names.append("nodev") }
        if contains(.noExecute) { names.append("noexec") }
        return names
    }
}

/// What kind of place a mount goes to, and whether it has to be there.
public enum MountTarget: Hashable, Sendable {
    case folder, file
    /// A folder that no link may lead to: /proc, /sys, /dev.
    case systemFolder
    /// A file below one of those.
    case systemFile
    /// The same, and it has been made (``LaunchStep/furnish(_:_:)``).
    case fixture
    case ifPresent
    /// It must be there already: the tree is the host's own.
    case existing

    var flags: UInt32 {
        switch self {
        case .folder: UInt32(CODEX_TARGET_FOLDER)
        case .file: UInt32(CODEX_TARGET_FILE)
        case .systemFolder: UInt32(CODEX_TARGET_FOLDER | CODEX_TARGET_NO_SYMLINKS)
        case .systemFile: UInt32(CODEX_TARGET_FILE | CODEX_TARGET_NO_SYMLINKS)
        case .fixture: UInt32(CODEX_TARGET_FILE | CODEX_TARGET_NO_SYMLINKS | CODEX_TARGET_EXISTING)
        case .ifPresent: UInt32(CODEX_TARGET_OPTIONAL)
        case .existing: UInt32(CODEX_TARGET_EXISTING)
        }
    }
}

/// One thing the child does between clone3 and execve. The list of them is the plan.
///
/// Each case is one C function in `CShims`; what a case means is written there. Paths are inside the
/// container's root, except where the label says `host`. Below a mount of our own they are walked from
/// that mount (`within`), for the folder that it stands on may be exchanged in the image meanwhile.
public enum LaunchStep: Hashable, Sendable {
    case becomeRoot(uid: UInt32, gid: UInt32, dropGroups: Bool)
    case hostname(String)
    case loopback
    case privateMounts
    case unshare(UInt64)
    case open(hostPath: String, device: UInt64, inode: UInt64, into: Slot)
    case openDevice(hostPath: String, number: UInt64, into: Slot)
    case cloneTree(Slot, recursive: Bool, into: Slot, slave: Bool = false)
    case newFileSystem(String, options: [MountOption], attributes: MountAttributes, workingFolder: Slot?, into: Slot)
    case mountAttributes(Slot, set: MountAttributes, clear: MountAttributes, recursive: Bool)
    /// - at: where the host has it; nil: over its root.
    /// - over: what has to be there, where others are in the mount namespace: it may go nowhere else.
    case enterHost(Slot, at: String? = nil, over: Slot? = nil)
    case useRoot(Slot?)
    case attach(Slot, at: String, MountTarget, within: Slot? = nil)
    case mask(String, null: Slot, empty: Slot, within: Slot?)
    case readOnly(String, within: Slot?)
    case makeFolder(String, mode: UInt32)
    case makeLink(String, to: String, within: Slot? = nil)
    /// Fills a new file system, which has nothing in it yet. Pairs of a name and a target, each ended by NUL: a link to the
    /// target, an empty file where there is none, or a folder for "/".
    case furnish(Slot, String)
    case makeFile(String, mode: UInt32, contents: String)
    case write(Slot, String, String)
    case terminal(devpts: Slot?, console: Slot?, uid: UInt32, gid: UInt32)
    case pivot
    /// The root in use is this process's, and its mount namespace stays as it is.
    case changeRoot
    case resourceLimit(Int32, soft: UInt64, hard: UInt64)
    /// Lowers a limit, and leaves one alone that is lower already.
    case lowerResourceLimit(Int32, most: UInt64)
    case umask(UInt32)
    case sessionKeyring
    case changeFolder(String, make: Bool)
    /// The parent has done what has to be done before the program runs.
    case awaitWord
    case hold
    /// Hands its root to the parent and waits: a container's files are wanted, and not its program.
    case lendRoot
    case landlockCreate(files: UInt64, tcp: UInt64, scopes: UInt32, into: Slot)
    case landlockPath(Slot, String, rights: UInt64)
    case landlockEnforce(Slot)
    case boundingSet(CapabilitySet)
    case identity(uid: UInt32, gid: UInt32, groups: [UInt32]?)
    case capabilities(permitted: CapabilitySet, inheritable: CapabilitySet)
    case noNewPrivileges
    /// Closes every descriptor that no later step needs: before a filter that may not know close_range(2).
    case closeOthers
    case seccomp(SeccompProgram)
    /// The same, with what it refuses told to the parent (``LaunchMessage/listener``).
    case seccompToldOf(SeccompProgram)
    /// Every call from here on is told to the parent, and let go on (``LaunchMessage/listener``): loaded below the
    /// filter that decides.
    case observe(CallObserver.Filter)
    case reaper
    case join(Slot, namespaces: CaseSet<Namespace>)
    case enter
    /// A process in a new pid namespace, its first, goes on when the parent has taken it for its child.
    case enterFirst
    case openTerminals(String, into: Slot)
    case outlive
    /// Tells the parent that all is done but execve, lets it end, and waits for a byte on a pipe.
    /// A failure after that byte is told on `outcome`, which closes with execve.
    case awaitStart(Slot, outcome: Slot)
    /// Tells the parent that all is made but the new root is not yet entered, and waits for it.
    case ready
    case hook(LaunchHook)
    /// Hands its network namespace to the parent, which puts devices there, and waits for it.
    case lendNetwork
    case capabilitySets(CapabilitySets)
    /// So many descriptors of the caller's, from 3 on, are the program's too.
    case preserve(Int)
    case tune(LaunchTuning)
    case propagation(Slot, MountPropagation, recursive: Bool)
    /// SELinux's label of the root of a new file system.
    case labelMount(Slot, String)
    /// - Parameter mustExist: nothing is made, for the folder is the host's own.
    case makeNode(LaunchNode, mustExist: Bool, within: Slot?)
    /// Fills a new file system with what the root has in its place.
    case copyUp(Slot, from: String, keepsMode: Bool, within: Slot?)
    case execute
}

/// A file system option: a flag, or a key with a value.
public struct MountOption: Hashable, Sendable {
    public let key: String
    public let value: String
    public init(_ key: String, _ value: String = "") {
        self.key = key
        self.value = value
    }
    public var text: String { value.isEmpty ? key : "\(key)=\(value)" }
}

extension LaunchStep {
    /// What the step was for, as the beginning of an error message.
    public var purpose: String {
        switch self {
        case .becomeRoot: "cannot become root of the user namespace"
        case .hostname(let name): "cannot set the host name \(name)"
        case .loopback: "cannot bring up the loopback interface"
        case .privateMounts: "cannot make the mounts private"
        case .unshare(let flags):
            flags == Namespace.cgroup.cloneFlag ? "cannot make a cgroup namespace" : "cannot make namespaces"
        case .open(let path, _, _, _): "cannot open \(path)"
        case .openDevice(let path, _, _): "cannot use the device \(path)"
        case .cloneTree: "cannot clone a mount"
        case .newFileSystem(let type, _, _, _, _): "cannot mount \(type)"
        case .mountAttributes: "cannot set mount attributes"
        case .enterHost: "cannot attach the new root"
        case .useRoot: "cannot open the root"
        case .attach(_, let path, _, _): "cannot mount at \(path)"
        case .mask(let path, _, _, _): "cannot mask \(path)"
        case .readOnly(let path, _): "cannot make \(path) read-only"
        case .makeFolder(let path, _): "cannot make the folder \(path)"
        case .makeLink(let path, _, _): "cannot make the link \(path)"
        case .furnish: "cannot make what stands in /dev"
        case .makeFile(let path, _, _): "cannot make the file \(path)"
        case .write(_, let path, _): "cannot set \(path)"
        case .terminal: "cannot make a terminal"
        case .pivot, .changeRoot: "cannot enter the new root"
        case .labelMount: "cannot use linux.mountLabel"
        case .resourceLimit(let number, _, _), .lowerResourceLimit(let number, _):
            "cannot set the resource limit \(ResourceLimit.name(number))"
        case .umask: "cannot set the umask"
        case .sessionKeyring: "cannot make a session keyring"
        case .changeFolder(let path, _): "cannot enter the working folder \(path)"
        case .awaitWord, .hold, .lendRoot: "cannot report to codex32"
        case .landlockCreate, .landlockPath, .landlockEnforce: "cannot set up Landlock"
        case .boundingSet: "cannot reduce the capability bounding set"
        case .identity(let uid, let gid, _): "cannot become user \(uid):\(gid)"
        case .capabilities: "cannot set the capabilities"
        case .noNewPrivileges: "cannot set no_new_privs"
        case .closeOthers: "cannot close what the program has no business with"
        case .seccomp, .seccompToldOf: "cannot load the seccomp filter"
        case .observe: "cannot observe the program"
        case .reaper: "cannot start the init process"
        case .join(_, let namespaces):
            namespaces.count == 1
                ? "cannot join a \(namespaces.first?.file ?? "") namespace" : "cannot join the container"
        case .enter, .enterFirst: "cannot start a process in the container"
        case .openTerminals(let path, _): "cannot open a terminal in \(path)"
        case .outlive: "cannot leave the program alone"
        case .awaitStart: "cannot wait for start"
        case .ready, .lendNetwork: "cannot report to codex32"
        case .hook(let hook): "the \(hook.kind) hook \(hook.path) failed"
        case .capabilitySets: "cannot set the capabilities"
        case .preserve: "cannot pass descriptors on"
        case .tune(let tuning): "cannot set \(tuning.name)"
        case .propagation: "cannot set the propagation of a mount"
        case .makeNode(let node, _, _): "cannot make the device \(node.path)"
        case .copyUp(_, let path, _, _): "cannot copy \(path) up"
        case .execute: "cannot run"
        }
    }
}
