internal import LinuxKernel

/// A name that one container has: a file of that name in the store, with the container's id in it.
///
/// It counts while its container exists and bears it; what a killed command left of a claim is taken over by the
/// next one who wants the name. A foreground run holds the file's lock instead, and leaves it empty. Unless it was
/// written, a claim ends with this value: also when the container does not come about.
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
                // One that is written was given to a container, and is being looked at or taken away.
                if (try? file.status().size) ?? 0 > 0 {
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

    /// The id of the container that has a name; nil: nobody has it.
    static func owner(of name: String, storage: Storage) -> String? {
        guard let names = try? Descriptor.open(storage.names, [.read, .folder]),
            let id = try? names.contents(of: name, limit: 64), ContainerID.isValid(id),
            let containers = try? Descriptor.open(storage.containers, [.read, .folder])
        else { return nil }
        // Half-made still counts: its maker holds the claim's lock until it is whole.
        guard (try? containers.status(of: id)) != nil else { return nil }
        // A rename that was killed leaves the claim of a name that its container does not bear. One whose record
        // cannot be read may bear it.
        if let record = try? ContainerStore(storage).open(id: id).written(), record.name != name { return nil }
        return id
    }

    /// Makes the claim last: for a container that outlives this command.
    mutating func write() throws(KernelError) {
        try file.truncate(0)
        try file.write(id)
        try file.sync()
        lasts = true
    }

    /// The container did not come about after all.
    mutating func giveBack() { lasts = false }

    deinit { if !lasts { try? names.remove(name) } }

    /// Takes a container's name away, if it is still its own.
    static func remove(_ name: String, of id: String, storage: Storage) {
        guard let names = try? Descriptor.open(storage.names, [.read, .folder]),
            let file = try? names.open(name, [.readWrite, .noFollow, .nonblocking])
        else { return }
        // With its lock: another may be about to take the name over.
        for _ in 0..<200 {
            guard (try? file.lock(wait: false)) == true else {
                Clock.sleep(milliseconds: 5)
                continue
            }
            guard (try? names.contents(of: name, limit: 64)) == id,
                (try? names.status(of: name).inode) == (try? file.status().inode)
            else { return }
            try? names.remove(name)
            return
        }
    }

    /// Takes away every name that a container has whose record cannot be read.
    static func removeAll(of id: String, storage: Storage) {
        guard let names = try? Descriptor.open(storage.names, [.read, .folder]), let all = try? names.entries() else {
            return
        }
        for name in all where (try? names.contents(of: name, limit: 64)) == id {
            remove(name, of: id, storage: storage)
        }
    }
}
