public import LinuxKernel
internal import OCISpec
internal import Sandbox

extension Containers {
    /// Runs a second program in a container that runs, and returns its exit status: its own, or 128 and the signal's
    /// number; 0 as soon as it has begun when it is detached.
    ///
    /// - Throws: what kept it from starting: 126 not executable, 127 not found, 125 all else.
    /// - Parameter keeper: where there is one, `detachKeys` end it; see ``ExecKeeper``.
    public func exec(
        _ reference: String, _ configuration: ExecConfiguration, keeper: consuming ExecKeeper.Link? = nil
    ) throws(Problem) -> Int32 {
        // Nobody of the same user may look into codex32 while it sets up (ptrace(2), "dumpable").
        Machine.setDumpable(false)
        let container: ContainerStore.Found
        do { container = try store.look(for: reference) } catch {
            guard let run = RunningContainer.findBegun(reference, storage) else { throw error }
            let record = try recordForExec(of: run)
            return try self.run(configuration, in: record, try Exec.Ground(record, storage), keeper)
        }
        let seen = if let record = container.record { record } else { try container.folder.written() }
        let ground = try Exec.Ground(seen, storage)
        return try run(configuration, in: try view(container.folder, seen: seen), ground, keeper)
    }

    func run(
        _ configuration: ExecConfiguration, in record: ContainerRecord, _ ground: Exec.Ground,
        _ keeper: consuming ExecKeeper.Link? = nil
    ) throws(Problem) -> Int32 {
        let null = try explaining("cannot set up the standard streams") { () throws(KernelError) in
            try Descriptor.open("/dev/null", [.readWrite])
        }
        try keeper?.settle()
        // Before the program is there: from here on no signal ends this process without it.
        var session = try ExecSession()
        let standard: (Int32, Int32, Int32) =
            configuration.detach
            ? (null.number, null.number, null.number) : (configuration.interactive ? 0 : null.number, 1, 2)
        let exec = try Exec.start(configuration, in: record, ground, storage: storage, standard: standard)
        if configuration.detach { return 0 }
        let raw = configuration.terminal && configuration.interactive ? RawTerminal(.input) : nil
        let watched = try session.run(
            exec, input: configuration.interactive, timeLimit: configuration.timeLimit,
            detachKeys: configuration.detachKeys)
        _ = consume raw
        session.loss.tell()
        guard let end = watched else {
            keeper?.part()
            _ = try session.goOn(exec)
            return 0
        }
        return status(end, session.isLate, record)
    }

    private func status(_ end: ProcessEnd, _ isLate: Bool, _ record: ContainerRecord) -> Int32 {
        if isLate {
            StandardStream.error.print("codex32: the program took too long and was killed\n")
            return 124
        }
        if end.signal == Signal.kill, ends(record) {
            StandardStream.error.print("codex32: \(record.name) has ended, and the program with it\n")
        }
        return end.exitCode ?? 128 + (end.signal ?? 0)
    }

    /// Whether the container's first process ends too: it waits for all others to be reaped (pid_namespaces(7)), so
    /// its own end comes a moment after that of this program.
    private func ends(_ record: ContainerRecord) -> Bool {
        guard let process = record.state.life?.process, let first = process.open() else { return true }
        // How long a moment is, on a machine that is busy, is not known; that it has begun to end is.
        if first.waitReadable(milliseconds: 200) { return true }
        return first.waitReadable(milliseconds: process.isExiting ? 10_000 : 0)
    }
}
