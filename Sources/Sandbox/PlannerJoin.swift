public import LinuxKernel

/// The container that a process joins, as the kernel shows it.
public struct JoinTarget: Sendable {
    /// Those that are not this process's own already: the kernel refuses to join a user namespace twice.
    public var namespaces: CaseSet<Namespace>
    /// The maps of its user namespace; nil: it is in this process's.
    public var identity: IdentityMap?
    /// Limits that its program began with and that differ from this process's.
    public var inherited: [ResourceLimit]
    /// The process goes on when the one that started it ends.
    public var outlives: Bool

    public init(
        namespaces: CaseSet<Namespace>, identity: IdentityMap?, inherited: [ResourceLimit], outlives: Bool
    ) {
        self.namespaces = namespaces
        self.identity = identity
        self.inherited = inherited
        self.outlives = outlives
    }
}

/// A second program in a container: the same restrictions, from the same code as the first one's, around
/// joining instead of making.
extension Planner {
    /// The slot in which the steps of ``join(_:offer:cache:target:)`` find a pidfd of the container.
    public static let joined = Slot(0)

    /// - Parameters:
    ///   - request: the container's own, with this program's command, user, folder and terminal.
    ///   - offer: as it was for the container, its cgroup above all.
    public static func join(
        _ request: SandboxRequest, offer: Offer, cache: SeccompCache, target: JoinTarget
    ) throws(Problem) -> LaunchPlan {
        var planner = Planner(request: request, offer: offer, plan: LaunchPlan(level: request.level))
        planner.chooseNamespaces()
        try planner.takeIdentity(target)
        try planner.chooseLimits()
        try planner.chooseCapabilities()
        let seccomp = try planner.chooseSeccomp(cache)
        let landlock = planner.domain(try planner.chooseLandlock())
        let container = planner.slot()
        for limit in target.inherited {
            planner.add(.resourceLimit(limit.resource, soft: limit.soft, hard: limit.hard))
        }
        planner.joinSteps(container, target)
        var terminals: Slot?
        if request.terminal, request.root != .host {
            terminals = planner.slot()
            planner.add(.openTerminals("/dev/pts", into: terminals!))
        }
        let common = planner.plan.steps.count
        planner.restrictionSteps(landlock: landlock, seccomp: seccomp)
        planner.commandSteps()
        planner.enter(from: common, terminals, target)
        return planner.plan
    }

    private mutating func takeIdentity(_ target: JoinTarget) throws(Problem) {
        plan.identity = target.identity
        plan.user = request.user
        plan.readOnlyRoot = request.readOnly
        if hasUserNamespace, request.level == .minimal, !request.user.chosen {
            plan.user.uid = offer.uid
            plan.user.gid = offer.gid
        }
        guard hasUserNamespace else { return }
        guard let map = plan.identity else {
            throw Problem(
                "cannot join the container", "this process is in its user namespace already",
                hint: "run codex32 from where the container was started")
        }
        guard map.hostUID(plan.user.uid) != nil, map.hostGID(plan.user.gid) != nil else {
            throw Problem(
                "cannot be user \(plan.user.uid):\(plan.user.gid)", "the container has no such ids",
                hint: "its user is \(map.uids.first?.inside ?? 0); --userns subordinate gives a container 65,536 ids")
        }
        // A group that has no number inside cannot be one of the program's.
        plan.user.groups.removeAll { map.hostGID($0) == nil }
    }

    /// Domains cannot be joined, only made anew, so a scope would part this program from the container's
    /// others: `exec kill 1` would fail. Signals stay inside by the pid namespace anyway, and so do abstract
    /// sockets where the network is the container's own.
    private func domain(_ landlock: LandlockPlan?) -> LandlockPlan? {
        guard var landlock else { return nil }
        landlock.scopes &= ownsNetwork ? 0 : LandlockRights.scopeAbstractSockets
        return landlock
    }

    private mutating func joinSteps(_ container: Slot, _ target: JoinTarget) {
        add(.join(container, namespaces: target.namespaces))
        if let identity = plan.identity {
            let single = identity.uids.count == 1 && identity.uids[0].count == 1
            add(
                .becomeRoot(
                    uid: single ? identity.uids[0].inside : 0, gid: single ? identity.gids[0].inside : 0,
                    dropGroups: !identity.deniesGroups))
        } else {
            add(.becomeRoot(uid: 0, gid: 0, dropGroups: true))
        }
        add(.useRoot(nil))
    }

    /// Puts the birth into the pid namespace among the restrictions: as late as possible, for only from then on
    /// can the container see the process. The number of processes is limited before, so that this birth counts;
    /// the other limits come after, so that a low one hits the program and not codex32.
    private mutating func enter(from first: Int, _ terminals: Slot?, _ target: JoinTarget) {
        let numberOfProcesses: Int32 = 6
        var limits: [LaunchStep] = []
        var steps = Array(plan.steps[..<first])
        for step in plan.steps[first...] {
            switch step {
            case .resourceLimit(let number, _, _) where number != numberOfProcesses: limits.append(step)
            case .changeFolder(let path, _): steps.append(.changeFolder(path, make: false))
            case .boundingSet:
                steps.append(.enter)
                if request.terminal {
                    steps.append(
                        .terminal(devpts: terminals, console: nil, uid: plan.user.uid, gid: ttyGroup))
                }
                steps += limits + [step]
            case .awaitWord: break
            case .noNewPrivileges where target.outlives: steps += [.outlive, step]
            default: steps.append(step)
            }
        }
        plan.steps = steps
    }
}
