internal import LinuxKernel
internal import Sandbox

/// The child of a start that has no plan yet: while codex32 plans, it makes its namespaces, which is what
/// takes the kernel longest.
///
/// It has its id maps and is closed to tracing before the planning begins, and waits for nothing but the
/// plan. Without one it is ended and reaped with this object.
final class Newborn {
    private var child: Child?
    private let namespaces: CaseSet<Namespace>
    private let identity: IdentityMap?
    private let userNamespace: Owned<Descriptor>?

    /// Nil where the child must be born with more than is known now, or cannot be made: the start in
    /// earnest finds that out again, and tells it in its own place.
    static func bear(_ request: SandboxRequest, offer: Offer, identityBase: UInt32) -> Newborn? {
        // A cgroup is made, and written down before that, from the plan; moving a process into one later
        // stops all forks of the machine for a moment.
        guard case .failure = offer.cgroup,
            let birth = Planner.birth(request, offer: offer, identityBase: identityBase)
        else {
            Child.endEarly()
            return nil
        }
        return try? Newborn(birth, reaper: request.reaper)
    }

    private init(
        _ birth: (namespaces: CaseSet<Namespace>, identity: IdentityMap?), reaper: Bool
    ) throws(Problem) {
        let what = "cannot start the sandbox"
        let child = try Start.bear(birth.identity) { () throws(Problem) in
            try explaining(what) { () throws(KernelError) in try Child.bear(birth.namespaces, reaper: reaper) }
        }
        do {
            // Opened before the child is closed to tracing: afterwards that takes a right over all processes.
            let isNeeded = birth.identity != nil && Machine.isRoot
            userNamespace = try explaining(what) { () throws(KernelError) in
                isNeeded ? Owned(try Descriptor.open("/proc/\(child.pid)/ns/user", [.read])) : nil
            }
            try Start.tell { () throws(KernelError) in try child.go() }
        } catch {
            child.kill()
            throw error
        }
        self.child = consume child
        namespaces = birth.namespaces
        identity = birth.identity
    }

    deinit { if let child = child.take() { child.kill() } }

    /// The child with its plan; nil: it cannot have this one.
    func give(
        _ input: LaunchInput, _ plan: inout LaunchPlan, _ sources: borrowing OpenedSources
    ) throws(Problem) -> Child? {
        guard plan.namespaces == namespaces, plan.identity == identity, plan.cgroup == nil, var child = child.take()
        else { return nil }
        guard let descriptors = child.prepare(input, sources: sources.numbers) else {
            child.kill()
            return nil
        }
        do {
            if let userNamespace { plan.notices += try sources.mapOwners(plan, in: userNamespace.value) }
            try Start.tell { () throws(KernelError) in try child.give(descriptors) }
        } catch {
            child.kill()
            throw error
        }
        return child
    }
}
