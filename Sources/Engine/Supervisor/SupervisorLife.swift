internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// Starting, ending, starting again.
extension Supervisor {
    /// Starts the program; the record then says that it runs.
    func begin() throws(Problem) {
        let before = record
        let layer = LayerStore(id: record.id, storage: storage)
        let started = try Program.start(
            limits, id: record.id, layer: layer, size: attachedSize ?? TerminalSize(rows: 24, columns: 80),
            spool: spoolMaker,
            receipt: { receipt throws(Problem) in
                // An older one in its place would tell of another start.
                try explaining("cannot write what is in force of \(record.name)") { () throws(KernelError) in
                    try place.value.folder.replace(
                        "receipt.json", with: receipt.text(pretty: true) + "\n", durable: false)
                }
            },
            prepared: { cgroup throws(Problem) in
                record.cgroup = cgroup
                let own = try ownIdentity()
                record.supervisor = own
                try place.value.note(StartNote(cgroup: cgroup, supervisor: own))
            }, born: { pid throws(Problem) in try place.value.note(pid) })
        program = started
        grownPipes = []
        do { try announce(started) } catch {
            // Running and not written down, or not watched, nobody would know of it.
            endHealth()
            started.child.kill()
            drain(started)
            Run.clear(started.cgroup)
            program = nil
            record = before
            save()
            throw error
        }
        if let stop = stopBeforeStart {
            stopBeforeStart = nil
            beginStop(signal: stop.signal, timeout: stop.timeout, byPerson: true)
        }
    }

    /// Without it in the record nobody could tell that this process looks after the container.
    func ownIdentity() throws(Problem) -> ProcessIdentity {
        guard let own = ProcessIdentity(of: Machine.pid) else {
            throw Problem(
                "cannot supervise \(record.name)", "/proc/\(Machine.pid)/stat or the boot's id cannot be read",
                hint: "mount -t proc proc /proc")
        }
        return own
    }

    private func announce(_ started: Program) throws(Problem) {
        record.notices = Receipt.notices(started.notices)
        record.health = configuration.health == nil ? nil : "starting"
        try record.become(.running(.init(process: started.identity, startedAt: started.startedAt)))
        try place.value.write(record, holding: lock.value)
        journal.append("start", record)
        beginHealth()
        do throws(KernelError) { try watch(started) } catch { throw Problem("cannot watch \(record.name)", error) }
    }

    /// The first start has failed: nothing of it stays, and the container is as it was.
    func giveUp() {
        try? Descriptor.open(storage.supervised, [.read, .folder]).removeTree(record.id)
        lock.value.release()
    }

    /// Watches a program that runs.
    func watch(_ program: Program) throws(KernelError) {
        try events.add(program.child.pidfd.number, token: Token.process)
        for output in program.outputs {
            try events.add(
                output.pipe.value.number, token: output.stream == .output ? Token.output : Token.error)
        }
        if let terminal = program.terminal {
            try terminal.value.setNonblocking(true)
            try events.add(terminal.value.number, token: Token.terminal)
        }
        if let denials = program.denials { try events.add(denials.number, token: Token.denied) }
        if let limit = limits.wallTime {
            let used = program.isAdopted ? Clock.monotonic - program.began : 0
            try wall.set(nanoseconds: max(limit - used, 1))
        }
        if limits.cpuTime != nil, program.hasCgroup { try cpu.set(nanoseconds: 1) }
    }

    /// Ends the program for a reason of ours.
    func end(_ reason: Verdict.Reason) {
        guard let program, program.ending == nil else { return }
        program.ending = reason
        sendStop(program, signal: limits.stopSignal, timeout: limits.stopTimeout)
    }

