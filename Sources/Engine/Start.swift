internal import LinuxKernel
internal import Sandbox

/// Brings a plan to life: descriptors, cgroup, clone3, id maps, and the talk with the child until
/// execve has happened or failed.
enum Start {
    /// What the start needs beside the plan.
    struct Streams {
        var standard: (Int32, Int32, Int32)
        /// What the program's terminal begins with; nil: as the caller's.
        var size: TerminalSize?
    }

    /// What has been started.
    struct Started: ~Copyable {
        let child: Child
        let terminal: Descriptor?
        /// Of its filter, where the plan has that told.
        let listener: Descriptor?
        var receipt: Receipt?

        init(
            child: consuming Child, terminal: consuming Descriptor?, listener: consuming Descriptor?, receipt: Receipt?
        ) {
            self.child = child
            self.terminal = terminal
            self.listener = listener
            self.receipt = receipt
        }
    }

    /// - Parameters:
    ///   - observer: sees the program's calls, from the filter on.
    ///   - newborn: the plan's child, where that was made before the plan was.
    ///   - meanwhile: what the parent has to do of its own before the program runs, with the child's pid and the plan,
    ///     while the child makes its mounts.
    static func launch(
        _ plan: inout LaunchPlan, id: String, streams: Streams, cgroup: borrowing Cgroup?, receipt wanted: Bool,
        newborn: Newborn? = nil, observer: RunObserver? = nil,
        meanwhile: (Int32, LaunchPlan) throws(Problem) -> Void
    ) throws(Problem) -> Started {
        let sources = try OpenedSources(plan)
        let input = LaunchInput(
            namespaces: plan.namespaces, steps: plan.steps, slotCount: plan.slotCount, standard: streams.standard,
            terminal: plan.terminal, candidates: plan.candidates, arguments: plan.arguments,
            environment: plan.environment)
        let child = try start(input, &plan, sources, cgroup, newborn)
        do {
            try meanwhile(child.pid, plan)
            if !plan.hold { try tell { () throws(KernelError) in try child.go() } }
            var receipt: Receipt? = wanted ? Receipt(plan: plan, id: id) : nil
            var listener: Descriptor?
            let terminal = try converse(child, plan, cgroup, size: streams.size, &receipt, &listener, observer)
            return Started(child: child, terminal: terminal, listener: listener, receipt: receipt)
        } catch {
            child.kill()
            throw error
        }
    }

    /// The child on its way, with the plan.
    private static func start(
        _ input: LaunchInput, _ plan: inout LaunchPlan, _ sources: borrowing OpenedSources,
        _ cgroup: borrowing Cgroup?, _ newborn: Newborn?
    ) throws(Problem) -> Child {
        if let child = try newborn?.give(input, &plan, sources) { return child }
        let child = try bear(plan.identity) { () throws(Problem) in try clone(input, sources, cgroup) }
        do {
            if plan.identity != nil { plan.notices += try sources.mapOwners(plan, child: child.pid) }
            try tell { () throws(KernelError) in try child.go() }
            return child
        } catch {
            child.kill()
            throw error
        }
    }

    /// Makes a child, and writes its id maps: it then waits for its first word.
    ///
    /// The child inherits the flag and must be dumpable until its maps are written; it takes the flag away itself before
    /// it does anything else. This process is not dumpable a moment longer than that takes.
    static func bear(_ identity: IdentityMap?, _ make: () throws(Problem) -> Child) throws(Problem) -> Child {
        let child: Child
        do {
            Machine.setDumpable(true)
            defer { if !Machine.isRoot { Machine.setDumpable(false) } }
            child = try make()
        }
        do throws(Problem) { if let identity { try map(child, identity) } } catch {
            child.kill()
            throw error
        }
        return child
    }

    /// Writes the child's id maps. Where that fails because the child could not be born, this is the reason told.
    static func map(_ child: borrowing Child, _ identity: IdentityMap) throws(Problem) {
        do throws(Problem) { try identity.apply(to: child.pid) } catch {
            // What it said before is kept by the socket; ended, it says no more.
            try? child.signal(Signal.kill)
            if let message = try? child.receive(), case .unborn(let reason) = message { throw unborn(reason) }
            throw error
        }
    }

    /// Says a word to the child. One that is gone already has left its reason, which is read next.
    static func tell(_ word: () throws(KernelError) -> Void) throws(Problem) {
        do throws(KernelError) { try word() } catch {
            // Reset: it went with a word of ours unread.
            guard error.number == Errno.brokenPipe || error.number == Errno.connectionReset else {
                throw Problem("cannot start the sandbox", error)
            }
        }
    }

    private static func clone(
        _ input: LaunchInput, _ sources: borrowing OpenedSources, _ cgroup: borrowing Cgroup?
    ) throws(Problem) -> Child {
        do {
            switch cgroup {
            case .some(let group):
                let folder: Descriptor? = try group.folder.duplicate()
                return try Child.launch(input, sources: sources.numbers, cgroup: folder)
            case .none: return try Child.launch(input, sources: sources.numbers, cgroup: nil)
            }
        } catch { throw unborn(error) }
    }

