internal import LinuxKernel
internal import Sandbox

/// What a supervised program is refused, from its start to its end (`--explain`). The filter asks this process about
/// every call that it refuses, and holds the program until it has an answer: with the supervisor the answers end, so
/// such a program cannot outlive it.
final class ProgramDenials {
    private let denials: Denials
    /// Those that the program began with: which option would allow a call depends on them.
    private let capabilities: CapabilitySet

    /// Nil: the plan has no filter that tells.
    init?(_ listener: consuming Descriptor, _ plan: LaunchPlan) {
        for case .seccompToldOf(let filter) in plan.steps {
            denials = Denials(SeccompListener(listener, of: filter))
            capabilities = plan.capabilities
            return
        }
        return nil
    }

    /// What is to be waited for.
    var number: Int32 { denials.listener.descriptor.number }

    /// Answers one call that waits.
    func serve() throws(KernelError) { try denials.serve() }

    /// For the verdict: the calls, and the limits that it met.
    func told(_ request: SandboxRequest, _ verdict: Verdict) -> [Denial] {
        Denial.all(denials.entries, others: denials.others, request, capabilities) + Denial.limits(verdict)
    }
}

extension Supervisor {
    func serveDenials(hungUp: Bool) throws(KernelError) {
        guard let denials = program?.denials else { return }
        // Nobody is left who could be refused anything.
        if hungUp { return events.remove(denials.number) }
        try denials.serve()
    }
}
