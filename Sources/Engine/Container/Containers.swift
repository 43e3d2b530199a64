internal import Images
public import LinuxKernel
public import OCISpec
public import Sandbox

/// What can be done with containers: the verbs of the command line, and of everything else above the engine.
public struct Containers: Sendable {
    public let store: ContainerStore
    public var storage: Storage { store.storage }

    public init(_ storage: Storage) { store = ContainerStore(storage) }

    /// Who may change a container at the moment.
    enum Hold: ~Copyable {
        case mine(ContainerLock)
        case supervisor(SocketConnection)
    }

    // MARK: Looking

    /// The record as it is in truth: one whose supervisor is gone is put in order first.
    public func view(_ container: borrowing ContainerFolder) throws(Problem) -> ContainerRecord {
        try view(container, seen: try container.written())
    }

    /// - Parameter record: what was written just now.
    func view(
        _ container: borrowing ContainerFolder, seen record: ContainerRecord
    ) throws(Problem) -> ContainerRecord {
        let isNoted = try container.startNote() != nil
        guard Recovery.isNeeded(record) || isNoted else { return record }
        // Owned by its supervisor, or by another command that is at this very work.
        if container.isOwned() {
            if record.supervisor?.isAlive == true { return record }
            // Read again: a supervisor that has ended since may have written its last word.
            return Recovery.truth(try container.written())
        }
        // A store that cannot be written to is told of truthfully all the same.
        guard let lock = try? container.tryLock() else { return Recovery.truth(try container.written()) }
        do throws(Problem) {
            guard let lock = try Adoption.offer(container, lock) else { return try container.written() }
            let latest = try container.written()
            return (try? Recovery.mend(container, latest, holding: lock)) ?? Recovery.truth(latest, isUnowned: true)
        } catch {
            // What runs may have more luck with another command, which gives it its next supervisor; what does not has none
            // any more, though that one's process may take a moment to end.
            return Recovery.truth(try container.written(), isUnowned: true)
        }
    }

    /// All of them, oldest first, each as it is in truth.
    public func all() throws(Problem) -> [ContainerStore.Entry] {
        try store.all { container throws(Problem) in try view(container) }
    }

    public func find(_ reference: String) throws(Problem) -> ContainerRecord { try view(try store.find(reference)) }

    // MARK: Owning

    /// Takes the container's lock, or reaches the one who has it.
    ///
    /// - Parameter adopts: a program that has lost its supervisor gets another first, if that is its policy.
    func hold(_ container: borrowing ContainerFolder, adopts: Bool = true) throws(Problem) -> Hold {
        let limit = Clock.monotonic + 30_000_000_000
        while true {
            if let lock = try container.tryLock() {
                guard adopts else { return .mine(lock) }
                if let lock = try Adoption.offer(container, lock) { return .mine(lock) }
            }
            if let connection = container.callSupervisor() { return .supervisor(connection) }
            guard Clock.monotonic < limit else {
                throw Problem(
                    "cannot use \(container.id)", "another command has been at work on it for half a minute",
                    hint: "try again")
            }
            Clock.sleep(milliseconds: 2)
        }
    }

    /// The lock, with the record in order; a container that is looked after is an error.
    private func own(_ container: borrowing ContainerFolder, to verb: String) throws(Problem) -> OwnedContainer {
        switch try request(container, "state") {
        case .mine(let lock):
            let record = try Recovery.mend(container, try container.written(), holding: lock)
            return OwnedContainer(lock: lock, record: record)
        case .answer(let answer):
            let record = try container.written()
            let kind: String = if case .string(let kind)? = answer["state"] { kind } else { record.state.kind.rawValue }
            let isStarting = ContainerState.Kind(rawValue: kind).map { [.created, .exited].contains($0) } ?? false
            throw Problem(
                "cannot \(verb) \(record.name)", isStarting ? "another command is starting it" : "it is \(kind)",
                hint: "codex32 stop \(record.name)")
        }
    }

    /// What came of asking whoever owns the container: an answer, or, where nobody does, its lock.
    enum Reply: ~Copyable {
        case answer(JSON)
        case mine(ContainerLock)
    }

    /// Asks the supervisor, or takes the lock. A supervisor that ends before it answers leaves the lock to this
    /// command, or to the next supervisor, which is then asked.
    func request(
        _ container: borrowing ContainerFolder, _ verb: String, _ members: [JSON.Member] = [], adopts: Bool = true
    ) throws(Problem) -> Reply {
        while true {
            switch try hold(container, adopts: adopts) {
            case .mine(let lock): return .mine(lock)
            case .supervisor(let connection):
                do { return .answer(try Control.ask(connection, verb, members)) } catch {
                    guard error == Control.gone else { throw error }
                }
            }
        }
    }

    /// Asks the supervisor; a container that has none is an error.
    func ask(
        _ container: borrowing ContainerFolder, to verb: String, _ request: String, _ members: [JSON.Member] = []
    ) throws(Problem) -> JSON {
        switch try self.request(container, request, members) {
        case .answer(let answer): return answer
        case .mine(let lock):
            let record = try Recovery.mend(container, try container.written(), holding: lock)
            throw Problem(
                "cannot \(verb) \(record.name)", "it is \(record.state.kind.rawValue)",
                hint: "codex32 start \(record.name)")
        }
    }

