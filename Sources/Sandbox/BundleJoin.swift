public import LinuxKernel
public import OCISpec

/// A second program in a bundle's container: the last steps of the bundle's own plan, around joining instead of making.
extension BundlePlan {
    /// The slot in which the steps find a pidfd of the container.
    public static let joined = Slot(0)

    /// - Parameters:
    ///   - spec: what the container was made from, with this program's process in the place of its first one.
    ///   - target: the container as the kernel shows it.
    ///   - preserved: how many of the caller's descriptors from 3 on the program inherits.
    ///   - filters: where compiled filters are kept.
    /// - Throws: what the configuration asks for and codex32 does not do, by the name of its member.
    public init(
        joining spec: RuntimeSpec, _ target: JoinTarget, rights: CapabilitySet, preserved: Int,
        tightening: BundleTightening? = nil, filters: SeccompCache = SeccompCache(folder: nil)
    ) throws(Problem) {
        self.spec = spec
        self.filters = filters
        self.rights = rights
        self.tightening = tightening
        if tightening != nil { self.spec.tighten() }
        let container = slot()
        plan.identity = target.identity
        plan.terminal = spec.process.terminal
        if let cpus = spec.process.affinity?.initial { plan.steps.append(.tune(.affinity(LaunchTuning.mask(cpus)))) }
        if !target.namespaces.isEmpty { plan.steps.append(.join(container, namespaces: target.namespaces)) }
        plan.steps.append(becomeRoot)
        if !spec.linux.namespaces.contains(where: { $0.type == "mount" && $0.path == nil }) {
            // The kernel gives who joins it the root of that namespace, which is others'.
            let root = slot()
            enteredRoot = root
            plan.steps += [.useRoot(root), .changeRoot]
        } else {
            plan.steps.append(.useRoot(nil))
        }
        var terminals: Slot?
        if spec.process.terminal {
            let place = slot()
            plan.steps.append(.openTerminals("/dev/pts", into: place))
            terminals = place
        }
        if preserved > 0 { plan.steps.append(.preserve(preserved)) }
        let common = plan.steps.count
        // A session keyring of its own always: that of codex32's caller is none of the container's business.
        try programSteps(keyring: true)
        enter(from: common, terminals, outlives: target.outlives)
    }

    /// Puts the birth into the pid namespace among the last steps: late, for only from then on can the container see
    /// the process, but before a filter that is loaded early, which may refuse it. The number of processes is limited
    /// before, so that this birth counts; the other limits come after, so that a low one hits the program.
    private mutating func enter(from first: Int, _ terminals: Slot?, outlives: Bool) {
        let numberOfProcesses: Int32 = 6
        var limits: [LaunchStep] = []
        var steps = Array(plan.steps[..<first])
        var hasEntered = false
        for step in plan.steps[first...] {
            switch step {
            case .seccomp, .boundingSet:
                if !hasEntered {
                    hasEntered = true
                    steps.append(.enter)
                    if let terminals {
                        steps.append(
                            .terminal(
                                devpts: terminals, console: nil, uid: spec.process.uid, gid: spec.process.gid))
                    }
                    steps += limits
                    if let cpus = spec.process.affinity?.final {
                        steps.append(.tune(.affinity(LaunchTuning.mask(cpus))))
                    }
                }
                steps.append(step)
            case .resourceLimit(let number, _, _) where number != numberOfProcesses: limits.append(step)
            case .tune, .lowerResourceLimit: limits.append(step)
            case .changeFolder(let path, _): steps.append(.changeFolder(path, make: false))
            case .awaitStart, .hook: break
            case .capabilitySets: steps += outlives ? [step, .outlive] : [step]
            default: steps.append(step)
            }
        }
        plan.steps = steps
    }
}