    func sendStop(_ program: Program, signal: Int32, timeout: Int64) {
        // Of several stops the most impatient one counts.
        let at = Clock.monotonic + min(timeout, Int64.max / 4)
        guard !program.hasEnded else { return }
        // A frozen program would never hear of it.
        if record.state.kind == .paused { program.freeze(false) }
        program.stopSignal = signal
        program.send(signal, reaper: limits.request.reaper)
        guard at < killAt ?? Int64.max else { return }
        killAt = at
        // Without the timer nobody would end a program that does not mind its signal.
        do { try stop.set(nanoseconds: max(timeout, 1)) } catch { program.kill() }
    }

    /// Begins to stop the container. The end comes as an event.
    func beginStop(signal: Int32?, timeout: Int64?, byPerson: Bool) {
        if byPerson { record.wasStopped = true }
        startsAgain = false
        if case .restarting(let ending, _) = record.state {
            try? again.set(nanoseconds: 0)
            try? record.become(.exited(ending))
            return finish(ending)
        }
        guard let program, let life = record.state.life else {
            stopBeforeStart = (signal, timeout)
            return
        }
        if record.state.kind != .stopping { try? record.become(.stopping(life)) }
        save()
        sendStop(program, signal: signal ?? limits.stopSignal, timeout: timeout ?? limits.stopTimeout)
    }

    /// The program has ended.
    func ended(_ program: Program, _ end: ProcessEnd) {
        program.hasEnded = true
        isOutputHeld = false
        endHealth()
        drain(program)
        log.finish()
        reportLog()
        for timer in [Token.wall, Token.cpu, Token.stop] { stopTimer(timer) }
        var verdict = Run.judge(
            end, program.ending, program.carriedOut, program.cgroup, limits, id: record.id,
            started: program.startedAt, wall: Clock.monotonic - program.began)
        if program.isAdopted { verdict.settleUnseen(program, limits) }
        verdict.denied = program.denials?.told(limits.request, verdict)
        Run.clear(program.cgroup)
        self.program = nil
        (pendingInput, inputEnds, killAt) = ([], false, nil)
        let ending = ContainerState.Ending(status: verdict.status, verdict: verdict.document)
        if verdict.reason == .oom { journal.append("oom", record) }
        journal.append("die", record, [.init("exitStatus", .number(ending.status)), .init("verdict", ending.verdict)])
        decide(ending, lasted: Clock.monotonic - program.began)
    }

    private func stopTimer(_ token: UInt64) {
        switch token {
        case Token.wall: try? wall.set(nanoseconds: 0)
        case Token.cpu: try? cpu.set(nanoseconds: 0)
        default: try? stop.set(nanoseconds: 0)
        }
    }

    /// What follows an end: another start, now or later, or the end of this process.
    /// - Parameter problem: why the start failed that somebody waits for; told when it is written down what follows.
    private func decide(_ ending: ContainerState.Ending, lasted: Int64, problem: Problem? = nil) {
        if lasted >= 10_000_000_000 { failures = 0 }
        let again = startsAgain && !isGoingDown
        let restart =
            !isGoingDown
            && policy.restarts(status: ending.status, soFar: record.restarts, stopped: record.wasStopped)
        guard again || restart else {
            try? record.become(.exited(ending))
            return finish(ending, problem)
        }
        let delay = again ? 0 : RestartPolicy.delay(after: failures)
        startsAgain = false
        if again { (record.restarts, record.wasStopped) = (0, false) } else { record.restarts += 1 }
        failures = again ? 0 : failures + 1
        try? record.become(.restarting(ending, at: Clock.realtime + delay))
        save()
        journal.append("restart", record, [.init("restarts", .number(record.restarts))])
        // Whoever waits for an end has seen one.
        answerWaiting(ending)
        if let problem { answerRestarting(JSON.members(["problem": problem.document])) }
        try? self.again.set(nanoseconds: max(delay, 1))
    }

    /// The policy as it is now: `update` may have changed it.
    private var policy: RestartPolicy { record.restartPolicy ?? configuration.restart }

