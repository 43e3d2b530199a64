internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// The supervisor as a process: how a command starts one, and what it does first.
///
/// `codex32 supervise DATA RUNTIME ID LOCK REPORT WHEN`: a verb that nobody types. LOCK is the descriptor that holds
/// the container's lock, REPORT a pipe to the command that waits for the start; WHEN is `now`, or `attached`: not
/// before the first client is there to see all that the program writes; `adopt`: the program runs already; or `resume`:
/// it is started again when its restart policy says.
public enum SupervisorProcess {
    public static let verb = "supervise"

    /// What the command is told while the container starts.
    enum Report {
        case listening
        case warning(String)
        case started
        case failed(Problem)
    }

    // MARK: In the command

    /// When the program starts.
    enum Mode: String {
        case now, attached
        /// It runs, and its supervisor is gone.
        case adopt
        /// It waits for its next start, and its supervisor is gone.
        case resume

        /// It goes on with what another supervisor began, and is in the record.
        var goesOn: Bool { self == .adopt || self == .resume }
    }

    /// Starts a supervisor for a container, and hands its lock over.
    static func spawn(
        _ container: borrowing ContainerFolder, _ lock: consuming ContainerLock, waitsForClient: Bool
    ) throws(Problem) -> StartReport {
        try spawn(container, lock, waitsForClient ? .attached : .now)
    }

    static func spawn(
        _ container: borrowing ContainerFolder, _ lock: consuming ContainerLock, _ mode: Mode
    ) throws(Problem) -> StartReport {
        let what = "cannot start the supervisor"
        let pipe = try explaining(what) { () throws(KernelError) in try Descriptor.pipe() }
        let reading = Descriptor(owning: pipe.read)
        let writing = Descriptor(owning: pipe.write)
        let arguments = [
            "codex32", verb, container.storage.data, container.storage.runtime, container.id,
            String(lock.file.number), String(writing.number), mode.rawValue,
        ]
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        try explaining(what) { () throws(KernelError) in
            try HostProgram.detach(
                "/proc/self/exe", arguments, environment: [path], keep: [lock.file.number, writing.number])
        }
        return StartReport(pipe: reading)
    }

    // MARK: In the supervisor

    /// The supervisor's whole life. Returns its exit status.
    public static func main(_ words: [String]) -> Int32 {
        guard words.count == 6, let lockNumber = Int32(words[3]), let reportNumber = Int32(words[4]), lockNumber > 2,
            reportNumber > 2, ContainerID.isValid(words[2]), let mode = Mode(rawValue: words[5])
        else {
            StandardStream.error.print("codex32: \(verb) is for codex32 itself: use start\n")
            return 125
        }
        let lock = ContainerLock(file: Descriptor(owning: lockNumber))
        var report: Owned<Descriptor>? = Owned(Descriptor(owning: reportNumber))
        let tell = { (line: JSON) in if let report { StartReport.say(line, on: report.value) } }
        // What keeps a program from being adopted, or started again, now, and will tomorrow (`isLasting`): then it is not
        // to run on by itself, or to be waited for.
        var isForGood = mode.goesOn
        do throws(Problem) {
            Machine.setDumpable(false)
            let container = try ContainerStore(Storage(data: words[0], runtime: words[1])).open(id: words[2])
            let (record, configuration) = try read(container, mode)
            try Program.protect(configuration.run)
            // Inherited on purpose, and not to be inherited further: not by the program, and by no helper.
            try explaining("cannot start the supervisor") { () throws(KernelError) in
                try lock.file.setCloseOnExec()
                try report?.value.setCloseOnExec()
            }
            let program = mode == .adopt ? try Program.adopt(record, configuration, in: container) : nil
            isForGood = false
            let supervisor = try Supervisor(
                container, lock: lock, record: record, configuration: configuration, from: program?.spool?.position)
            do throws(Problem) {
                if let program {
                    try supervisor.adopt(program)
                } else if mode == .attached {
                    tell(.members(["listening": .bool(true)]))
                    try supervisor.waitForClient(or: report!.value)
                }
                if mode.goesOn { if mode == .resume { try supervisor.resume() } } else { try supervisor.begin() }
            } catch {
                if !mode.goesOn { supervisor.giveUp() }
                throw error
            }
            for notice in supervisor.program?.notices ?? [] {
                tell(
                    .members([
                        "notice": .string(notice.item.name), "why": .string(notice.why),
                        "hint": .text(notice.hint), "waived": .bool(notice.waived),
                    ]))
            }
            tell(.members(["started": .number(supervisor.program?.child.pid)]))
            report = nil
            // Planning took memory that nothing needs any more; what stays, stays for as long as the container runs.
            Machine.trimHeap()
            try supervisor.run()
            return 0
        } catch {
            tell(.members(["problem": error.document, "isForGood": .bool(isForGood && error.isLasting)]))
            return error.status
        }
    }

    private static func read(
        _ container: borrowing ContainerFolder, _ mode: Mode
    ) throws(Problem) -> (ContainerRecord, ContainerConfiguration) {
        var record = try container.written()
        let configuration: ContainerConfiguration
        do {
            configuration = try ContainerConfiguration(
                record.configuration, name: record.name, labels: record.labels, storage: container.storage)
        } catch {
            throw Problem(
                "cannot start \(record.name)", error.description,
                hint: "codex32 inspect \(record.name) shows its record")
        }
        if !mode.goesOn { (record.wasStopped, record.restarts) = (false, 0) }
        return (record, configuration)
    }
}

extension Supervisor {
    /// Serves clients until the first one is attached, or the command that started this process is gone.
    func waitForClient(or command: borrowing Descriptor) throws(Problem) {
        let limit = Clock.monotonic + 30_000_000_000
        let gone = Problem("cannot start \(record.name)", "the command that wanted to watch it is gone")
        do throws(KernelError) {
            // Only the other end's going is waited for: there is always room to write.
            try events.add(command.number, token: Token.command, write: true)
            events.change(command.number, token: Token.command, read: false, write: false)
        } catch { throw Problem("cannot start \(record.name)", error) }
        defer { events.remove(command.number) }
        while !peers.values.contains(where: { $0.role == .attached }) {
            var ready = try? events.wait(milliseconds: 100)
            while let event = ready?.next() {
                if event.token == Token.command { throw gone }
                if event.token == Token.listener { acceptPeers() }
                if event.token >= Token.firstPeer { handlePeer(event) }
            }
            guard Clock.monotonic < limit else { throw gone }
        }
    }
}
