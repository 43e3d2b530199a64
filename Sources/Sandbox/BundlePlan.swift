public import LinuxKernel
public import OCISpec

/// A bundle's configuration as a launch plan: the same steps as a run's, chosen by the caller instead of a level.
public struct BundlePlan: Sendable {
    public var plan = LaunchPlan(level: .minimal)
    /// What the parent opens: mounts that it clones, and namespaces that are joined.
    public var clones: [BundleClone] = []
    public var joined: [(slot: Slot, path: String, kind: Namespace)] = []
    /// Namespaces in which the child is born, because only so they can be had: one of pids, and, where the child has a
    /// user namespace, those that belong to another one above it.
    public var birthplaces: [(path: String, kind: Namespace)] = []
    /// ``LaunchPlan/identity`` is that of a user namespace that is there already.
    public internal(set) var joinsUser = false
    /// Whose mount namespace it is in; nil: the container has one of its own.
    public internal(set) var shared: SharedMounts?
    /// What the steps of ``init(joining:_:rights:preserved:tightening:)`` take for the root, where it is not that of the
    /// container's mount namespace.
    public internal(set) var enteredRoot: Slot?
    /// The pipe on which the child waits for `start`.
    public internal(set) var pipe = Slot(0)
    /// The pipe on which `start` learns what became of the child.
    public internal(set) var outcome = Slot(0)
    /// What its hooks are told, up to its pid.
    var hookStates = HookStates()
    var tightening: BundleTightening?
    let filters: SeccompCache

    var spec: RuntimeSpec
    let rights: CapabilitySet
    /// Mounts of our own directly below the root, from which what stands below them is walked.
    var outer: [String: Slot] = [:]
    var terminals: Slot?
    var devicesGiven = false

    /// - Parameters:
    ///   - bundle: the folder from which a relative root is taken.
    ///   - rights: the capabilities of the caller.
    ///   - cgroups: false: the container has none of its own.
    ///   - isMoved: the child is moved into its cgroup after it was born, and before it goes on: only then it makes
    ///     its cgroup namespace, whose root is where it is at that moment (cgroup_namespaces(7)).
    ///   - preserved: how many of the caller's descriptors from 3 on the program inherits.
    ///   - filters: where compiled filters are kept.
    /// - Throws: what the configuration asks for and codex32 does not do, by the name of its member.
    public init(
        _ spec: RuntimeSpec, bundle: String, rights: CapabilitySet, cgroups: Bool, isMoved: Bool = false,
        keyring: Bool, preserved: Int = 0, hookStates: HookStates = HookStates(),
        tightening: BundleTightening? = nil, filters: SeccompCache = SeccompCache(folder: nil)
    ) throws(Problem) {
        self.spec = spec
        self.filters = filters
        self.rights = rights
        self.hookStates = hookStates
        self.tightening = tightening
        if tightening != nil { self.spec.tighten() }
        // A limit that is accepted would have to hold, whatever the caller says of cgroups.
        for name in cgroups ? [] : spec.linux.resources.names {
            if name == "devices", try !mayMakeDevices() { continue }
            throw BundlePlan.unsupported("linux.resources.\(name)")
        }
        pipe = slot()
        outcome = slot()
        try chooseNamespaces(cgroups: cgroups)
        let hasOwnNetwork = spec.linux.namespaces.contains { $0.type == "network" && $0.path == nil }
        try beginSteps(loopback: hasOwnNetwork)
        if isMoved, plan.namespaces.remove(.cgroup) != nil {
            plan.steps.append(.unshare(Namespace.cgroup.cloneFlag))
        }
        let rootPath = spec.rootPath.hasPrefix("/") ? spec.rootPath : "\(bundle)/\(spec.rootPath)"
        try checkLabel()
        try joinMounts()
        if shared?.mark == nil, shared != nil {
            try sysctlSteps()
            try chroot(rootPath)
        } else {
            try mountAll(rootPath)
        }
        Machine.forgetProgram()  // The half of the plan that is over needs other pages of the program than the next.
        if preserved > 0 { plan.steps.append(.preserve(preserved)) }
        try programSteps(keyring: keyring)
    }

