public import LinuxKernel
internal import OCISpec

/// Makes a launch plan from what was asked and what the machine offers. Nothing else knows the levels.
public struct Planner {
    let request: SandboxRequest
    let offer: Offer
    var plan: LaunchPlan
    private(set) var slots = 0

    /// - Parameters:
    ///   - layer: where changes to a folder's tree are kept; nil: in memory, and gone at the end.
    ///   - identityBase: the first host id for a container that root starts.
    /// - Throws: what cannot be enforced and was not waived, in words for a person.
    public static func plan(
        _ request: SandboxRequest, offer: Offer, cache: SeccompCache, layer: WritableLayer? = nil, identityBase: UInt32
    ) throws(Problem) -> LaunchPlan {
        var planner = Planner(request: request, offer: offer, plan: LaunchPlan(level: request.level))
        planner.plan.steps.reserveCapacity(96)
        try planner.checkWaivers()
        planner.chooseNamespaces()
        try planner.checkEffects()
        try planner.chooseIdentity(base: identityBase)
        try planner.chooseLimits()
        try planner.chooseStorage()
        try planner.chooseCapabilities()
        let seccomp = try planner.chooseSeccomp(cache)
        let landlock = try planner.chooseLandlock()
        planner.beginSteps()
        let root = planner.rootSteps(layer)
        try planner.mountSteps(root)
        planner.finishRoot(root)
        planner.restrictionSteps(landlock: landlock, seccomp: seccomp)
        planner.commandSteps()
        try planner.checkRequired()
        return planner.plan
    }

    /// What a plan's child is born with, where no cgroup belongs to it: known before all the rest. Nil for
    /// a request that has no plan; ``plan(_:offer:cache:layer:identityBase:)`` says why.
    public static func birth(
        _ request: SandboxRequest, offer: Offer, identityBase: UInt32
    ) -> (namespaces: CaseSet<Namespace>, identity: IdentityMap?)? {
        var planner = Planner(request: request, offer: offer, plan: LaunchPlan(level: request.level))
        planner.chooseNamespaces()
        guard (try? planner.chooseIdentity(base: identityBase)) != nil else { return nil }
        return (planner.plan.namespaces, planner.plan.identity)
    }

    mutating func slot() -> Slot {
        slots += 1
        plan.slotCount = slots
        return Slot(slots - 1)
    }

    mutating func add(_ step: LaunchStep) { plan.steps.append(step) }

    func isWaived(_ item: Item) -> Bool {
        for waived in request.waived where waived.covered.contains(item) { return true }
        return false
    }

    /// Something promised cannot be had: an error at strict unless it was waived, a named warning else.
    mutating func miss(_ item: Item, _ why: String, hint: String?) throws(Problem) {
        let waived = isWaived(item)
        if request.level == .strict && !waived {
            throw Problem(
                "strict isolation needs \(item.name)", why,
                hint: [hint, "or start without it: --waive \(item.waiverName)"].compactMap { $0 }.joined(
                    separator: "; "))
        }
        plan.notices.append(Notice(item, why, hint: hint, waived: waived))
    }

    private func checkWaivers() throws(Problem) {
        for item in request.waived where !Item.waivable.contains(item) {
            throw Problem(
                "cannot waive \(item.name)", "no sandbox starts without it",
                hint: "these can be waived: \(Item.waivable.map(\.name).sorted().joined(separator: ", "))")
        }
    }

    mutating func chooseNamespaces() {
        var wanted = CaseSet<Namespace>().with(.pid).with(.mount).with(.uts)
        if request.level != .minimal { wanted = wanted.with(.ipc).with(.user).with(.cgroup) }
        if request.level == .strict { wanted.insert(.time) }
        if request.level == .minimal && !offer.isRoot { wanted.insert(.user) }
        if ownsNetwork { wanted.insert(.network) }
        plan.namespaces = wanted
    }

    /// Minimal shares the host's network unless told otherwise; the other levels have their own.
    var ownsNetwork: Bool { request.level == .minimal ? request.network == NetworkMode.none : request.network != .host }

    var hasUserNamespace: Bool { plan.namespaces.contains(.user) }

    /// The parent clones the sources where it may and its child may not: root starts a container
    /// whose ids cannot walk root's private folders.
    var parentOpensSources: Bool { offer.isRoot && hasUserNamespace }

