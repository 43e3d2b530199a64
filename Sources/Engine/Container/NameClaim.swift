internal import LinuxKernel

/// A name that one container has: a file of that name in the store, with the container's id in it.
///
/// It counts while its container exists and its record bears the name; what a killed command left of a claim is
/// taken over by the next one who wants the name, or cleared away by recovery. While a claim is being made, its
/// file is locked: by `create` until the container has its folder, by `rename` until the record says the name, by a
/// foreground run, which leaves the file empty, until its end. A claim ends with this value, unless it was kept.
struct NameClaim: ~Copyable {
    private let names: Descriptor
    private let name: String
    private let id: String
    private let file: Descriptor
    private var lasts = false

    init(_ name: String, id: String, storage: Storage) throws(Problem) {
        let what = "cannot use the name \(name)"
        let names = try explaining(what) { () throws(KernelError) in try makeFolders(storage.names) }
        for _ in 0..<100 {
            let file = try explaining(what) { () throws(KernelError) in
                try names.open(name, [.readWrite, .create, .noFollow])
            }
            guard try explaining(what, { () throws(KernelError) in try file.lock(wait: false) }) else {
                // One that is written was given to a container, and is being looked at or taken away; one that is
                // empty is a foreground run's, or is being swept away after a killed one.
                guard (try? file.status().size) == 0, RunningContainer.find(name, storage) != nil else {
                    Clock.sleep(milliseconds: 10)
                    continue
                }
                throw Problem(what, "a running container has it", hint: "choose another, or wait for it: codex32 list")
            }
            // Between open and lock its last owner may have taken the file away.
            guard (try? names.status(of: name).inode) == (try? file.status().inode) else { continue }
            let owner = try explaining(what) { () throws(KernelError) in
                try NameClaim.owner(of: name, storage: storage)
            }
            if let owner, owner != id {
                throw Problem(
                    what, "the container \(owner) has it",
                    hint: "choose another, or take that one away: codex32 remove \(name)")
            }
            self.names = names
            self.name = name
            self.id = id
            self.file = file
            return
        }
        throw Problem(what, "others want it at the same time", hint: "try again")
    }

    /// The id in a name's file, whatever its container's record says; nil: there is none.
    ///
    /// - Throws: what kept it from being looked at. A name that could not be looked at may be somebody's.
    static func claimant(of name: String, storage: Storage) throws(KernelError) -> String? {
        let id = try unlessMissing { () throws(KernelError) -> String in
            try Descriptor.open(storage.names, [.read, .folder]).contents(of: name, limit: 64)
        }
        guard let id, ContainerID.isValid(id) else { return nil }
        return id
    }

    /// The id of the container that has a name; nil: nobody has it.
    ///
    /// - Throws: as ``claimant(of:storage:)``.
    static func owner(of name: String, storage: Storage) throws(KernelError) -> String? {
        guard let id = try claimant(of: name, storage: storage) else { return nil }
        let folder = try unlessMissing { () throws(KernelError) -> Descriptor in
            try Descriptor.open("\(storage.containers)/\(id)", [.read, .folder, .noFollow])
        }
        guard let folder else { return nil }
        // Killed between the steps of a rename, the container has the other name. One whose record cannot be read
        // keeps what it has until it is removed.
        let container = ContainerFolder(id: id, storage: storage, folder: folder)
        if let record = try? container.written(), record.name != name { return nil }
        return id
    }

    /// Whether nobody has a name for certain.
    static func isFree(_ name: String, storage: Storage) -> Bool {
        do { return try owner(of: name, storage: storage) == nil } catch { return false }
    }

    /// Writes the claim down, for the disk: a container must not come back from a power loss without its name.
    borrowing func write() throws(KernelError) {
        try file.truncate(0)
        try file.write(id)
        try file.sync()
        try names.sync()
    }

    /// The container bears the name now: the claim goes on without this value.
    mutating func keep() { lasts = true }

    deinit { if !lasts { try? names.remove(name) } }

    /// Takes a container's name away, if it is still its own. One that is locked is about to become another's.
    static func remove(_ name: String, of id: String, storage: Storage) throws(Problem) {
        try explaining("cannot take the name \(name) away") { () throws(KernelError) in
            let names = try unlessMissing { () throws(KernelError) -> Descriptor in
                try Descriptor.open(storage.names, [.read, .folder])
            }
            if let names { try remove(name, in: names) { $0 == id } }
        }
    }

    /// Removes the names that no container bears: those of killed commands.
    static func sweep(_ storage: Storage) throws(Problem) {
        try explaining("cannot sweep the names in \(storage.names)") { () throws(KernelError) in
            let names = try unlessMissing { () throws(KernelError) -> Descriptor in
                try Descriptor.open(storage.names, [.read, .folder])
            }
            guard let names else { return }
            for name in try names.entries() where isFree(name, storage: storage) {
                // Again with the lock: it may have found an owner since.
                try remove(name, in: names) { _ in isFree(name, storage: storage) }
            }
        }
    }

    private static func remove(
        _ name: String, in names: borrowing Descriptor, if isMeant: (String) -> Bool
    ) throws(KernelError) {
        let file: Descriptor
        do { file = try names.open(name, [.readWrite, .noFollow, .nonblocking]) } catch {
            if error.isAbsence { return }
            throw error
        }
        // With its lock: another may be about to take the name over, and mostly gives it back at once.
        for _ in 0..<200 {
            guard try file.lock(wait: false) else {
                Clock.sleep(milliseconds: 5)
                continue
            }
            let there = try names.inode(of: name)
            let (here, id) = (try file.status().inode, try file.readAll(limit: 64))
            guard there == here, isMeant(String(decoding: id, as: UTF8.self)) else { return }
            return try names.remove(name)
        }
    }
}

extension Descriptor {
    /// The inode that has a name in this folder; nil: none has.
    fileprivate borrowing func inode(of name: String) throws(KernelError) -> UInt64? {
        do { return try status(of: name).inode } catch {
            if error.isAbsence { return nil }
            throw error
        }
    }
}