    private mutating func mountAll(_ rootPath: String) throws(Problem) {
        let root = try bind(rootPath, BundleBind(recursive: true), place: "root.path")
        if let mark = shared?.mark {
            enterShared(root, rootPath, mark)
        } else {
            // Hooks that come before pivot_root(2) look for the root, and mount into it, where the bundle has it.
            plan.steps.append(.enterHost(root, at: spec.hooks.isInCreate ? rootPath : nil))
        }
        plan.steps.append(.useRoot(root))
        Machine.forgetProgram()  // As in init: mounts are the largest part.
        for mount in spec.mounts { try mountSteps(mount) }
        try quotaSteps()
        try sysctlSteps()
        try deviceSteps()
        try hookSteps()
        plan.steps.append(shared == nil ? .pivot : .changeRoot)
        plan.steps += try rootPropagation(root)
        if spec.rootReadOnly { plan.steps.append(.mountAttributes(root, set: .readOnly, clear: [], recursive: false)) }
    }

    /// Podman sends rules for devices with everything. They are in force without a cgroup where the program cannot make
    /// device nodes anyway: it has only those that the configuration gives.
    public func mayMakeDevices() throws(Problem) -> Bool {
        // Nor in a user namespace, its own or the one that codex32 itself is in (mknod(2)).
        guard !spec.linux.namespaces.contains(where: { $0.type == "user" }), !Machine.isRootOfNamespace else {
            return false
        }
        guard let right = CapabilitySet(name: "CAP_MKNOD") else { return true }
        return try set("bounding").isSuperset(of: right)
    }

    /// What its processes may do with devices, the last that fits deciding.
    public var deviceRules: [DeviceRule] { spec.linux.resources.deviceRules }

    static func unsupported(_ place: String) -> Problem {
        Problem(
            "cannot use \(place)", "the container has no cgroup of its own",
            hint: "podman run --cgroups=disabled without limits, or the option --cgroup-manager disabled, asks for none"
        )
    }

    static func wrong(_ place: String, _ why: String) -> Problem {
        Problem("cannot use config.json", "\(place): \(why)")
    }

    mutating func slot() -> Slot {
        plan.slotCount += 1
        return Slot(plan.slotCount - 1)
    }

    /// Root of the container's user namespace, or the first id that it has.
    var becomeRoot: LaunchStep {
        guard let identity = plan.identity else { return .becomeRoot(uid: 0, gid: 0, dropGroups: true) }
        let uid = identity.hostUID(0) != nil ? 0 : identity.uids.first?.inside ?? 0
        let gid = identity.hostGID(0) != nil ? 0 : identity.gids.first?.inside ?? 0
        return .becomeRoot(uid: uid, gid: gid, dropGroups: !identity.deniesGroups)
    }

    private mutating func beginSteps(loopback: Bool) throws(Problem) {
        plan.steps.append(becomeRoot)
        if !spec.linux.timeOffsets.isEmpty { plan.steps.append(.tune(.timeOffsets(spec.linux.timeOffsets))) }
        if plan.identity == nil, shared == nil { plan.steps.append(.privateMounts) }
        if let name = spec.hostname, !name.isEmpty {
            guard spec.linux.namespaces.contains(where: { $0.type == "uts" }) else {
                throw BundlePlan.wrong("hostname", "there is no uts namespace for it")
            }
            guard name.utf8.count <= 64 else { throw BundlePlan.wrong("hostname", "is longer than 64 bytes") }
            plan.steps.append(.hostname(name))
        }
        if let name = spec.domainName {
            guard spec.linux.namespaces.contains(where: { $0.type == "uts" }) else {
                throw BundlePlan.wrong("domainname", "there is no uts namespace for it")
            }
            guard name.utf8.count <= 64 else { throw BundlePlan.wrong("domainname", "is longer than 64 bytes") }
            plan.steps.append(.tune(.domainName(name)))
        }
        if loopback { plan.steps.append(.loopback) }
        if !spec.linux.networkDevices.isEmpty {
            guard spec.linux.namespaces.contains(where: { $0.type == "network" }) else {
                throw BundlePlan.wrong("linux.netDevices", "there is no network namespace for them")
            }
            // Early: hooks find them there, and so do settings of sysctl.
            plan.steps.append(.lendNetwork)
        }
    }

