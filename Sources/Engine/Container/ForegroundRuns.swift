internal import LinuxKernel
internal import OCISpec

/// A `run` without `-d`, as other commands meet it by its name. It has no supervisor to ask: it can be looked at and
/// signalled, other programs can be run in it, and all else is its terminal's.
extension RunningContainer {
    /// The foreground run of this name, id, or beginning of an id; nil: there is none.
    static func find(_ reference: String, _ storage: Storage) -> RunningContainer? {
        find(reference, among: (try? all(storage)) ?? [])
    }

    public static func find(_ reference: String, among runs: [RunningContainer]) -> RunningContainer? {
        if let run = runs.first(where: { $0.name == reference || $0.id == reference }) { return run }
        let matches = reference.utf8.count >= 2 ? runs.filter { $0.id.hasPrefix(reference) } : []
        return matches.count == 1 ? matches[0] : nil
    }

    /// How long a verb waits for a program to begin, in milliseconds.
    static let patience = 5000

    /// The same, when its program has begun. One that takes longer than `milliseconds` over it is returned as it is.
    static func findBegun(
        _ reference: String, _ storage: Storage, milliseconds: Int = patience
    ) -> RunningContainer? {
        let end = Clock.monotonic + Int64(milliseconds) * 1_000_000
        while true {
            guard let run = find(reference, storage) else { return nil }
            if run.hasBegun || Clock.monotonic >= end { return run }
            Clock.sleep(milliseconds: 5)
        }
    }

    /// Whether the number is that of its program: a child of its `run`, and nobody else's.
    fileprivate var hasItsProgram: Bool {
        guard let pid, let owner, let status = try? ProcessStatus(pid: pid) else { return false }
        return status.number("PPid") == Int(owner)
    }
}

extension Containers {
    /// Sends a signal to a foreground run, as a person at its terminal would.
    ///
    /// Those that `run` passes on go to it, which knows how pid 1 of a namespace takes them; the others, SIGKILL
    /// among them, go to the program, so that `run` sees its end and clears away.
    func kill(_ run: RunningContainer, signal: Int32) throws(Problem) {
        let what = "cannot kill \(run.name ?? run.id)"
        let ended = Problem(what, "it has just ended")
        // Before execve(2) a signal would hit the preparations: stopped there, neither `run` nor the program goes on.
        guard let pid = run.pid, let number = run.owner, run.hasBegun || signal == Signal.kill else {
            throw Problem(what, "its program has not begun yet", hint: "try again")
        }
        guard let owner = ProcessIdentity(of: number), let program = ProcessIdentity(of: pid),
            let ownersDescriptor = owner.open(), let programsDescriptor = program.open(),
            // Looked at with both descriptors held. While the entry is locked the owner lives, and so did under
            // this number since the entry was read; and the program is its child, and nobody else's.
            RunningContainer.find(run.id, storage)?.pid == pid, run.hasItsProgram,
            !programsDescriptor.waitReadable(milliseconds: 0)
        else { throw ended }
        do {
            if Signal.forwarded.contains(signal) {
                try ownersDescriptor.signal(signal)
            } else {
                try programsDescriptor.signal(signal)
            }
        } catch {
            if error.number == Errno.noProcess { throw ended }
            throw Problem(what, error)
        }
    }

    /// What `top` shows of one.
    func processes(of run: RunningContainer) throws(Problem) -> [ContainerProcessLine] {
        let record = try record(of: run, to: "show the processes of")
        return try ContainerProcesses(record).lines(namespace: nil)
    }

    /// What `exec` goes by: a foreground run whose program has begun, as if it were a container.
    func recordForExec(of run: RunningContainer) throws(Problem) -> ContainerRecord {
        let what = "run a program in"
        guard run.hasBegun else {
            throw Problem("cannot \(what) \(run.name ?? run.id)", "its program has not begun yet", hint: "try again")
        }
        guard run.configuration != nil else {
            throw Problem(
                "cannot \(what) \(run.name ?? run.id)",
                "it is a foreground run whose environment and arguments are too large to be kept",
                hint: "start it with -d: codex32 run -d ...")
        }
        return try record(of: run, to: what)
    }

    private func record(of run: RunningContainer, to verb: String) throws(Problem) -> ContainerRecord {
        let name = run.name ?? run.id
        // The identity first, then the looks at who has the number: the entry's owner lives, and is its parent.
        guard let pid = run.pid, let owner = run.owner, let process = ProcessIdentity(of: pid),
            let parent = ProcessIdentity(of: owner), RunningContainer.find(run.id, storage)?.pid == pid,
            run.hasItsProgram
        else { throw Problem("cannot \(verb) \(name)", "its program does not run now", hint: "try again") }
        var record = ContainerRecord(
            id: run.id, name: name, createdAt: 0, labels: [], configuration: run.configuration ?? .object([]))
        record.cgroup = run.cgroupParent.map { "\($0)/\(run.id)" }
        // The limits that its program began with are this one's.
        record.supervisor = parent
        try record.become(.running(.init(process: process, startedAt: 0)))
        return record
    }
}