    /// A container that this command alone may change.
    struct OwnedContainer: ~Copyable {
        let lock: ContainerLock
        let record: ContainerRecord
    }

    // MARK: Verbs

    /// - Parameter note: told what a person should know of it.
    public func create(
        _ configuration: ContainerConfiguration, note: (String) -> Void = { _ in }
    ) throws(Problem) -> ContainerRecord {
        // What cannot be started is told now; what the machine lacks may be there at the start.
        let held = try configuration.run.image.hold(data: storage.data)
        defer { withExtendedLifetime(held) {} }
        if try Run.plan(configuration.run).storageKind == .copy {
            let request = try Preparation.request(configuration.run) { _ in }.0
            if let text = try LayerCopy.note(request, storage) { note(text) }
        }
        return try store.create(configuration)
    }

    /// Starts a container that does not run; returns when its program runs.
    public func start(_ reference: String, warn: @escaping (Notice) -> Void) throws(Problem) {
        let container = try store.find(reference)
        var report = try beginStart(container, waitsForClient: false)
        try report.wait(warn: Containers.warner(warn))
    }

    static func warner(_ warn: @escaping (Notice) -> Void) -> (String, String, String?, Bool) -> Void {
        { item, why, hint, waived in
            guard let item = Item(name: item) else { return }
            warn(Notice(item, why, hint: hint, waived: waived))
        }
    }

    func beginStart(_ container: borrowing ContainerFolder, waitsForClient: Bool) throws(Problem) -> StartReport {
        let owned = try own(container, to: "start")
        try mayStart(owned.record)
        return try SupervisorProcess.spawn(container, owned.lock, waitsForClient: waitsForClient)
    }

    private func mayStart(_ record: ContainerRecord) throws(Problem) {
        guard record.state.kind.next.contains(.running) else {
            throw Problem(
                "cannot start \(record.name)", "it is \(record.state.kind.rawValue)",
                hint: "it can only be removed: codex32 remove -f \(record.name)")
        }
    }

    /// Stops a container, and returns its exit status. One that does not run is left as it is.
    /// - Parameter timeout: nanoseconds until SIGKILL; nil: its own.
    @discardableResult
    public func stop(_ reference: String, signal: Int32?, timeout: Int64?) throws(Problem) -> Int32? {
        let container = try store.find(reference)
        let members: [JSON.Member] = [.init("signal", .number(signal)), .init("timeout", .number(timeout))]
        switch try request(container, "stop", members) {
        case .answer(let answer):
            guard answer["isLost"] != .bool(true) else {
                throw Problem(
                    "cannot keep \(reference) stopped", "it has ended, but the store takes no word of it",
                    hint: "make room or mend the disk, and stop it again: else its restart policy starts it")
            }
            return Containers.status(answer)
        case .mine(let lock):
            return try Recovery.mend(container, try container.written(), holding: lock).state.ending?.status
        }
    }

    /// The record once nobody owns the container any more, or after ten seconds.
    func settled(_ container: borrowing ContainerFolder) throws(Problem) -> ContainerRecord {
        for _ in 0..<2000 where container.isOwned() { Clock.sleep(milliseconds: 5) }
        return try view(container)
    }

    static func status(_ answer: JSON) -> Int32? {
        guard case .integer(let status)? = answer["status"] else { return nil }
        return Int32(exactly: status)
    }

    public func kill(_ reference: String, signal: Int32) throws(Problem) {
        let container: ContainerFolder
        do { container = try store.find(reference) } catch {
            // SIGKILL does not wait: it is for one that never begins, too.
            let patience = signal == Signal.kill ? 0 : RunningContainer.patience
            guard let run = RunningContainer.findBegun(reference, storage, milliseconds: patience) else { throw error }
            return try kill(run, signal: signal)
        }
        _ = try ask(container, to: "kill", "kill", [.init("signal", .number(signal))])
    }

    public func pause(_ reference: String) throws(Problem) {
        _ = try ask(try store.find(reference), to: "pause", "pause")
    }

    public func unpause(_ reference: String) throws(Problem) {
        _ = try ask(try store.find(reference), to: "unpause", "unpause")
    }

    /// Stops and starts again; one that does not run is started.
    public func restart(
        _ reference: String, timeout: Int64?, warn: @escaping (Notice) -> Void
    ) throws(Problem) {
        let container = try store.find(reference)
        switch try request(container, "restart", [.init("timeout", .number(timeout))]) {
        case .answer: return
        case .mine(let lock):
            let record = try Recovery.mend(container, try container.written(), holding: lock)
            try mayStart(record)
            var report = try SupervisorProcess.spawn(container, lock, waitsForClient: false)
            try report.wait(warn: Containers.warner(warn))
        }
    }

    /// Waits for the end, and returns the exit status; of a container that has ended, at once.
    public func wait(_ reference: String) throws(Problem) -> Int32 { try waitForEnding(reference).status }

