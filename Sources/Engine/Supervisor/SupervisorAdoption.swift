internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// Taking over a program whose supervisor was killed; `Adoption` is the side of the command that finds it.
extension Program {
    /// Opens a program that runs, with its cgroup and its output: by its record, which may be anybody's handiwork, so
    /// that everything is looked at before it is believed.
    ///
    /// - Throws: what makes it another process, or one that cannot be looked after: ``Problem/isLasting`` says whether
    ///   that is so for ever.
    static func adopt(
        _ record: ContainerRecord, _ configuration: ContainerConfiguration, in container: borrowing ContainerFolder
    ) throws(Problem) -> Program {
        let what = "cannot adopt \(record.name)"
        let gone = Problem(what, "its program is gone")
        guard let life = record.state.life else { throw gone }
        let held = try explaining(what) { () throws(KernelError) in try ContainerProcess.hold(life.process) }
        guard let process = held else { throw gone }
        guard try explaining(what, { () throws(KernelError) in try process.isFirst() }) else { throw gone }
        let path = container.runtimePath
        let spool = try explaining(what) { () throws(KernelError) in try OutputSpool(openIn: path, configuration.log) }
        let child = try explaining(what) { () throws(KernelError) in
            try Child(adopting: life.process.pid, process.pidfd.duplicate())
        }
        let age = life.process.age ?? max(Clock.realtime - life.startedAt, 0)
        return Program(
            adopting: child, cgroup: try cgroup(process, record), life: life, began: Clock.monotonic - age,
            spool: spool)
    }

    private static func cgroup(
        _ process: borrowing ContainerProcess, _ record: ContainerRecord
    ) throws(Problem) -> Cgroup? {
        guard let path = record.cgroup else { return nil }
        // That the program is in it: this supervisor will kill all that is there.
        _ = try process.cgroup(record)
        return try explaining("cannot open the cgroup of \(record.name)") { () throws(KernelError) in
            try Cgroup(existing: path)
        }
    }
}

extension Supervisor {
    /// Makes the files for the output of a program that is to outlive this process; nil: it is not.
    var spoolMaker: (() throws(Problem) -> OutputSpool)? {
        guard configuration.orphan == .adopt else { return nil }
        let (path, policy, name) = (place.value.runtimePath, configuration.log, record.name)
        return { [log] () throws(Problem) -> OutputSpool in
            do throws(KernelError) { return try OutputSpool(makeIn: path, policy, at: log.position) } catch {
                throw Problem(
                    "cannot keep the output of \(name) safe in \(path)", error,
                    hint: "leave out --orphan adopt, or choose another folder with --root")
            }
        }
    }

    /// Goes on where the former supervisor was: log, limits, health, and a stop that was under way.
    ///
    /// - Throws: when this process cannot do it now; nothing of the container is changed then, and another may.
    func adopt(_ adopted: Program) throws(Problem) {
        let before = record.supervisor
        record.supervisor = try ownIdentity()
        do throws(Problem) { try place.value.write(record, holding: lock.value) } catch {
            record.supervisor = before
            throw error
        }
        program = adopted
        failures = record.restarts
        passPending(adopted)
        beginHealth(resuming: true)
        do throws(KernelError) { try watch(adopted) } catch { throw Problem("cannot watch \(record.name)", error) }
        journal.append("adopt", record)
        // Its patience begins anew: how much of it was left is not known.
        if record.state.kind == .stopping {
            sendStop(adopted, signal: limits.stopSignal, timeout: limits.stopTimeout)
        }
    }
}

extension Verdict {
    /// What can be said of a program that was adopted: that it ended, what was done to it, and what its cgroup tells.
    /// Its status was for its parent alone (wait(2)).
    mutating func settleUnseen(_ program: Program, _ limits: RunConfiguration) {
        if !program.hasCgroup { (cpuUserSeconds, cpuSystemSeconds, peakMemoryBytes) = (nil, nil, nil) }
        if let carried = program.carriedOut {
            (reason, signal) = (program.ending ?? .signaled, carried)
        } else if program.wasKilled {
            (reason, signal) = (program.ending ?? .killed, Signal.kill)
        } else if let kills = oomKills, kills > 0 {
            (reason, signal) = (program.ending ?? .oom, Signal.kill)
        } else if let seconds = limits.request.cpuSeconds,
            (cpuUserSeconds ?? 0) + (cpuSystemSeconds ?? 0) >= Double(seconds) * 0.95
        {
            // RLIMIT_CPU, which the kernel keeps by ticks, was a moment before the supervisor.
            (reason, signal) = (program.ending ?? .cpuTime, Signal.kill)
        } else if let asked = program.stopSignal {
            (reason, signal) = (program.ending ?? .signaled, asked)
            note = "it ended after the signal that it was sent; its own status was for the supervisor that started it"
        } else {
            reason = .engine
            note = "it ended by itself, and its status was for the supervisor that started it, which was killed before"
        }
    }
}

extension ContainerProcess {
    /// Whether it is the first process of a container, and not just one that has its number and start time.
    fileprivate borrowing func isFirst() throws(KernelError) -> Bool {
        let text = try unlessMissing { () throws(KernelError) in try folder.contents(of: "status") }
        return text.map { ProcessStatus(text: $0).isFirstOfNamespace } ?? false
    }
}

extension Problem {
    /// Whether it keeps a program from being adopted, or started again, tomorrow too: something is gone, or is not what
    /// codex32 made, but somebody else's. A want of descriptors, memory or room, or an interruption, shows nothing of
    /// the kind, and no running program is given up for it.
    var isLasting: Bool {
        guard let cause else { return true }
        let strange = [Errno.loop, Errno.isFolder, Errno.invalid, Errno.overflow, Errno.denied]
        return cause.isAbsence || strange.contains(cause.number)
    }
}
