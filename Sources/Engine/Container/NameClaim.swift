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
            if let owner = NameClaim.owner(of: name, storage: storage), owner != id {
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
    static func claimant(of name: String, storage: Storage) -> String? {
        guard let names = try? Descriptor.open(storage.names, [.read, .folder]),
            let id = try? names.contents(of: name, limit: 64), ContainerID.isValid(id)
        else { return nil }
        return id
    }

    /// The id of the container that has a name; nil: nobody has it.
    static func owner(of name: String, storage: Storage) -> String? {
        guard let id = claimant(of: name, storage: storage),
            let folder = try? Descriptor.open("\(storage.containers)/\(id)", [.read, .folder, .noFollow])
        else { return nil }
        // Killed between the steps of a rename, the container has the other name. One whose record cannot be read
        // keeps what it has until it is removed.
        let container = ContainerFolder(id: id, storage: storage, folder: folder)
        if let record = try? container.written(), record.name != name { return nil }
        return id
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
    static func remove(_ name: String, of id: String, storage: Storage) {
        guard let names = try? Descriptor.open(storage.names, [.read, .folder]) else { return }
        remove(name, in: names) { $0 == id }
    }

    /// Removes the names that no container bears: those of killed commands.
    static func sweep(_ storage: Storage) {
        guard let names = try? Descriptor.open(storage.names, [.read, .folder]), let all = try? names.entries() else {
            return
        }
        for name in all where owner(of: name, storage: storage) == nil {
            // Again with the lock: it may have found an owner since.
            remove(name, in: names) { _ in owner(of: name, storage: storage) == nil }
        }
    }

    private static func remove(_ name: String, in names: borrowing Descriptor, if isMeant: (String) -> Bool) {
        guard let file = try? names.open(name, [.readWrite, .noFollow, .nonblocking]) else { return }
        // With its lock: another may be about to take the name over, and mostly gives it back at once.
        for _ in 0..<200 {
            guard (try? file.lock(wait: false)) == true else {
                Clock.sleep(milliseconds: 5)
                continue
            }
            guard (try? names.status(of: name).inode) == (try? file.status().inode),
                let id = try? file.readAll(limit: 64), isMeant(String(decoding: id, as: UTF8.self))
            else { return }
            try? names.remove(name)
            return
        }
    }
}