    static func unborn(_ error: KernelError) -> Problem {
        let hint: String
        switch error.number {
        case Errno.noSpace where error.call == "unshare":
            hint = "one kind of namespaces is used up or switched off: sysctl user, the max_*_namespaces"
        case Errno.noSpace, Errno.userLimit:
            hint = "user namespaces are used up or switched off: sysctl -w user.max_user_namespaces=65536"
        case Errno.permission:
            hint =
                "user namespaces are not allowed to this user: sysctl -w kernel.unprivileged_userns_clone=1, or run as root"
        default: hint = "codex32 doctor says what this machine offers"
        }
        return Problem("cannot make the namespaces", error, hint: hint)
    }

    /// Answers the child until it is the program. Returns the terminal's master.
    private static func converse(
        _ child: borrowing Child, _ plan: LaunchPlan, _ cgroup: borrowing Cgroup?, size: TerminalSize?,
        _ receipt: inout Receipt?, _ listener: inout Descriptor?, _ observer: RunObserver?
    ) throws(Problem) -> Descriptor? {
        var terminal: Descriptor?
        while true {
            let message = try explaining("cannot start the sandbox") { () throws(KernelError) in
                try observer?.waitForWord(of: child)
                return try child.receive()
            }
            switch consume message {
            case .finished: return terminal
            case .unborn(let error): throw unborn(error)
            case .failed(let step, let error, let detail):
                throw LaunchFailure.problem(plan, step: step, error, detail: detail)
            case .terminal(let master):
                // Before the program runs: it may look at once.
                if let size { size.apply(to: master) } else { StandardStream.input.copySize(to: master) }
                terminal = consume master
            case .listener(let told):
                if let observer { observer.listen(told) } else { listener = consume told }
                continue
            case .entered: break  // Its own plan has no such step.
            case .root: break
            case .ready: break
            case .network: break
            case .held(let namespaces):
                do throws(KernelError) {
                    try receipt?.readHeld(pid: child.pid, namespaces: namespaces, cgroup: cgroup)
                } catch {
                    // Of a child that has ended meanwhile nothing can be read: what it said before is kept by the socket.
                    try? child.signal(Signal.kill)
                    if let last = try? child.receive(), case .failed(let step, let reason, let detail) = last {
                        throw LaunchFailure.problem(plan, step: step, reason, detail: detail)
                    }
                    throw Problem("cannot read what is in force", error)
                }
                if let missing = receipt?.missingRequired().first {
                    throw Problem(
                        "\(missing.item.name) is required and not in force", missing.why,
                        hint: "codex32 doctor says what this machine offers")
                }
            }
            try explaining("cannot start the sandbox") { () throws(KernelError) in try child.go() }
        }
    }
}

/// A step that failed, in words for a person.
enum LaunchFailure {
    static func problem(_ plan: LaunchPlan, step: Int?, _ error: KernelError, detail: String) -> Problem {
        guard let step, plan.steps.indices.contains(step) else {
            return Problem("cannot start the sandbox", error.reason, hint: Problem.usualHint(error))
        }
        let failed = plan.steps[step]
        let why =
            detail.isEmpty ? error.reason : "\(error.reason) (\(detail.dropFirst(detail.hasPrefix("e ") ? 2 : 0)))"
        if error.number == Errno.loop, let problem = links(failed) { return problem }
        switch failed {
        case .execute: return notRun(plan, error)
        case .attach(_, let path, .systemFolder, _) where error.number == Errno.notFolder:
            return Problem(
                "cannot mount at \(path)", "the image's \(path) is not a plain folder",
                hint: "make it one: a link there could lead anywhere")
        case .newFileSystem(let type, _, _, _, _)
        where error.number == Errno.permission && (type == "proc" || type == "sysfs"):
            return Problem(
                failed.purpose, why,
                hint:
                    "codex32 runs in a container that hides part of its own \(type): start that one with fewer masks, or use minimal"
            )
        case .becomeRoot where error.number == Errno.permission || error.number == Errno.invalid:
            return Problem(failed.purpose, why, hint: "codex32 doctor says what this machine allows its users")
        case .resourceLimit where error.number == Errno.permission || error.number == Errno.invalid:
            return Problem(failed.purpose, why, hint: "choose one within codex32's own limits: ulimit -H -a shows them")
        case .open(let path, _, _, _) where error.number == Errno.stale:
            return Problem("cannot open \(path)", "it was exchanged while the sandbox was set up", hint: "try again")
        case .changeFolder(let path, _):
            return Problem("cannot enter the working folder \(path)", why, hint: "-w chooses another")
        default: return Problem(failed.purpose, why, hint: Problem.usualHint(error))
        }
    }

    private static func notRun(_ plan: LaunchPlan, _ error: KernelError) -> Problem {
        let program = plan.arguments.first ?? ""
        let what = "cannot run \(program)"
        switch error.number {
        case Errno.missing, Errno.notFolder:
            let why = program.contains("/") ? "no such file, or its interpreter is missing" : "not found in PATH"
            return Problem(what, why, hint: "is it in the image, and of this machine's architecture?", status: 127)
        case Errno.denied:
            return Problem(
                what, error.reason, hint: "is it a file, executable, and not on a noexec mount?", status: 126)
        case Errno.loop: return Problem(what, circle, hint: circleHint, status: 126)
        case Errno.notExecutable:
            return Problem(what, error.reason, hint: "begin a script with a #! line", status: 126)
        case Errno.tooBig:
            return Problem(
                what, error.reason,
                hint: "arguments and environment may take a quarter of --ulimit stack, 6 MiB at most",
                status: 126)
        default: return Problem(what, error.reason, hint: Problem.usualHint(error), status: 126)
        }
    }
}
