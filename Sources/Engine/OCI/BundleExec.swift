public import LinuxKernel
internal import OCISpec
internal import Sandbox

/// `oci exec`: a second program in a container, as this process's child.
///
/// Nobody's lock is taken, as with ``Exec``: the kernel keeps a container that ends and a program that enters it apart.
extension BundleRuntime {
    /// Returns the program's exit status, 128+n for a signal; 0 as soon as it has begun when it is detached.
    public func exec(_ id: String, _ execution: BundleExecution) throws(Problem) -> Int32 {
        let preserved = try PreservedDescriptors(asked: execution.preserved, activated: false)
        try BundleRuntime.protectProgram()
        let folder = try open(id)
        let (state, status) = try BundleRuntime.load(id, folder)
        let what = "cannot run a program in \(id)"
        switch status.rawValue {
        case "created", "running": break
        case "paused" where execution.ignoresPause: break
        case "paused": throw Problem(what, "the container is paused", hint: "--ignore-paused waits until it is resumed")
        default: throw Problem(what, "container not running")
        }
        guard let identity = state.process, let process = ContainerProcess(identity) else {
            throw Problem(what, "container not running")
        }
        var spec = try BundleRuntime.configuration(id, folder)
        spec.process = try execution.process(spec.process)
        try BundleExec.check(spec.process, execution)
        if spec.process.home == nil, let root = try? process.folder.open("root", [.pathOnly, .folder]) {
            spec.process.environment.append(BundleHome.variable(ExecUser(root: root), spec.process.uid))
        }
        if state.tightening != nil, let name = execution.capabilities.first {
            throw Problem("cannot use --cap \(name)", "the container is isolated strictly", hint: "leave it out")
        }
        try BundleRuntime.adjustOOMScore(spec.process)
        // Nobody of the same user may look into codex32 while it sets up (ptrace(2), "dumpable").
        Machine.setDumpable(false)
        let isShared = state.shared?.path == nil && state.shared != nil
        let target = try BundleExec.target(process, id, outlives: execution.detach, sharesMounts: isShared)
        let bundle = try BundlePlan(
            joining: spec, target, rights: .effective, preserved: preserved.count, tightening: state.tightening,
            filters: filters)
        // Before the program is there: from here on no signal ends this process without it.
        var session = try ExecSession()
        let exec = try BundleExec.start(bundle, process, state, spec.process, execution)
        if execution.detach { return 0 }
        return try session.foreground(exec, terminal: spec.process.terminal)
    }

    /// For this process, while it may be looked into, and so for its child from birth on: closed to tracing, a child of
    /// an ordinary user's could not write its own (proc(5)). This process has not long to live, or waits for the program.
    static func adjustOOMScore(_ process: SpecProcess) throws(Problem) {
        guard let adjustment = process.oomScoreAdjustment else { return }
        try explaining("cannot use process.oomScoreAdj") { () throws(KernelError) in
            try Descriptor.open("/proc/self/oom_score_adj", [.write]).write(String(adjustment))
        }
    }

    /// What the container was made from, as `create` kept it.
    static func configuration(_ id: String, _ folder: borrowing Descriptor) throws(Problem) -> RuntimeSpec {
        let bytes = try explaining("cannot read the configuration of \(id)") { () throws(KernelError) in
            try folder.open(BundleState.configuration, [.read, .noFollow, .nonblocking]).readAll(limit: 16 << 20)
        }
        do { return try RuntimeSpec(try JSONReader.read(bytes)) } catch {
            throw Problem("cannot read the configuration of \(id)", error.description)
        }
    }

    /// `/proc/self/exe` of a child must not be a way to codex32's own file (CVE-2019-5736). May begin the whole
    /// command anew.
    static func protectProgram() throws(Problem) {
        if (try? Machine.runFromReadOnlyMount()) == nil {
            try explaining("cannot protect codex32's own file") { () throws(KernelError) in
                try Machine.runFromSealedCopy()
            }
        }
    }
}

