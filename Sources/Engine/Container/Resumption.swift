internal import LinuxKernel
internal import OCISpec

/// Containers whose restart policy goes on where their supervisor is gone: one that waited for its next start, and one
/// whose program ended with its supervisor, or without it.
///
/// Both become, or stay, `restarting` in their record; the command that meets one starts another supervisor, which
/// waits out the rest of the delay and starts the program. That is of one boot of the machine only: after another,
/// `system boot` starts what is to run.
enum Resumption {
    /// What follows the end of a program that no supervisor saw. False: its policy asks for no other start.
    static func follows(_ ending: ContainerState.Ending, of record: inout ContainerRecord) -> Bool {
        if case .restarting = record.state { return true }
        guard let policy = record.restartPolicy,
            policy.restarts(status: ending.status, soFar: record.restarts, stopped: record.wasStopped)
        else { return false }
        let delay = RestartPolicy.delay(after: record.restarts)
        record.restarts += 1
        return (try? record.become(.restarting(ending, at: Clock.realtime + delay))) != nil
    }

    /// Nanoseconds until the next start. The record is a file and the clock may have been set: never longer than any
    /// delay is.
    static func rest(until at: Int64) -> Int64 {
        let (rest, overflows) = at.subtractingReportingOverflow(Clock.realtime)
        return overflows ? 1 : min(max(rest, 1), RestartPolicy.longestDelay)
    }

    /// Puts down that the policy cannot be followed: what keeps every other supervisor from starting the program.
    static func giveUp(
        _ container: borrowing ContainerFolder, holding lock: borrowing ContainerLock, because problem: Problem
    ) throws(Problem) {
        var record = try container.written()
        guard case .restarting(let ending, _) = record.state else { return }
        try record.become(.exited(ending))
        record.supervisor = nil
        try container.write(record, holding: lock)
        EventJournal(container.storage).append(
            "die", record,
            [.init("exitStatus", .number(ending.status)), .init("problem", .string(problem.description))])
    }
}

extension Supervisor {
    /// Goes on where the former supervisor was, or would have been: before the program's next start.
    ///
    /// - Throws: when this process cannot do it now; nothing of the container is changed then, and another may.
    func resume() throws(Problem) {
        guard case .restarting(_, let at) = record.state else {
            throw Problem("cannot start \(record.name) again", "it is \(record.state.kind.rawValue)")
        }
        record.supervisor = try ownIdentity()
        try place.value.write(record, holding: lock.value)
        failures = record.restarts
        try explaining("cannot start \(record.name) again") { () throws(KernelError) in
            try again.set(nanoseconds: Resumption.rest(until: at))
        }
    }
}

extension ContainerRecord {
    /// As its configuration has it now; nil: it has none that is known.
    var restartPolicy: RestartPolicy? {
        if case .string(let text)? = configuration["restart"] { RestartPolicy(text) } else { nil }
    }
}
