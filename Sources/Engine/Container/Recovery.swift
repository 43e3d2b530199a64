internal import LinuxKernel
internal import OCISpec

/// Brings order where a supervisor or a command was killed, or the machine went down under it.
///
/// ## What it promises
/// Any process of codex32 may be killed with SIGKILL, and the machine may lose power, at any instant. Then:
/// - A container whose id `create` printed is there until its `remove` has passed one rename
///   (``Removal``); a record is the old one or the new one, never a mixture. One that cannot be read (a disk may do
///   anything) is listed as `broken` with why, keeps its name, and goes by `remove -f`.
/// - `list` and `inspect` tell the truth at once, also where the store cannot be written to: what runs has a
///   supervisor, and what ended has a reason. A program whose end nobody saw has the reason `engine`.
/// - Whoever holds the lock of a container whose record says that it is looked after, is alone with it: its
///   supervisor is gone. Its program mostly died with it (PR_SET_PDEATHSIG, prctl(2)); one that escaped that is
///   ended, with all of its pid namespace and its cgroup, by pid and start time and boot, never by a number alone.
///   Every command that meets such a container mends it first, and has it started again by another supervisor where
///   its restart policy asks for that, as it does of one that waited for its next start (``Resumption``). With
///   ``OrphanPolicy/adopt`` the program runs on, and every such command has it looked after again first (``Adoption``);
///   until then the list says that it runs.
/// - What is left of a container that was half made or half removed has a name of its own and no owner:
///   `system recover` clears it away, and says so. Done twice, it says that all is in order.
/// - Killed itself, at any point, it is simply done again: each step can be repeated, and the record that asks for
///   them is written last.
/// - There is nothing to unmount: every mount of a container is in its own mount namespace, and goes with it.
enum Recovery {
    /// What was found and done, for people.
    struct Finding {
        let id: String
        let name: String
        let what: String
    }

    // MARK: One container

    /// Whether a record says that somebody looks after its container, or was about to.
    static func isNeeded(_ record: ContainerRecord) -> Bool {
        record.state.isSupervised || record.supervisor != nil || record.cgroup != nil
    }

    /// What is true of a container whose record ``isNeeded(_:)`` may be out of date. Changes nothing.
    ///
    /// - Parameter isUnowned: its lock was to be had: its supervisor has given it up, and has nothing more to say, though
    ///   it may still be there for a moment.
    static func truth(_ record: ContainerRecord, isUnowned: Bool = false) -> ContainerRecord {
        guard isNeeded(record), isUnowned || record.supervisor?.hasEnded != false,
            (try? Adoption.isDue(record)) == false
        else { return record }
        return ended(record, record.isAdoptable ? OrphanPolicy.unseen : nil)
    }

    /// The record of a container whose supervisor is gone.
    /// - Parameter why: in words, where the program did not simply end with its supervisor.
    private static func ended(_ record: ContainerRecord, _ why: String?) -> ContainerRecord {
        var record = record
        if record.state.isSupervised {
            let ending = record.state.ending ?? unseenEnd(record, why)
            // Every state with a supervisor may end.
            if !isOfThisBoot(record) || !Resumption.follows(ending, of: &record) { try? record.become(.exited(ending)) }
        }
        // Of one that is to be started again it says of which boot that is, until there is another.
        if !record.state.isSupervised { record.supervisor = nil }
        record.cgroup = nil
        record.health = nil
        return record
    }

    /// The end of a program that nobody waited for. It was killed with its supervisor, or after it; where the machine
    /// went down, not even that is known.
    private static func unseenEnd(_ record: ContainerRecord, _ why: String?) -> ContainerState.Ending {
        var verdict = Verdict.notStarted(id: record.id, name: record.name, isolation: record.isolation)
        if let life = record.state.life { verdict.startedAt = life.startedAt }
        if isOfThisBoot(record) { verdict.note = why }
        // How a program ended that outlived its supervisor, nobody knows.
        guard isOfThisBoot(record), why != OrphanPolicy.unseen else {
            return ContainerState.Ending(status: verdict.status, verdict: verdict.document)
        }
        verdict.signal = Signal.kill
        return ContainerState.Ending(status: 128 + Signal.kill, verdict: verdict.document)
    }

    private static func isOfThisBoot(_ record: ContainerRecord) -> Bool {
        (record.supervisor ?? record.state.life?.process)?.boot == ProcessIdentity.currentBoot
    }