    private mutating func chooseIdentity(base: UInt32) throws(Problem) {
        plan.user = request.user
        plan.hostname = request.hostname
        plan.level = request.level
        plan.required = request.required
        plan.readOnlyRoot = request.readOnly
        if request.readOnly, request.root == .host {
            throw Problem(
                "cannot make the root read-only", "at minimal a script runs on the machine's own tree",
                hint: "choose --isolation standard, or an image folder")
        }
        guard hasUserNamespace else {
            if request.userNamespace == .automatic { return }
            throw Problem(
                "cannot use --userns \(request.userNamespace.rawValue)", "root's minimal level has no user namespace",
                hint: "choose --isolation standard or strict")
        }
        if request.level == .minimal && !request.user.chosen {
            plan.user.uid = offer.uid
            plan.user.gid = offer.gid
        }
        let user = plan.user
        switch try userNamespaceMode() {
        case .subordinate where offer.isRoot:
            let range = IdentityRange(inside: 0, outside: base, count: SubordinateIDs.count)
            plan.identity = IdentityMap(uids: [range], gids: [range], byHelper: false, deniesGroups: false)
        case .subordinate, .automatic:
            guard let uids = offer.subordinateUIDs, let gids = offer.subordinateGIDs else {
                throw Problem(
                    "no subordinate ids", "/etc/subuid and /etc/subgid have no range of 65535 for uid \(offer.uid)",
                    hint: "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER")
            }
            let own = { (id: UInt32) in IdentityRange(inside: 0, outside: id, count: 1) }
            plan.identity = IdentityMap(
                uids: [own(offer.uid), uids], gids: [own(offer.gid), gids], byHelper: true, deniesGroups: false)
        case .single:
            let outside = offer.isRoot ? (base, base) : (offer.uid, offer.gid)
            plan.identity = IdentityMap(
                uids: [IdentityRange(inside: user.uid, outside: outside.0, count: 1)],
                gids: [IdentityRange(inside: user.gid, outside: outside.1, count: 1)], byHelper: false,
                deniesGroups: !offer.isRoot)
        }
        guard plan.identity?.hostUID(user.uid) != nil, plan.identity?.hostGID(user.gid) != nil else {
            throw Problem(
                "cannot be user \(user.uid):\(user.gid)", "the container has the ids 0 to 65535",
                hint: "choose a smaller id with -u, or --userns single")
        }
    }

    /// What `auto` comes to: all ids for root and for an ordinary user's image at standard, where
    /// programs may change their user; one id, at no cost, for everything else.
    ///
    /// See ``needsSubordinateIDs(_:)``.
    private func userNamespaceMode() throws(Problem) -> UserNamespaceMode {
        guard request.userNamespace == .automatic else { return request.userNamespace }
        if request.level == .minimal { return .single }
        if offer.isRoot { return .subordinate }
        guard request.root.isImage, request.level == .standard else { return .single }
        return offer.subordinateUIDs != nil && offer.subordinateGIDs != nil ? .subordinate : .single
    }

    /// Whether an ordinary user's request is planned by what subordinate ids there are. To find them takes a while: two
    /// files are read, and the users' names.
    public static func needsSubordinateIDs(_ request: SandboxRequest) -> Bool {
        switch request.userNamespace {
        case .automatic: request.level == .standard && request.root.isImage
        case .subordinate: true
        case .single: false
        }
    }

    mutating func chooseLimits() throws(Problem) {
        var limits = request.level.defaultLimits()
        let asked = request.limits
        if let value = asked.memoryMax { limits.memoryMax = value }
        if let value = asked.swapMax { limits.swapMax = value }
        if let value = asked.cpuQuota { limits.cpuQuota = value }
        if let value = asked.pidsMax { limits.pidsMax = value }
        limits.cpuWeight = asked.cpuWeight
        limits.cpus = asked.cpus
        limits.io = asked.io
        limits.ioWeight = asked.ioWeight
        plan.resourceLimits = request.resourceLimits
        if let seconds = request.cpuSeconds {
            limit(ResourceLimit(resource: 0, soft: seconds, hard: seconds))
        }
        guard !limits.controllers.isEmpty else {
            plan.unsharesCgroup = false
            return
        }
        // One whose limits were taken away has a cgroup all the same: it can be frozen, and limited again.
        limits = limits.limiting
        let missing: CaseSet<CgroupController>
        let reason: (why: String, hint: String)
        switch offer.cgroup {
        case .success(let place):
            missing = limits.controllers.subtracting(place.controllers)
            reason = ("the kernel gives \(place.path) no such controller", "codex32 doctor says how to delegate it")
        case .failure(let none):
            missing = limits.controllers
            reason = (none.why, none.hint)
        }
        try substitute(&limits, missing, reason)
        if case .success(let place) = offer.cgroup {
            plan.cgroup = CgroupPlan(place: place, limits: limits)
            plan.unsharesCgroup = plan.namespaces.remove(.cgroup) != nil
        }
    }

    private mutating func substitute(
        _ limits: inout CgroupLimits, _ missing: CaseSet<CgroupController>, _ reason: (why: String, hint: String)
    ) throws(Problem) {
        for item in Item.of(limits) where item.controller.map(missing.contains) == true {
            if item == .cgroupPids, hasUserNamespace, request.level != .strict || isWaived(item) {
                // Since Linux 5.14 RLIMIT_NPROC counts per user namespace: in one of its own it
                // counts this container's processes and no others.
                continue
            }
            if plan.notices.contains(where: { $0.item == item }) { continue }
            try miss(item, reason.why, hint: reason.hint)
        }
        if missing.contains(.pids), let most = limits.pidsMax, hasUserNamespace {
            limit(ResourceLimit(resource: 6, soft: most, hard: most))
            plan.processLimit = "RLIMIT_NPROC in its own user namespace"
        }
        if missing.contains(.memory) { (limits.memoryMax, limits.swapMax) = (nil, nil) }
        if missing.contains(.cpu) { (limits.cpuQuota, limits.cpuWeight) = (nil, nil) }
        if missing.contains(.pids) { limits.pidsMax = nil }
        if missing.contains(.cpuset) { limits.cpus = nil }
        if missing.contains(.io) { (limits.io, limits.ioWeight) = ([:], nil) }
    }