    /// Only what belongs to a namespace of the container's own, and no way out of it.
    private mutating func sysctlSteps() throws(Problem) {
        let ipc = [
            "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax",
            "kernel.shmmni", "kernel.shm_rmid_forced",
        ]
        for (name, value) in spec.linux.sysctl {
            let owner =
                name.hasPrefix("net.") ? "network" : ipc.contains(name) || name.hasPrefix("fs.mqueue.") ? "ipc" : ""
            guard !owner.isEmpty, !name.utf8.contains(0x2f), !name.hasSuffix("."), !name.holds("..") else {
                throw BundlePlan.wrong("linux.sysctl", "\(name) does not belong to a namespace of the container's")
            }
            guard spec.linux.namespaces.contains(where: { $0.type == owner }) else {
                throw BundlePlan.wrong("linux.sysctl", "\(name) needs a \(owner) namespace")
            }
            plan.steps.append(
                .write(try proc("linux.sysctl"), "sys/" + String(name.map { $0 == "." ? "/" : $0 }), value))
        }
    }

    func proc(_ place: String) throws(Problem) -> Slot {
        guard let proc = outer["proc"], ownsProc else { throw BundlePlan.wrong(place, "there is no proc at /proc") }
        return proc
    }

    private var ownsProc: Bool { spec.mounts.contains { $0.destination == "/proc" && $0.type == "proc" } }

    private mutating func deviceSteps() throws(Problem) {
        let dev = outer["dev"]
        if !devicesGiven {
            for device in DefaultPaths.devices {
                let node = slot()
                let number = DefaultPaths.deviceNumber(device.major, device.minor)
                plan.steps.append(.openDevice(hostPath: "/dev/\(device.name)", number: number, into: node))
                plan.steps.append(.attach(node, at: "/dev/\(device.name)", .systemFile, within: dev))
            }
            for link in DefaultPaths.deviceLinks {
                plan.steps.append(.makeLink("/dev/\(link.name)", to: link.target, within: dev))
            }
        }
        try ownDeviceSteps()
        let (null, empty) = (slot(), slot())
        plan.steps.append(.openDevice(hostPath: "/dev/null", number: DefaultPaths.deviceNumber(1, 3), into: null))
        for path in spec.linux.maskedPaths {
            plan.steps.append(.mask(path, null: null, empty: empty, within: try below(path, "linux.maskedPaths")))
        }
        strictMasks(null, empty)
        for path in spec.linux.readOnlyPaths {
            plan.steps.append(.readOnly(path, within: try below(path, "linux.readonlyPaths")))
        }
        plan.terminal = spec.process.terminal
        if spec.process.terminal {
            guard let terminals, let dev else {
                throw BundlePlan.wrong("process.terminal", "it needs a tmpfs at /dev and a devpts at /dev/pts")
            }
            plan.steps.append(
                .terminal(devpts: terminals, console: dev, uid: spec.process.uid, gid: spec.process.gid))
        }
    }

    /// The mount of the container's own below which a path is walked; nil: it is the root's.
    private func below(_ path: String, _ place: String) throws(Problem) -> Slot? {
        let parts = path.split(separator: "/")
        guard path.hasPrefix("/"), let first = parts.first.map(String.init), !parts.contains("..") else {
            throw BundlePlan.wrong(place, "\(path) is no absolute path of something in the root")
        }
        // The kernel's own are hidden in the mounts that show them, or there is nothing to be hidden: what an image has
        // by such a name is no mask's business.
        guard let within = outer[first] else {
            guard first != "proc", first != "sys" else {
                throw BundlePlan.wrong(place, "\(path) is not below a mount of the container's")
            }
            return nil
        }
        guard parts.count > 1 else { throw BundlePlan.wrong(place, "\(path) is a mount of the container's") }
        return within
    }
}
