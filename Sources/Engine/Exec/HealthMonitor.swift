internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// The health checks of the present run of a container's program.
final class HealthMonitor {
    let check: HealthCheck
    let timer: Timer
    var state = HealthState()
    var report = HealthReport()
    var run: HealthRun?
    /// Commands that wait for the end of the check under way.
    var askers: [Peer] = []
    /// The container was paused while the check was under way: its result says nothing.
    var isVoid = false

    init(_ check: HealthCheck) throws(KernelError) {
        self.check = check
        timer = try Timer()
    }
}

extension Supervisor {
    /// Nanoseconds that a check has beyond its time limit, which its own process enforces.
    private static let grace: Int64 = 5_000_000_000

    /// Begins to check the program that has just started, or goes on where a killed supervisor was.
    func beginHealth(resuming: Bool = false) {
        guard let check = configuration.health else { return }
        let former = resuming ? place.value.healthReport() : nil
        if !resuming { try? place.value.folder.remove(HealthReport.name) }
        do throws(KernelError) {
            let monitor = try HealthMonitor(check)
            if resuming { monitor.resume(record.health, former) }
            try events.add(monitor.timer.descriptor.number, token: Token.health)
            try monitor.timer.set(nanoseconds: check.interval)
            health = monitor
        } catch {
            // Without a timer there is no check, and so nothing that could be called healthy.
            health = nil
        }
    }

    /// The program has ended: its checks too.
    func endHealth() {
        guard let monitor = health else { return }
        if let run = monitor.run {
            run.child.kill()
            forget(run)
        }
        events.remove(monitor.timer.descriptor.number)
        health = nil
        answer(monitor, Problem("cannot check the health of \(record.name)", "its program has ended").answer)
    }

    func handleHealth(_ token: UInt64) {
        guard let monitor = health else { return }
        switch token {
        case Token.health:
            try? monitor.timer.set(nanoseconds: 0)
            if let run = monitor.run {
                // Its own limit did not hold: it may be frozen, or out of memory.
                try? run.child.signal(Signal.kill)
            } else {
                startCheck(monitor)
            }
        case Token.healthOutput:
            if let run = monitor.run, !run.read() { events.remove(run.pipe.value.number) }
        default:
            if let run = monitor.run, let end = try? run.child.reap(wait: false) { finish(monitor, run, end) }
        }
    }

    /// Makes a check now, for a command that waits for it; one that is under way counts.
    func checkHealth(for peer: Peer) throws(Problem) {
        let what = "cannot check the health of \(record.name)"
        guard configuration.health != nil else {
            throw Problem(what, "it has no health check", hint: "codex32 create --health-cmd COMMAND ...")
        }
        guard record.state.kind == .running, let monitor = health else {
            throw Problem(what, "it is \(record.state.kind.rawValue)")
        }
        if monitor.run == nil { startCheck(monitor) }
        guard monitor.run != nil else { throw Problem(what, "the check could not be started") }
        monitor.askers.append(peer)
    }

    /// The container was frozen or thawed.
    func noteHealthPause() { health?.isVoid = true }

    private func startCheck(_ monitor: HealthMonitor) {
        // What is frozen cannot answer, and what is being stopped need not.
        guard record.state.kind == .running else { return wait(monitor) }
        monitor.isVoid = false
        do throws(Problem) {
            let run = try HealthRun(record.id, storage)
            monitor.run = run
            try explaining("cannot watch a health check") { () throws(KernelError) in
                try events.add(run.child.pidfd.number, token: Token.healthProcess)
                try events.add(run.pipe.value.number, token: Token.healthOutput)
                try monitor.timer.set(nanoseconds: monitor.check.timeout &+ Supervisor.grace)
            }
        } catch {
            if let run = monitor.run {
                run.child.kill()
                forget(run)
            }
            monitor.run = nil
            take(monitor, 125, Array(error.description.utf8), startedAt: Clock.realtime)
            wait(monitor)
        }
    }

    private func wait(_ monitor: HealthMonitor) { try? monitor.timer.set(nanoseconds: monitor.check.interval) }

    private func forget(_ run: HealthRun) {
        events.remove(run.child.pidfd.number)
        events.remove(run.pipe.value.number)
    }

    private func finish(_ monitor: HealthMonitor, _ run: HealthRun, _ end: ProcessEnd) {
        _ = run.read()
        forget(run)
        monitor.run = nil
        wait(monitor)
        guard !monitor.isVoid, record.state.kind == .running else {
            return answer(
                monitor,
                Problem("cannot check the health of \(record.name)", "it was paused or stopped meanwhile").answer)
        }
        take(monitor, end.exitCode ?? 128 + (end.signal ?? 0), run.output, startedAt: run.startedAt)
    }

    /// Takes a result, writes it down, and tells whoever waits for it.
    private func take(_ monitor: HealthMonitor, _ status: Int32, _ output: [UInt8], startedAt: Int64) {
        let before = monitor.state.status
        let sinceStart = program.map { Clock.monotonic - $0.began } ?? 0
        monitor.state.take(passed: status == 0, sinceStart: sinceStart, by: monitor.check)
        let text = String(decoding: output, as: UTF8.self)
        monitor.report.add(.init(start: startedAt, end: Clock.realtime, exitStatus: status, output: text))
        let document = monitor.report.document(monitor.state)
        // Gone with the power, it is only missed until the next check.
        try? place.value.folder.replace(HealthReport.name, with: document.text(pretty: true) + "\n", durable: false)
        let now = monitor.state.status
        if now != before {
            record.health = now.rawValue
            save()
            journal.append("health", record, [.init("status", .string(now.rawValue))])
        }
        answer(
            monitor,
            .members([
                "status": .string(now.rawValue), "exitStatus": .number(status), "output": .string(text),
                "failingStreak": .number(monitor.state.failures),
            ]))
    }

    private func answer(_ monitor: HealthMonitor, _ answer: JSON) {
        let packet = Array(answer.text().utf8)
        for asker in monitor.askers {
            for (token, peer) in peers where peer === asker { deliver(packet, to: peer, token) }
        }
        monitor.askers = []
    }
}

extension Problem {
    fileprivate var answer: JSON { .members(["problem": document]) }
}