    mutating func chooseCapabilities() throws(Problem) {
        switch request.level {
        case .minimal: plan.capabilities = offer.isRoot ? offer.callerCapabilities : []
        case .standard: plan.capabilities = IsolationLevel.dockerCapabilities
        case .strict: plan.capabilities = []
        }
        // As Docker does: what is added by name stays when all are dropped, and all that are added
        // lose those that are dropped by name.
        if request.addedCapabilities == .all {
            plan.capabilities = CapabilitySet.all.subtracting(request.droppedCapabilities)
        } else {
            plan.capabilities.subtract(request.droppedCapabilities)
            plan.capabilities.formUnion(request.addedCapabilities)
        }
        plan.capabilities.formIntersection(.all)
        if !hasUserNamespace, !offer.callerCapabilities.isSuperset(of: plan.capabilities) {
            let lacking = plan.capabilities.subtracting(offer.callerCapabilities).names.joined(separator: ", ")
            throw Problem("cannot add \(lacking)", "codex32 itself does not have it", hint: "run codex32 as root")
        }
    }

    mutating func chooseSeccomp(_ cache: SeccompCache) throws(Problem) -> SeccompProgram? {
        if isWaived(.seccomp) {
            plan.notices.append(Notice(.seccomp, "no filter was loaded", hint: nil, waived: true))
            return nil
        }
        let name = request.seccompProfile?.name ?? request.level.rawValue
        let circumstances = SeccompCompiler.Circumstances(
            capabilities: plan.capabilities, architecture: offer.architecture, kernel: offer.kernel)
        do throws(DocumentError) {
            var program = try cache.program(
                profile: request.seccompProfile?.bytes ?? request.level.seccompProfile, for: circumstances)
            if let learned = request.learned {
                guard let narrower = learned.restrict(program, reaper: request.reaper) else {
                    throw DocumentError(
                        "", "with what \(learned.name) leaves of it, it is longer than the kernel takes")
                }
                program = narrower
                plan.learned = learned
            }
            plan.seccomp = SeccompSummary(profile: name, instructions: program.instructionCount)
            if let why = unexplained(program) { throw DocumentError("", why) }
            return program
        } catch {
            throw Problem(
                "cannot use the seccomp profile \(name)", error.description,
                hint: error.hint ?? "the format is that of Docker's --security-opt seccomp=PROFILE.json")
        }
    }

    private func checkRequired() throws(Problem) {
        for item in request.required.sorted(by: { $0.name < $1.name }) where !provides(item) {
            let why = plan.notices.first { item.covered.contains($0.item) }?.why ?? "it is not part of this sandbox"
            throw Problem(
                "\(item.name) is required and not in force", why,
                hint: plan.notices.first { item.covered.contains($0.item) }?.hint
                    ?? "ask for it, or choose a stricter --isolation")
        }
    }

    /// Whether the plan has an item. Limits and filters are read back again before the program starts.
    private func provides(_ item: Item) -> Bool {
        let limits = plan.cgroup?.limits
        switch item {
        case .cgroup: return plan.cgroup != nil && !plan.notices.contains { item.covered.contains($0.item) }
        case .cgroupMemory: return limits?.memoryMax != nil
        case .cgroupSwap: return limits?.swapMax != nil
        case .cgroupCPU: return limits?.cpuQuota != nil || limits?.cpuWeight != nil
        case .cgroupPids: return limits?.pidsMax != nil
        case .cgroupIO: return limits.map { !$0.io.isEmpty || $0.ioWeight != nil } ?? false
        case .cgroupCpuset: return limits?.cpus != nil
        case .seccomp: return plan.seccomp != nil
        case .landlock: return plan.landlockABI != nil
        case .landlockNetwork: return plan.landlockNetwork
        case .noNewPrivileges: return true
        case .capabilities: return request.level != .minimal
        case .readOnlyRoot: return plan.readOnlyRoot
        case .maskedPaths: return request.level.ownRoot
        case .cgroupNamespace: return plan.unsharesCgroup || plan.namespaces.contains(.cgroup)
        case .volumeOwners: return !plan.notices.contains { $0.item == .volumeOwners }
        default: return plan.namespaces.contains { Item.of($0) == item }
        }
    }
}

extension Item {
    /// What to say to `--waive`: a missing controller is rarely alone.
    var waiverName: String { Item.cgroup.covered.contains(self) ? Item.cgroup.name : name }
}
