public import LinuxKernel
public import OCISpec

/// One container's folder in the store, held by descriptor.
///
/// ```
/// containers/ID/container.json   the record
///               lock             who holds it owns the container: its supervisor, or a command at work
///               receipt.json     what the last start had in force
///               log/             what the program wrote
/// layers/ID/                     its changes to the image
/// ```
public struct ContainerFolder: ~Copyable {
    public let id: String
    public let storage: Storage
    public let folder: Descriptor

    init(id: String, storage: Storage, folder: consuming Descriptor) {
        self.id = id
        self.storage = storage
        self.folder = folder
    }

    static let recordName = "container.json"
    private static let limit = 8 << 20

    /// The record as it is written, whatever is true by now.
    func written() throws(Problem) -> ContainerRecord {
        let what = "cannot read the record of \(id)"
        let text = try explaining(what) { () throws(KernelError) in
            // Not waiting: a pipe in the file's place has no writer.
            try folder.open(ContainerFolder.recordName, [.read, .noFollow, .nonblocking])
                .readAll(limit: ContainerFolder.limit)
        }
        do {
            let record = try ContainerRecord(try JSONReader.read(text))
            guard record.id == id else { throw DocumentError("id", "is another container's") }
            return record
        } catch {
            throw Problem(
                what, "\(storage.containers)/\(id)/\(ContainerFolder.recordName): \(error)",
                hint: "mend the file, or take the container away: codex32 remove -f \(id)")
        }
    }

    /// Writes the record whole. Only the holder of the lock may.
    ///
    /// Always synced before it takes its place, so that a power loss leaves the old record or the new one and never
    /// a torn one. Which of the two is up to the disk: of a program's start and end the older one is mended to the
    /// same truth, that it does not run. `lasting` is for what a person was told and nothing else brings back (a
    /// name, a limit): the folder's entry is synced too.
    func write(_ record: ContainerRecord, holding lock: borrowing ContainerLock, lasting: Bool = false) throws(Problem)
    {
        try explaining("cannot write the record of \(record.name)") { () throws(KernelError) in
            try folder.replace(
                ContainerFolder.recordName, with: record.document.text(pretty: true) + "\n", durable: true)
            if lasting { try folder.sync() }
        }
    }

    /// What killed commands left beside the record: temporary files, whose names begin with a dot. While nobody
    /// holds the lock they are nobody's.
    var hasTemporary: Bool { (try? folder.entries())?.contains { $0.hasPrefix(".") } ?? false }

    /// Removes them; the caller holds the lock. Returns whether there were any.
    func clearTemporary() -> Bool {
        guard let names = try? folder.entries().filter({ $0.hasPrefix(".") }) else { return false }
        for name in names { try? folder.removeTree(name) }
        return !names.isEmpty
    }

    /// Whether somebody owns the container now: its supervisor, or a command at work.
    func isOwned() -> Bool {
        guard let file = try? folder.open("lock", [.read, .noFollow, .nonblocking]) else { return false }
        return (try? file.isLocked()) ?? true
    }

    /// Takes the lock; nil: another has it.
    func tryLock() throws(Problem) -> ContainerLock? {
        do { return try takeLock() } catch {
            if error.number == Errno.missing, !isInStore {
                throw Problem("no container \(id)", "it was removed meanwhile", hint: "codex32 list -a shows all")
            }
            throw Problem(
                "cannot lock the container \(id)", error,
                hint: error.number == Errno.missing ? "its lock file is gone: codex32 remove -f \(id)" : nil)
        }
    }

    private func takeLock() throws(KernelError) -> ContainerLock? {
        // Not made here: in a folder that is being removed it would keep that from being empty.
        let file = try folder.open("lock", [.readWrite, .noFollow, .nonblocking])
        guard try file.takeLock(wait: false) else { return nil }
        // Removed by its last owner while this one waited: the folder is only a descriptor by now.
        let named = try unlessMissing { () throws(KernelError) -> FileStatus in try folder.status(of: "lock") }
        guard let named, named.inode == (try file.status()).inode, try stands() else {
            throw KernelError("open", "lock", number: Errno.missing)
        }
        return ContainerLock(file: file)
    }

    /// Whether the folder still stands in the store under the container's id.
    private func stands() throws(KernelError) -> Bool {
        let there = try unlessMissing { () throws(KernelError) -> FileStatus in
            try Descriptor.status(ofPath: "\(storage.containers)/\(id)")
        }
        let here = try folder.status()
        return there?.inode == here.inode && there?.device == here.device
    }

    /// The same; what could not be looked at may stand there.
    var isInStore: Bool { (try? stands()) ?? true }

    /// The folder of the supervisor's socket; gone at a reboot.
    var runtimePath: String { "\(storage.supervised)/\(id)" }

    /// Calls the supervisor; nil: none listens.
    func callSupervisor() -> SocketConnection? { try? reachSupervisor() }

    /// As ``callSupervisor()``, with why it cannot be reached.
    func reachSupervisor() throws(KernelError) -> SocketConnection {
        let place = try Descriptor.open(runtimePath, [.read, .folder, .noFollow])
        return try SocketConnection(to: Control.socketName, in: place)
    }

    /// What the last start had in force, as JSON; nil: it never started.
    public func receipt() -> JSON? {
        guard let text = try? folder.contents(of: "receipt.json", limit: ContainerFolder.limit) else { return nil }
        return try? JSONReader.read(Array(text.utf8))
    }
}

/// The right to change a container. It ends with the last copy of its descriptor, so a supervisor that
/// inherits it goes on where the command that made it ends.
public struct ContainerLock: ~Copyable {
    let file: Descriptor
    init(file: consuming Descriptor) { self.file = file }

    /// Gives the right up before this value ends: nothing may be written from here on.
    borrowing func release() { file.releaseLock() }
}