    /// Puts one container in order: what runs of it is ended. The caller holds its lock.
    /// - Parameter why: why a program that was to be adopted is not, in words.
    static func mend(
        _ container: borrowing ContainerFolder, _ record: ContainerRecord, holding lock: borrowing ContainerLock,
        because why: String? = nil
    ) throws(Problem) -> ContainerRecord {
        let note = try container.startNote()
        guard isNeeded(record) || note != nil else { return record }
        let process = try container.notedProcess()
        // Without it the record would be told to be another boot's, and nothing of it to be ended.
        guard ProcessIdentity.currentBoot != nil else {
            throw Problem(
                "cannot put \(record.name) in order", "/proc/sys/kernel/random/boot_id cannot be read",
                hint: "mount -t proc proc /proc")
        }
        var why = record.isAdoptable && record.state.isActive ? why ?? OrphanPolicy.ended : nil
        if why != nil, record.state.life?.process.isAlive != true { why = OrphanPolicy.unseen }
        // Opened before the program's end takes its pipes away.
        let rest = isOfThisBoot(record) ? OutputRest(container, record) : nil
        for process in [record.state.life?.process, process] {
            if let process { try end(process, of: record.name) }
        }
        rest?.write()
        // A cgroup of another boot is gone, and one of that path now is somebody else's.
        let written = isOfThisBoot(record) ? record.cgroup : nil
        let noted = note?.isOfThisBoot == true ? note?.cgroup : nil
        for cgroup in [written, noted] {
            guard let cgroup, let slash = cgroup.lastIndex(of: "/") else { continue }
            Cgroup.clear(record.id, in: String(cgroup[..<slash]))
        }
        let mended = ended(record, why)
        if isNeeded(record) { try container.write(mended, holding: lock) }
        clearRuntime(container)
        let journal = EventJournal(container.storage)
        let waits = mended.state.kind == .restarting
        if record.state.isActive || record.state.isSupervised && !waits, let ending = mended.state.ending {
            journal.append(
                "die", mended,
                [.init("exitStatus", .number(ending.status)), .init("why", .string("its supervisor was gone"))])
        }
        if record.state.isActive, waits {
            journal.append("restart", mended, [.init("restarts", .number(mended.restarts))])
        }
        return mended
    }

    /// Ends what may run of a container whose record cannot be read. The caller holds its lock.
    static func endBroken(_ container: borrowing ContainerFolder) throws(Problem) {
        if let process = try container.notedProcess() { try end(process, of: container.id) }
        if let place = try? CgroupPlace.find() { Cgroup.clear(container.id, in: place.path) }
    }

    /// Ends a program that outlived its supervisor, with all that is in its pid namespace.
    private static func end(_ process: ProcessIdentity, of name: String) throws(Problem) {
        let held = try explaining("cannot put \(name) in order") { () throws(KernelError) -> Descriptor? in
            // A record is a file: one that names another process, start time and all, ends nobody.
            guard let pidfd = try process.held(), try process.isFirstOfNamespace() else { return nil }
            do throws(KernelError) { try pidfd.signal(Signal.kill) } catch {
                if error.number != Errno.noProcess { throw error }
            }
            return pidfd
        }
        guard let pidfd = held else { return }
        guard pidfd.waitReadable(milliseconds: 10_000) else {
            throw Problem(
                "cannot put \(name) in order", "its process \(process.pid) does not end after SIGKILL",
                hint: "it waits in the kernel, for a disk or a network file system")
        }
    }

    private static func clearRuntime(_ container: borrowing ContainerFolder) {
        try? Descriptor.open(container.storage.supervised, [.read, .folder]).removeTree(container.id)
    }

    // MARK: The whole store

    /// Puts the whole store in order: every container, and what commands left that were killed while they made or
    /// removed one. One that cannot be put in order keeps none of the others.
    static func all(_ store: ContainerStore) throws(Problem) -> [Finding] {
        let storage = store.storage
        var findings: [Finding] = []
        var failure: Problem?
        for id in try store.ids() {
            guard let container = try? store.open(id: id) else { continue }
            do throws(Problem) { findings += try check(container) } catch {
                // Removed meanwhile, or broken: then list says so.
                if (try? container.written()) != nil { failure = failure ?? error }
            }
        }
        do throws(Problem) { findings += try leftovers(storage) } catch { failure = failure ?? error }
        let unswept = Sweep.run(storage, except: "")
        failure = failure ?? unswept
        if let failure { throw failure }
        return findings
    }

