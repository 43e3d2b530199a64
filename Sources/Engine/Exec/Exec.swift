internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// `codex32 exec`: a second program in a container that runs, as this process's child.
///
/// Nobody's lock is taken: the container may be stopped meanwhile, and then the program is gone like any other of
/// its processes. What keeps the two apart from each other is the kernel: a container that has ended can neither
/// be joined (ESRCH) nor born into (ENOMEM).
struct Exec: ~Copyable {
    var child: Child
    /// The master of its terminal.
    let terminal: Descriptor?

    /// What the container was asked for, and what this machine offers.
    struct Ground {
        let request: SandboxRequest
        let offer: Offer

        /// May begin the whole command anew, from where the container cannot write to it: so this comes before all
        /// else that takes time, and has nothing to clear away.
        init(_ record: ContainerRecord, _ storage: Storage) throws(Problem) {
            request = try ExecPlan.request(record, storage: storage)
            offer = try Offer.current(cgroup: false, subordinateIDs: Planner.needsSubordinateIDs(request))
            try Run.protectProgram(request, offer)
        }
    }

    /// Starts the program; returns when execve has happened.
    /// - Parameter standard: what become its descriptors 0, 1 and 2, unless it gets a terminal.
    static func start(
        _ configuration: ExecConfiguration, in record: ContainerRecord, _ ground: Ground, storage: Storage,
        standard: (Int32, Int32, Int32)
    ) throws(Problem) -> Exec {
        try check(record)
        var (request, offer) = (ground.request, ground.offer)
        let process = try ContainerProcess.open(record)
        let cgroup = try process.cgroup(record)
        offer.cgroup = ExecPlan.place(cgroup, record)
        try ExecPlan.apply(configuration, to: &request, process)
        let plan = try Planner.join(
            request, offer: offer, cache: SeccompCache(folder: storage.seccompCache),
            target: try process.target(record, outlives: configuration.detach))
        let input = LaunchInput(
            namespaces: [], steps: plan.steps, slotCount: plan.slotCount, standard: standard,
            terminal: plan.terminal, candidates: plan.candidates, arguments: plan.arguments,
            environment: plan.environment)
        var child: Child
        do throws(KernelError) {
            let sources = SlotNumbers(Planner.joined, process.pidfd.number)
            child = try Child.launch(input, sources: sources, cgroup: cgroup)
        } catch { throw notBorn(record, error) }
        do {
            let terminal = try converse(&child, plan, record)
            return Exec(child: child, terminal: terminal)
        } catch {
            child.kill()
            throw error
        }
    }

    init(child: consuming Child, terminal: consuming Descriptor?) {
        self.child = child
        self.terminal = terminal
    }

    private static func check(_ record: ContainerRecord) throws(Problem) {
        let what = "cannot run a program in \(record.name)"
        switch record.state {
        case .running: return
        case .paused:
            throw Problem(what, "it is paused", hint: "codex32 unpause \(record.name)")
        case .stopping: throw Problem(what, "it is being stopped", hint: "codex32 start \(record.name), when it is")
        default: throw Problem(what, "it is \(record.state.kind.rawValue)", hint: "codex32 start \(record.name)")
        }
    }

    /// Answers the child until it is the program. A failure is told at the end, when both processes are known: each
    /// of them may be the first to speak.
    private static func converse(
        _ child: inout Child, _ plan: LaunchPlan, _ record: ContainerRecord
    ) throws(Problem) -> Descriptor? {
        var terminal: Descriptor?
        var hasEntered = false
        var problem: Problem?
        try go(child, record)
        while true {
            let message = try explaining("cannot enter \(record.name)") { () throws(KernelError) in
                try child.receive()
            }
            switch consume message {
            case .finished:
                if let problem { throw problem }
                // Killed with the container before it could say a word.
                guard hasEntered else { throw ContainerProcess.gone(record.name) }
                return terminal
            case .unborn(let error): problem = notBorn(record, error)
            case .failed(let step, let error, let detail):
                problem = failure(plan, step, error, detail, record)
            case .terminal(let master):
                StandardStream.input.copySize(to: master)
                terminal = consume master
                try go(child, record)
            case .entered(let pid, let pidfd):
                do throws(KernelError) { try child.become(pid: pid, pidfd) } catch {
                    throw Problem("cannot enter \(record.name)", error)
                }
                hasEntered = true
            case .listener: break
            case .root: break  // Its plan has no such step.
            case .ready: break
            case .network: break
            case .held: break
            }
        }
    }

    private static func go(_ child: borrowing Child, _ record: ContainerRecord) throws(Problem) {
        do throws(KernelError) { try child.go() } catch { throw ContainerProcess.gone(record.name) }
    }

    private static func notBorn(_ record: ContainerRecord, _ error: KernelError) -> Problem {
        let what = "cannot enter \(record.name)"
        switch error.number {
        case Errno.denied, Errno.permission:
            return Problem(
                what, "this process may not put others into the cgroup of the container",
                hint: "systemd-run --user --scope codex32 exec ...")
        case Errno.wouldBlock: return full(what)
        case Errno.noDevice, Errno.missing: return ContainerProcess.gone(record.name)
        default: return Problem(what, error)
        }
    }

    private static func full(_ what: String) -> Problem {
        Problem(
            what, "it has as many processes as it may have", hint: "codex32 top shows them; --pids-limit allows more")
    }

    private static func failure(
        _ plan: LaunchPlan, _ step: Int?, _ error: KernelError, _ detail: String, _ record: ContainerRecord
    ) -> Problem {
        guard let step, plan.steps.indices.contains(step) else {
            return LaunchFailure.problem(plan, step: step, error, detail: detail)
        }
        switch (plan.steps[step], error.number) {
        case (.join, Errno.noProcess), (.enter, Errno.noMemory): return ContainerProcess.gone(record.name)
        case (.join, Errno.permission):
            return Problem(
                "cannot enter \(record.name)", "this user may not join its namespaces",
                hint: "run codex32 as the user who started it, and outside of other containers")
        case (.enter, Errno.wouldBlock): return full("cannot enter \(record.name)")
        case (.openTerminals, _):
            return Problem(
                "cannot make a terminal in \(record.name)", "its /dev/pts holds no terminals: \(error.reason)",
                hint: "leave out -t")
        default: return LaunchFailure.problem(plan, step: step, error, detail: detail)
        }
    }
}
