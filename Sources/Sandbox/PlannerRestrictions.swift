internal import LinuxKernel

/// What the program may do once it runs: the last steps before execve.
extension Planner {
    struct LandlockPlan {
        var files: UInt64
        var tcp: UInt64 = 0
        var scopes: UInt32 = 0
        /// The rules: what may be done (LANDLOCK_ACCESS_FS_*) below each path. Two lists, of kinds that a start
        /// has anyway: for one of its own Swift's runtime would make a class first.
        private(set) var paths: [String] = []
        private(set) var rights: [UInt64] = []

        mutating func allow(_ path: String, _ right: UInt64) {
            paths.append(path)
            rights.append(right)
        }
    }

    /// The second wall of strict, or, at the other levels with a root of their own, the wall around
    /// codex32's own program file: `/proc/self/exe` must be neither run nor written through
    /// (CVE-2019-5736) where the container's ids could.
    mutating func chooseLandlock() throws(Problem) -> LandlockPlan? {
        guard request.level == .strict else { return chooseProgramWall() }
        guard let abi = offer.landlockABI else {
            try miss(.landlock, "this kernel has no Landlock", hint: "add landlock to the kernel's lsm= parameter")
            return nil
        }
        if request.waived.contains(.landlock) {
            plan.notices.append(Notice(.landlock, "it was waived", hint: nil, waived: true))
            return nil
        }
        plan.landlockABI = abi
        let all = LandlockRights.all(abi)
        let devices = LandlockRights.makeCharacterDevice | LandlockRights.makeBlockDevice
        var wall = LandlockPlan(files: all)
        wall.allow("/", LandlockRights.look)
        let write = all & ~devices
        wall.allow("/tmp", write)
        wall.allow("/dev/shm", write)
        for mount in request.temporary where !mount.readOnly { wall.allow(mount.target, write) }
        wall.allow("/dev", LandlockRights.look | LandlockRights.writeFile | (all & LandlockRights.ioctlDevice))
        if let workspace = request.workspace { wall.allow(workspace.target, write) }
        for volume in request.volumes where !volume.readOnly { wall.allow(volume.target, write) }
        if !plan.readOnlyRoot { wall.allow("/", write) }
        if request.network != .host && !request.waived.contains(.landlockNetwork) {
            if abi >= 4 {
                wall.tcp = LandlockRights.bindTCP | LandlockRights.connectTCP
                plan.landlockNetwork = true
            }
        }
        if abi >= 6 { wall.scopes = LandlockRights.scopeAbstractSockets | LandlockRights.scopeSignals }
        return wall
    }

    private mutating func chooseProgramWall() -> LandlockPlan? {
        guard case .host = request.root else {
            // ABI 2: before it, every rename between folders fails in a Landlock domain.
            guard offer.ownProgramIsWritable || !hasUserNamespace, let abi = offer.landlockABI, abi >= 2,
                !plan.capabilities.contains(.systemAdministration)
            else { return nil }
            let rights = LandlockRights.execute | LandlockRights.writeFile | LandlockRights.refer
            plan.landlockABI = abi
            var wall = LandlockPlan(files: rights)
            wall.allow("/", rights)
            return wall
        }
        return nil
    }

    /// Whether a container as asked for could reach codex32's own program file and write to it.
    public static func exposesProgram(_ request: SandboxRequest, offer: Offer) -> Bool {
        // On the host's own tree there is nothing to hide: the file is there by its name.
        if request.root == .host { return false }
        if request.level == .minimal && offer.isRoot { return true }
        guard offer.ownProgramIsWritable else { return false }
        var planner = Planner(request: request, offer: offer, plan: LaunchPlan(level: request.level))
        planner.chooseNamespaces()
        // What cannot be planned is told when it is planned in earnest.
        guard (try? planner.chooseCapabilities()) != nil, (try? planner.chooseLandlock()) != nil else { return true }
        return planner.plan.landlockABI == nil
    }

    mutating func restrictionSteps(landlock: LandlockPlan?, seccomp: SeccompProgram?) {
        for limit in plan.resourceLimits {
            add(.resourceLimit(limit.resource, soft: limit.soft, hard: limit.hard))
        }
        if sharesQuotas {
            for (resource, most) in SharedQuota.resourceLimits
            where !plan.resourceLimits.contains(where: { $0.resource == resource }) {
                add(.lowerResourceLimit(resource, most: most))
            }
        }
        add(.umask(0o022))
        add(.changeFolder(request.workingFolder, make: !plan.readOnlyRoot && request.level.ownRoot))
        add(.sessionKeyring)
        var rules: Slot?
        if let landlock {
            let made = slot()
            rules = made
            add(.landlockCreate(files: landlock.files, tcp: landlock.tcp, scopes: landlock.scopes, into: made))
            for (index, path) in landlock.paths.enumerated() {
                add(.landlockPath(made, path, rights: landlock.rights[index]))
            }
        }
        plan.hold = request.hold
        // Here, as what follows takes away the signal with which it ends with its parent (prctl(2), PR_SET_PDEATHSIG).
        add(request.hold ? .hold : .awaitWord)
        add(.boundingSet(plan.capabilities))
        let mayDropGroups = !(plan.identity?.deniesGroups ?? false)
        let rootInside = plan.user.uid == 0 && plan.user.gid == 0 && plan.user.groups.isEmpty
        if !rootInside {
            add(.identity(uid: plan.user.uid, gid: plan.user.gid, groups: mayDropGroups ? plan.user.groups : nil))
        }
        // As with Docker, a user other than root starts without capabilities. Those added by name it
        // gets all the same, as ambient ones: with no_new_privs it could not come by them later.
        let added = plan.capabilities.intersection(request.addedCapabilities)
        let isRoot = plan.user.uid == 0
        add(.capabilities(permitted: isRoot ? plan.capabilities : added, inheritable: isRoot ? [] : added))
        add(.noNewPrivileges)
        if let rules { add(.landlockEnforce(rules)) }
        // As late as it can be: until here the set-up ends with codex32, and a filter may know no prctl(2).
        if request.outlives { add(.outlive) }
        // Below the filter that decides: that one may let nobody load another, and the answers are its own all the same.
        if let observer = request.observer { add(.observe(observer)) }
        // The levels' own lists know what the child calls behind them; another's may not.
        if request.seccompProfile != nil || request.learned != nil { add(.closeOthers) }
        if let seccomp { add(request.explains ? .seccompToldOf(seccomp) : .seccomp(seccomp)) }
        if request.reaper { add(.reaper) }
        add(.execute)
    }

    mutating func commandSteps() {
        plan.terminal = request.terminal
        plan.arguments = request.command
        plan.environment = request.environment
        guard let program = request.command.first else { return }
        if program.contains("/") {
            plan.candidates = [program]
            return
        }
        let path = request.environment.first { $0.hasPrefix("PATH=") }?.dropFirst(5) ?? ""
        plan.candidates = path.split(separator: ":").map { "\($0)/\(program)" }
    }
}