/// The start of such a program.
private enum BundleExec {
    static func check(_ process: SpecProcess, _ execution: BundleExecution) throws(Problem) {
        let what = "cannot make the terminal"
        if execution.consoleSocket != nil, !process.terminal {
            throw Problem(what, "--console-socket without a terminal", hint: "--tty, or terminal in the process's file")
        }
        if execution.consoleSocket == nil, process.terminal, execution.detach {
            throw Problem(what, "--console-socket is missing", hint: "a detached program's terminal is sent there")
        }
        if execution.consoleSocket != nil, !execution.detach {
            throw Problem(what, "--console-socket without --detach", hint: "in the foreground the terminal is this one")
        }
    }

    static func target(
        _ process: borrowing ContainerProcess, _ id: String, outlives: Bool, sharesMounts: Bool
    ) throws(Problem) -> JoinTarget {
        let others: CaseSet<Namespace>
        do { others = try process.otherNamespaces() } catch {
            // Not to be looked at is said below, in words.
            guard error.number == Errno.denied || error.number == Errno.permission else {
                throw Problem("cannot enter \(id)", error)
            }
            others = []
        }
        // Its namespaces may not be looked at, or it has none of its own: neither can be a container's.
        guard others.contains(.mount) || sharesMounts else {
            throw Problem(
                "cannot enter \(id)", "this user may not look at its namespaces",
                hint: "run codex32 as the user who made it, and outside of other containers")
        }
        let identity = others.contains(.user) ? try process.identityMap(id) : nil
        return JoinTarget(namespaces: others, identity: identity, inherited: [], outlives: outlives)
    }

    static func start(
        _ bundle: BundlePlan, _ process: borrowing ContainerProcess, _ state: BundleState, _ wanted: SpecProcess,
        _ execution: BundleExecution
    ) throws(Problem) -> Exec {
        let plan = bundle.plan
        var sources = SlotNumbers(BundlePlan.joined, process.pidfd.number)
        var root: Descriptor?
        if let place = bundle.enteredRoot {
            let opened = try explaining("cannot enter \(state.id)") { () throws(KernelError) in
                try process.folder.open("root", [.pathOnly, .folder])
            }
            sources[place] = opened.number
            root = consume opened
        }
        defer { _ = root.take() }
        let input = LaunchInput(
            namespaces: [], steps: plan.steps, slotCount: plan.slotCount, standard: (0, 1, 2),
            terminal: plan.terminal, candidates: plan.candidates, arguments: plan.arguments,
            environment: plan.environment)
        let cgroup = try process.ownCgroup(state.id)
        var child: Child
        do throws(KernelError) {
            child = try Child.launch(
                input, sources: sources, cgroup: cgroup)
        } catch {
            throw error.number == Errno.noDevice || error.number == Errno.missing
                ? gone(state.id) : Problem("cannot enter \(state.id)", error)
        }
        do throws(Problem) {
            try state.resctrl?.join(child.pid)
            let terminal = try converse(&child, plan, state.id, wanted, execution)
            return Exec(child: child, terminal: terminal)
        } catch {
            child.kill()
            throw error
        }
    }

    private static func gone(_ id: String) -> Problem { Problem("cannot enter \(id)", "container not running") }