    /// The same, and returns how it ended.
    public func waitForEnding(_ reference: String) throws(Problem) -> ContainerState.Ending {
        let container = try store.find(reference)
        while true {
            if let connection = container.callSupervisor(),
                let answer = try? Control.ask(connection, "wait"), let status = Containers.status(answer)
            {
                return ContainerState.Ending(status: status, verdict: answer["verdict"] ?? .null)
            }
            let record = try view(container)
            switch record.state {
            case .exited(let ending): return ending
            case .dead(let why): throw Problem("cannot wait for \(record.name)", "it is dead: \(why)")
            // Not started yet: its start is waited for too, as with Docker.
            default: Clock.sleep(milliseconds: 20)
            }
        }
    }

    public func rename(_ reference: String, to name: String) throws(Problem) {
        // Another may rename it at the same time: then this one's word for it is no longer its name.
        let container: ContainerFolder
        var known: String?
        if let named = try store.named(reference) {
            container = named.folder
            known = reference
        } else {
            container = try store.find(reference)
        }
        switch try request(container, "rename", [.init("name", .string(name)), .init("from", .text(known))]) {
        case .answer: return
        case .mine(let lock):
            var record = try Recovery.mend(container, try container.written(), holding: lock)
            try Renaming.check(record, isCalled: known)
            var renaming = try Renaming(record, to: name, storage: storage)
            try renaming.carryOut(&record, in: container, holding: lock)
            EventJournal(storage).append("rename", record, [.init("oldName", .string(renaming.old))])
        }
    }

    /// Changes limits and the restart policy, of a running container too: all of it or nothing.
    /// - Returns: what the kernel's files say of the limits afterwards, by their names; null: it does not run.
    @discardableResult
    public func update(_ reference: String, _ change: JSON) throws(Problem) -> JSON {
        let container = try store.find(reference)
        switch try request(container, "update", [.init("change", change)]) {
        case .answer(let answer): return answer["inForce"] ?? .null
        case .mine(let lock):
            var record = try Recovery.mend(container, try container.written(), holding: lock)
            record.configuration = try ConfigurationChange(change).applied(to: record, storage: storage).configuration
            try container.write(record, holding: lock, lasting: true)
            EventJournal(storage).append("update", record)
            return .null
        }
    }

    /// Takes a container away.
    /// - Parameters:
    ///   - force: one that runs is killed first, and one with a broken record goes too.
    ///   - volumes: its own volumes go too.
    /// - Returns: what of it is kept.
    @discardableResult
    public func remove(_ reference: String, force: Bool, volumes: Bool = false) throws(Problem) -> Kept {
        let container = try store.find(reference)
        guard force else {
            let owned = try own(container, to: "remove")
            try Removal.remove(container, owned.record, volumes: volumes)
            _ = consume owned
            return kept(of: container.id)
        }
        try removeByForce(container, volumes: volumes)
        return kept(of: container.id)
    }

    /// What a container that was removed has left, for it is where data is.
    public struct Kept: Sendable {
        /// The folders of its own volumes.
        public let volumes: [String]
        /// The id of its workspace, which has changes.
        public let workspace: String?
    }

    private func kept(of id: String) -> Kept {
        Kept(
            volumes: OwnVolumes.names(of: id, in: storage).map { "\(storage.volumes)/\($0)" },
            workspace: Workspace.isThere(id, storage) ? id : nil)
    }

    private func removeByForce(_ container: borrowing ContainerFolder, volumes: Bool) throws(Problem) {
        if Descriptor.isMissing("\(storage.containers)/\(container.id)/lock") {
            // Nobody can own what has no lock.
            return try Removal.erase(container, name: nil, volumes: volumes)
        }
        while true {
            let members: [JSON.Member] = [.init("signal", .number(Signal.kill)), .init("timeout", .integer(1))]
            let reply: Reply
            do throws(Problem) { reply = try request(container, "stop", members, adopts: false) } catch {
                // With --rm it went by itself as soon as it had ended.
                guard container.isInStore else { return }
                throw error
            }
            switch consume reply {
            case .answer: continue
            case .mine(let lock):
                if let written = try? container.written() {
                    try Removal.remove(container, try ended(container, written, lock), volumes: volumes)
                } else {
                    try Recovery.endBroken(container)
                    try Removal.erase(container, name: nil, volumes: volumes)
                }
                _ = consume lock
                return
            }
        }
    }

    /// The record of a container that is to go, with nothing of it running. One that cannot be written down as ended goes
    /// all the same; one whose program may run does not, for then nobody would know of that.
    private func ended(
        _ container: borrowing ContainerFolder, _ written: ContainerRecord, _ lock: borrowing ContainerLock
    ) throws(Problem) -> ContainerRecord {
        do throws(Problem) { return try Recovery.mend(container, written, holding: lock) } catch {
            let noted = try container.notedProcess()
            guard written.state.life?.process.hasEnded != false, noted?.hasEnded != false else { throw error }
            return written
        }
    }

    /// Puts the store in order, and tells what was found.
    public func recover() throws(Problem) -> [(id: String, name: String, what: String)] {
        try Recovery.all(store).map { ($0.id, $0.name, $0.what) }
    }
}