    func startAgain() {
        guard case .restarting = record.state else { return }
        do throws(Problem) {
            try begin()
            answerRestarting(Control.done)
        } catch {
            // A start that fails is an end like any other, and the policy decides.
            program = nil
            let verdict = Verdict.notStarted(
                id: record.id, name: record.name, isolation: limits.request.level.rawValue)
            journal.append(
                "die", record,
                [.init("exitStatus", .number(error.status)), .init("problem", .string(error.description))])
            decide(
                ContainerState.Ending(status: error.status, verdict: verdict.document), lasted: 0, problem: error)
        }
    }

    /// Writes the last word, tells everybody, and ends this process.
    private func finish(_ ending: ContainerState.Ending, _ problem: Problem? = nil) {
        record.supervisor = nil
        record.cgroup = nil
        if record.health != nil { record.health = nil }
        let isLost = !save() && record.wasStopped && isStartedAgain
        try? Descriptor.open(storage.supervised, [.read, .folder]).removeTree(record.id)
        if configuration.removesItself { try? Removal.remove(place.value, record, volumes: true) }
        // Before anybody is told: who waited for the end may start or remove the container at once.
        lock.value.release()
        answerWaiting(ending, isLost: isLost)
        let problem = problem ?? Problem("cannot restart \(record.name)", "it was stopped meanwhile")
        answerRestarting(JSON.members(["problem": problem.document]))
        isDone = true
    }

    /// Whoever finds the record that stands may take the end for one that its policy answers, and start it again. An
    /// `update` that failed may have left another policy there.
    private var isStartedAgain: Bool {
        guard let written = try? place.value.written() else { return true }
        return !written.wasStopped && (written.restartPolicy ?? .no) != .no
    }

    /// - Parameter isLost: that it was stopped could not be written down.
    private func answerWaiting(_ ending: ContainerState.Ending, isLost: Bool = false) {
        let text = JSON.members([
            "status": .number(ending.status), "verdict": ending.verdict, "isLost": .bool(isLost),
        ]).text()
        for peer in peers.values where peer.role == .waiting { peer.send(Array(text.utf8)) }
        for peer in peers.values where peer.role == .attached { peer.send([Control.Frame.ended] + Array(text.utf8)) }
        let told = peers.filter { $0.value.role == .waiting || $0.value.role == .attached }
        Peer.flushNow(Array(told.values))
        for token in told.keys { drop(token) }
    }

    private func answerRestarting(_ answer: JSON) {
        let told = peers.filter { $0.value.role == .restarting }
        for peer in told.values { peer.send(Array(answer.text().utf8)) }
        Peer.flushNow(Array(told.values))
        for token in told.keys { drop(token) }
    }

    // MARK: CPU time

    /// Looks at the CPU time used so far, and comes back when the rest could be used up at the earliest.
    func checkCPU() throws(KernelError) {
        guard let limit = limits.cpuTime, let program, let used = CPUTime.used(by: program.cgroup) else {
            return try cpu.set(nanoseconds: 0)
        }
        let wait = CPUTime.untilNextLook(used: used, of: limit)
        try cpu.set(nanoseconds: wait ?? 0)
        if wait == nil { end(.cpuTime) }
    }
}

extension Program {
    var hasCgroup: Bool {
        switch cgroup {
        case .some: true
        case .none: false
        }
    }

    /// Freezes or thaws it (cgroup.freeze, Linux 5.2). False: it has no cgroup, or the kernel refused.
    @discardableResult
    func freeze(_ on: Bool) -> Bool {
        switch cgroup {
        case .some(let group):
            guard (try? group.folder.open("cgroup.freeze", [.write]).write(on ? "1" : "0")) != nil else { return false }
            for _ in 0..<1000 {
                if group.number("cgroup.events", key: "frozen") == (on ? 1 : 0) { return true }
                Clock.sleep(milliseconds: 2)
            }
            return false
        case .none: return false
        }
    }
}