    private static func check(_ container: borrowing ContainerFolder) throws(Problem) -> [Finding] {
        let seen = try container.written()
        let hasName = !NameClaim.isFree(seen.name, storage: container.storage)
        let goes = seen.removesItself && seen.state.kind == .exited
        // A runtime folder is a supervisor's, and then the lock is not to be had.
        let layer = LayerStore(id: seen.id, storage: container.storage)
        let isLeft =
            isNeeded(seen) || container.hasTemporary || layer.isHalfMade || !Descriptor.isMissing(container.runtimePath)
        guard isLeft || !hasName || goes, let lock = try container.tryLock() else {
            return []
        }
        var findings: [Finding] = []
        let before = try container.written()
        let finding = { (what: String) in Finding(id: before.id, name: before.name, what: what) }
        if layer.isHalfMade { try layer.removeHalf() }
        if container.clearTemporary() { findings.append(finding("had temporary files of a killed command")) }
        let isNoted = try container.startNote() != nil
        let isMended = isNeeded(before) || isNoted
        if !isMended { clearRuntime(container) }
        let adopts = try Adoption.isDue(before)
        guard let lock = try Adoption.offer(container, lock) else {
            let runsOn = adopts && (try? container.written())?.state.kind != .restarting
            let becomes = runsOn ? "is adopted" : "is started again, as its policy says"
            return findings + [finding("was \(before.state.kind.rawValue) without a supervisor, and \(becomes)")]
        }
        // Where the program could not be adopted, this has been done by now.
        let record = try mend(container, try container.written(), holding: lock)
        if isMended {
            let was = before.state.isSupervised ? before.state.kind.rawValue : "being started"
            let why = adopts ? ": it could not be adopted" : ""
            findings.append(finding("was \(was) without a supervisor, and is \(record.state.kind.rawValue)\(why)"))
        }
        if record.removesItself, record.state.kind == .exited {
            try Removal.remove(container, record, volumes: true)
            return findings + [finding("was to be removed at its end, and is gone")]
        }
        if !hasName, NameClaim.isFree(record.name, storage: container.storage) {
            var claim = try NameClaim(record.name, id: record.id, storage: container.storage)
            try explaining("cannot use the name \(record.name)") { () throws(KernelError) in try claim.write() }
            claim.keep()
            findings.append(finding("had lost its name, and has it again"))
        }
        return findings
    }

    /// Seconds after which a layer of a foreground run, which is made before the run is entered, has no maker any more.
    private static let patience: Int64 = 60

    /// Clears away what belongs to no container.
    private static func leftovers(_ storage: Storage) throws(Problem) -> [Finding] {
        // Nobody makes or removes a container while this is held; where somebody does, there will be another time.
        // Foreground runs leave layers also where no container was ever made.
        let hasLayers = !Descriptor.isMissing(storage.layers)
        let open = { () throws(KernelError) in
            hasLayers ? try makeFolders(storage.containers) : try Descriptor.open(storage.containers, [.read, .folder])
        }
        let what = "cannot put the store \(storage.data) in order"
        let folder = try explaining(what) { () throws(KernelError) in try unlessMissing(open) }
        guard let folder, let lock = StoreLock(alone: folder) else { return [] }
        let names = try explaining(what) { () throws(KernelError) in try lock.containers.entries() }
        var findings: [Finding] = []
        for name in names where name.hasPrefix(".") {
            if let (id, volumes) = Removal.buried(name) {
                guard (try? Removal.clear(id, volumes: volumes, in: lock, storage)) != nil else { continue }
                findings.append(Finding(id: id, name: "", what: "was half removed, and is gone"))
            } else if (try? lock.containers.removeTree(name)) != nil {
                findings.append(Finding(id: "", name: name, what: "was half made, and is gone"))
            }
        }
        try NameClaim.sweep(storage)
        let whole = Set(names)
        findings += layers(storage, whole)
        Workspace.sweep(storage, before: Clock.realtime / 1_000_000_000 - patience) { id in
            whole.contains(id) || !Descriptor.isMissing("\(storage.running)/\(id)")
        }
        if let places = try? Descriptor.open(storage.supervised, [.read, .folder]), let ids = try? places.entries() {
            for id in ids where !whole.contains(id) { try? places.removeTree(id) }
        }
        return findings
    }

    private static func layers(_ storage: Storage, _ whole: Set<String>) -> [Finding] {
        guard let layers = try? Descriptor.open(storage.layers, [.read, .folder]), let names = try? layers.entries()
        else { return [] }
        var findings: [Finding] = []
        for name in names {
            let id = LayerStore.maker(of: name) ?? name
            let isHalf = id != name
            // Half made of one that is there: see ``check(_:)``, which has its lock.
            if whole.contains(id) { continue }
            guard Descriptor.isMissing("\(storage.running)/\(id)"), let status = try? layers.status(of: name),
                isHalf || Clock.realtime / 1_000_000_000 - status.modified > patience
            else { continue }
            try? layers.removeContainerTree(name)
            findings.append(Finding(id: id, name: "", what: "was a layer without a container, and is gone"))
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

    /// Made with `--rm`.
    var removesItself: Bool { configuration["removesItself"] == .bool(true) }
}
