internal import LinuxKernel
internal import OCISpec

/// Brings order where a supervisor was killed, or the machine went down under it.
///
/// Whoever holds the lock of a container whose record says that it is looked after, is alone with it: its
/// supervisor is gone. The program mostly died with it (PR_SET_PDEATHSIG, prctl(2)); one that escaped that is
/// ended here, by its cgroup or by its pid and start time, never by a number alone.
enum Recovery {
    /// What was found and done, for people.
    struct Finding {
        let id: String
        let name: String
        let what: String
    }

    /// Puts one container in order. The caller holds its lock.
    static func mend(
        _ container: borrowing ContainerFolder, _ record: ContainerRecord, holding lock: borrowing ContainerLock
    ) throws(Problem) -> ContainerRecord {
        guard record.state.isSupervised else { return record }
        var record = record
        if let life = record.state.life { end(life.process) }
        if let cgroup = record.cgroup, let slash = cgroup.lastIndex(of: "/") {
            Cgroup.clear(record.id, in: String(cgroup[..<slash]))
        }
        let ending: ContainerState.Ending
        if let last = record.state.ending {
            ending = last
        } else {
            var verdict = Verdict.notStarted(
                id: record.id, name: record.name, at: Clock.realtime, isolation: record.isolation)
            if let life = record.state.life { verdict.startedAt = life.startedAt }
            verdict.signal = Signal.kill
            ending = ContainerState.Ending(status: 128 + Signal.kill, verdict: verdict.document)
        }
        try record.become(.exited(ending))
        record.supervisor = nil
        record.cgroup = nil
        record.health = nil
        try container.write(record, holding: lock)
        try? Descriptor.open(container.storage.supervised, [.read, .folder]).removeTree(record.id)
        EventJournal(container.storage).append(
            "die", record,
            [.init("exitStatus", .number(ending.status)), .init("why", .string("its supervisor was gone"))])
        return record
    }

    /// Ends a program that outlived its supervisor, with all that is in its pid namespace.
    private static func end(_ process: ProcessIdentity) {
        guard let pidfd = process.open() else { return }
        try? pidfd.signal(Signal.kill)
        _ = pidfd.waitReadable(milliseconds: 10_000)
    }

    /// Puts the whole store in order: every container, and what commands left that were killed while they made or
    /// removed one.
    static func all(_ store: ContainerStore) throws(Problem) -> [Finding] {
        let storage = store.storage
        var findings: [Finding] = []
        for id in try store.ids() {
            guard let container = try? store.open(id: id), let record = try? container.written(),
                record.state.isSupervised, let lock = try? container.tryLock()
            else { continue }
            let now = try container.written()
            guard now.state.isSupervised else { continue }
            let mended = try mend(container, now, holding: lock)
            findings.append(
                Finding(
                    id: id, name: mended.name,
                    what: "was \(now.state.kind.rawValue) without a supervisor, and is \(mended.state.kind.rawValue)"))
        }
        findings += try leftovers(storage)
        Sweep.run(storage, except: "")
        return findings
    }

    /// Seconds after which a half-made or half-removed folder has nobody at work on it.
    private static let patience: Int64 = 60

    private static func leftovers(_ storage: Storage) throws(Problem) -> [Finding] {
        guard let containers = try? Descriptor.open(storage.containers, [.read, .folder]),
            let names = try? containers.entries()
        else { return [] }
        var findings: [Finding] = []
        for name in names where name.hasPrefix(".") {
            guard let status = try? containers.status(of: name),
                Clock.realtime / 1_000_000_000 - status.modified > patience || name.hasSuffix(".gone")
            else { continue }
            try? containers.removeTree(name)
            findings.append(Finding(id: "", name: name, what: "was half made or half removed, and is gone"))
        }
        let whole = Set(names)
        // A layer without a container: killed between the two steps of a removal. One of a running `run` has an entry.
        if let layers = try? Descriptor.open(storage.layers, [.read, .folder]), let ids = try? layers.entries() {
            for id in ids where ContainerID.isValid(id) && !whole.contains(id) {
                guard !Descriptor.exists("\(storage.running)/\(id)"), let status = try? layers.status(of: id),
                    Clock.realtime / 1_000_000_000 - status.modified > patience
                else { continue }
                try? layers.removeContainerTree(id)
                findings.append(Finding(id: id, name: "", what: "was a layer without a container, and is gone"))
            }
        }
        return findings
    }
}

extension ContainerRecord {
    /// The level, as the configuration names it.
    public var isolation: String {
        if case .string(let level)? = configuration["isolation"] { level } else { "standard" }
    }

    public var image: String { if case .string(let image)? = configuration["image"] { image } else { "" } }
}
