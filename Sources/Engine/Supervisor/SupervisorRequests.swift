internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// Carrying out what commands ask for.
extension Supervisor {
    /// Does it, and returns the answer; nil: the answer comes with the program's end.
    func carryOut(_ request: Control.Request, _ peer: Peer) throws(Problem) -> JSON? {
        switch request {
        case .stop(let signal, let timeout):
            peer.role = .waiting
            beginStop(signal: signal, timeout: timeout, byPerson: true)
            return nil
        case .restart(let timeout):
            peer.role = .restarting
            if case .restarting = record.state {
                (failures, record.restarts, record.wasStopped) = (0, 0, false)
                try? again.set(nanoseconds: 1)
                return nil
            }
            beginStop(signal: nil, timeout: timeout, byPerson: true)
            startsAgain = true
            return nil
        case .state: return JSON.members(["state": .string(record.state.kind.rawValue)])
        case .kill(let signal):
            guard let program else { throw notRunning("kill") }
            if signal == Signal.kill { record.wasStopped = true }
            program.send(signal, reaper: limits.request.reaper)
            return Control.done
        case .pause: return try freeze(true)
        case .unpause: return try freeze(false)
        case .wait:
            peer.role = .waiting
            return nil
        case .attach(let input, let size):
            peer.role = .attached
            peer.sendsInput = input && limits.interactive
            if let size {
                attachedSize = size
                if let terminal = program?.terminal { size.apply(to: terminal.value) }
            }
            return JSON.members(["input": .bool(limits.interactive), "terminal": .bool(limits.request.terminal)])
        case .rename(let name, let old): return try rename(name, from: old)
        case .update(let change): return try update(change)
        case .checkHealth:
            try checkHealth(for: peer)
            return nil
        }
    }

    private func notRunning(_ verb: String) -> Problem {
        Problem(
            "cannot \(verb) \(record.name)", "it is \(record.state.kind.rawValue)", hint: "codex32 start \(record.name)"
        )
    }

    private func freeze(_ on: Bool) throws(Problem) -> JSON {
        let verb = on ? "pause" : "unpause"
        guard let program, let life = record.state.life else { throw notRunning(verb) }
        guard record.state.kind == (on ? .running : .paused) else {
            throw Problem("cannot \(verb) \(record.name)", "it is \(record.state.kind.rawValue)")
        }
        guard program.hasCgroup else {
            throw Problem(
                "cannot \(verb) \(record.name)", "it has no cgroup v2, and only that can freeze a program",
                hint: "codex32 doctor says how to get one")
        }
        guard program.freeze(on) else {
            throw Problem("cannot \(verb) \(record.name)", "the kernel did not do it: cgroup.freeze")
        }
        noteHealthPause()
        try record.become(on ? .paused(life) : .running(life))
        save()
        journal.append(verb, record)
        return Control.done
    }

    private func rename(_ name: String, from old: String?) throws(Problem) -> JSON {
        try Renaming.check(record, isCalled: old)
        var renaming = try Renaming(record, to: name, storage: storage)
        defer { limits.name = record.name }
        try renaming.carryOut(&record, in: place.value, holding: lock.value)
        journal.append("rename", record, [.init("oldName", .string(renaming.old))])
        return Control.done
    }

    private func update(_ change: JSON) throws(Problem) -> JSON {
        let updated = try ConfigurationChange(change).applied(to: record, storage: storage)
        let change = try apply(updated.limits)
        let before = record.configuration
        record.configuration = updated.configuration
        do throws(Problem) { try place.value.write(record, holding: lock.value, lasting: true) } catch {
            // What cannot be written down does not hold either.
            record.configuration = before
            if let program, let change {
                switch program.cgroup {
                case .some(let group): change.undo(group)
                case .none: break
                }
            }
            throw error
        }
        limits.request.limits = updated.limits
        journal.append("update", record)
        return .members(["ok": .bool(true), "inForce": change?.inForce ?? .null])
    }

    /// Nil: there is nothing to which they would be applied now.
    private func apply(_ wanted: CgroupLimits) throws(Problem) -> LimitChange? {
        guard let program else { return nil }
        let before = limits.request.limits
        switch program.cgroup {
        case .some(let group): return try LimitChange(to: wanted, from: before, in: group)
        case .none:
            guard wanted != before else { return nil }
            throw Problem(
                "cannot change the limits of \(record.name)", "it runs without cgroup v2",
                hint: "codex32 doctor says how to get one; a stopped container can be changed")
        }
    }
}

extension Control {
    static let done = JSON.members(["ok": .bool(true)])
}
