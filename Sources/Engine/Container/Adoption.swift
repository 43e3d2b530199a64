internal import LinuxKernel
internal import OCISpec

/// What a command does that finds a container's program without its supervisor, where its policy is
/// ``OrphanPolicy/adopt``: it starts another supervisor, which takes the lock over and goes on.
///
/// Killed at any moment, the command or the new supervisor leaves things as they were, and the next command does it
/// again. A program that cannot be adopted for good (its pipes are gone, its record makes no sense) is ended, as under
/// ``OrphanPolicy/end``, and its verdict says why.
enum Adoption {
    /// Whether there is a program to adopt, where its supervisor is gone. That it is, the caller knows: who has the
    /// container's lock need not ask, for a process that is being killed gives it up before it is a zombie.
    ///
    /// - Throws: what kept its program from being looked at.
    static func isDue(_ record: ContainerRecord) throws(Problem) -> Bool {
        guard record.isAdoptable, let process = record.state.life?.process else { return false }
        return try explaining("cannot look at the program of \(record.name)") { () throws(KernelError) in
            try process.isFirstOfNamespace()
        }
    }

    /// Has the container looked after again if that is due: its program adopted, or started again as its restart
    /// policy says (``Resumption``).
    ///
    /// - Returns: the lock, where the container has no supervisor: nothing was due, or the program was ended.
    /// - Throws: what keeps that from being done just now.
    static func offer(
        _ container: borrowing ContainerFolder, _ lock: consuming ContainerLock
    ) throws(Problem) -> ContainerLock? {
        // One whose record cannot be read has nothing to be looked after by, and its own words.
        guard var record = try? container.written() else { return lock }
        if try isDue(record) {
            guard let kept = try handOver(container, lock, record, .adopt) else { return nil }
            lock = kept
            record = try container.written()
        }
        guard record.state.isSupervised else { return lock }
        let mended = try Recovery.mend(container, record, holding: lock)
        guard mended.state.kind == .restarting else { return lock }
        return try handOver(container, lock, mended, .resume)
    }

    /// - Returns: nil: another supervisor has the container. The lock: none can ever have it, and that is written down.
    private static func handOver(
        _ container: borrowing ContainerFolder, _ lock: consuming ContainerLock, _ record: ContainerRecord,
        _ mode: SupervisorProcess.Mode
    ) throws(Problem) -> ContainerLock? {
        var report = try SupervisorProcess.spawn(container, lock, mode)
        guard let line = report.next() else {
            throw notNow(record, "its new supervisor ended at once")
        }
        guard let document = line["problem"] else { return nil }
        let problem = Problem(document)
        guard line["isForGood"] == .bool(true) else { throw notNow(record, "\(problem.what): \(problem.why)") }
        // Its last descriptor goes with the process that has just said this.
        for _ in 0..<2000 {
            if let lock = try container.tryLock() {
                if mode == .resume {
                    try Resumption.giveUp(container, holding: lock, because: problem)
                    return lock
                }
                let latest = try container.written()
                if try isDue(latest) {
                    _ = try Recovery.mend(
                        container, latest, holding: lock, because: "it could not be adopted: \(problem.why)")
                }
                return lock
            }
            // Another command was faster: it finds the same.
            if container.callSupervisor() != nil { return nil }
            Clock.sleep(milliseconds: 5)
        }
        throw notNow(record, "another command has been at work on it for ten seconds")
    }

    private static func notNow(_ record: ContainerRecord, _ why: String) -> Problem {
        let (verb, state) = record.state.isActive ? ("adopt", "runs") : ("start", "is to be started again")
        return Problem(
            "cannot \(verb) \(record.name), which \(state) without a supervisor", why,
            hint: "codex32 system recover tries again; codex32 remove -f \(record.name) ends it")
    }
}