    /// Answers the child until it is the program. A failure is told at the end, when both processes are known: each
    /// of them may be the first to speak.
    private static func converse(
        _ child: inout Child, _ plan: LaunchPlan, _ id: String, _ wanted: SpecProcess, _ execution: BundleExecution
    ) throws(Problem) -> Descriptor? {
        var terminal: Descriptor?
        var hasEntered = false
        var problem: Problem?
        do throws(KernelError) { try child.go() } catch { throw gone(id) }
        while true {
            let message = try explaining("cannot enter \(id)") { () throws(KernelError) in try child.receive() }
            switch consume message {
            case .finished:
                if let problem { throw problem }
                // Killed with the container before it could say a word.
                guard hasEntered else { throw gone(id) }
                if let file = execution.pidFile { try BundleRuntime.write(child.pid, to: file) }
                return terminal
            case .unborn(let error): problem = Problem("cannot enter \(id)", error)
            case .failed(let step, let error, let detail): problem = failure(plan, step, error, detail, id)
            case .terminal(let master):
                if let socket = execution.consoleSocket {
                    try BundleRuntime.hand(master, to: socket, wanted.consoleSize)
                } else {
                    BundleRuntime.size(master, wanted.consoleSize)
                    terminal = consume master
                }
                do throws(KernelError) { try child.go() } catch { throw gone(id) }
            case .entered(let pid, let pidfd):
                do throws(KernelError) { try child.become(pid: pid, pidfd) } catch {
                    throw Problem("cannot enter \(id)", error)
                }
                hasEntered = true
            case .root: break  // Its plan has no such step, and neither the next.
            case .listener: break
            case .ready: break
            case .network: break
            case .held: break
            }
        }
    }

    private static func failure(
        _ plan: LaunchPlan, _ step: Int?, _ error: KernelError, _ detail: String, _ id: String
    ) -> Problem {
        guard let step, plan.steps.indices.contains(step) else {
            return LaunchFailure.problem(plan, step: step, error, detail: detail)
        }
        switch (plan.steps[step], error.number) {
        case (.join, Errno.noProcess), (.enter, Errno.noMemory): return gone(id)
        case (.join, Errno.permission):
            return Problem(
                "cannot enter \(id)", "this user may not join its namespaces",
                hint: "run codex32 as the user who made it, and outside of other containers")
        case (.enter, Errno.wouldBlock): return Problem("cannot enter \(id)", "it has as many processes as it may have")
        case (.openTerminals, _):
            return Problem(
                "cannot make a terminal in \(id)", "its /dev/pts holds no terminals: \(error.reason)",
                hint: "leave out --tty")
        case (.execute, _):
            return BundleRuntime.notRun(plan, error) ?? LaunchFailure.problem(plan, step: step, error, detail: detail)
        default: return LaunchFailure.problem(plan, step: step, error, detail: detail)
        }
    }
}

extension ContainerProcess {
    /// The cgroup that it is in, opened, for what is born beside it; nil: it is this process's own, or the machine has
    /// no cgroup v2.
    borrowing func ownCgroup(_ id: String) throws(Problem) -> Descriptor? {
        if Descriptor.isMissing("/sys/fs/cgroup/cgroup.controllers") { return nil }
        let (theirs, ours) = try explaining("cannot read the cgroup of \(id)") {
            () throws(KernelError) -> (String, String) in
            (try folder.contents(of: "cgroup"), try Descriptor.contents(of: "/proc/self/cgroup"))
        }
        if theirs == ours { return nil }
        guard let path = theirs.split(separator: "\n").first(where: { $0.hasPrefix("0::/") })?.dropFirst(3),
            !path.split(separator: "/").contains("..")
        else {
            throw Problem(
                "cannot enter \(id)", "its cgroup cannot be seen from here",
                hint: "run codex32 outside of other containers")
        }
        return try explaining("cannot open the cgroup of \(id)") { () throws(KernelError) -> Descriptor? in
            try Descriptor.open("/sys/fs/cgroup\(path)", [.read, .folder, .noFollow])
        }
    }
}

extension ExecSession {
    /// Watches a program on this process's own streams to its end, and returns its status.
    mutating func foreground(_ exec: borrowing Exec, terminal: Bool) throws(Problem) -> Int32 {
        let raw = terminal ? RawTerminal(.input) : nil
        let end = try run(exec, input: terminal, timeLimit: nil)
        _ = consume raw
        loss.tell()
        return end.map { $0.exitCode ?? 128 + ($0.signal ?? 0) } ?? 0
    }
}
