public import LinuxKernel
internal import OCISpec

/// The entry of a container while `run` is at it: a folder with its record, which its owner holds locked.
/// An entry that nobody holds is what a killed codex32 left, and the next one clears it away.
struct RunningEntry: ~Copyable {
    let id: String
    private let containers: Descriptor
    private let folder: Descriptor
    /// The record's open file, for its lock.
    private let record: Descriptor
    /// The files that took its place. Each was locked before it did, and those before it stay locked too:
    /// whoever opened one of them a moment earlier finds the owner alive.
    private var replacements: [Owned<Descriptor>] = []
    private let nameLock: NameClaim?
    static let recordName = "record.json"

    /// Enters the container. Everything it owns outside of its own processes is named in the record
    /// before it is made.
    ///
    /// Two files and one rename: a busy disk file system takes longest over the making of new ones.
    init(id: String, name: String?, storage: Storage, record: JSON) throws(Problem) {
        let what = "cannot record the container in \(storage.runtime)"
        let hint = "codex32 must be able to write there; --root chooses another folder"
        let nameLock = name == nil ? nil : try NameClaim(name!, id: id, storage: storage)
        let containers = try explaining(what, hint: hint) { () throws(KernelError) in try makeFolders(storage.running) }
        let temporary = ".\(id).new"
        try explaining(what, hint: hint) { () throws(KernelError) in try containers.makeFolder(temporary) }
        do {
            let folder = try containers.open(temporary, [.read, .folder, .noFollow])
            let file = try folder.open(Self.recordName, [.write, .create, .exclusive, .noFollow])
            _ = try file.lock(wait: true)
            try file.write(record.text())
            // Under this name others see it, and it is locked already.
            try containers.rename(temporary, to: id)
            self.folder = folder
            self.record = file
        } catch {
            // On a full disk any of these may fail: nothing half-made stays.
            try? containers.removeTree(temporary)
            throw Problem(what, error)
        }
        self.nameLock = nameLock
        self.containers = containers
        self.id = id
    }

    /// Puts another record in the place of the present one, whole (rename(2)), and keeps all of them locked.
    mutating func replace(_ record: JSON) throws(Problem) {
        let temporary = ".record"
        do {
            let file = try folder.open(temporary, [.write, .create, .truncate, .noFollow])
            _ = try file.lock(wait: true)
            try file.write(record.text())
            try folder.rename(temporary, to: Self.recordName)
            replacements.append(Owned(file))
        } catch {
            try? folder.remove(temporary)
            throw Problem("cannot record the container \(id)", error)
        }
    }

    /// Shows to those who look that the program has begun: until then its process is codex32's own, not dumpable,
    /// and a signal to it would hit the preparations. A second lock, because nothing takes less time, and it ends
    /// with its owner as the first does.
    borrowing func markBegun() {
        if let newest = replacements.last {
            _ = try? newest.value.takeLock(wait: false)
        } else {
            _ = try? record.takeLock(wait: false)
        }
    }

    /// Takes the entry away; the container must have nothing left.
    borrowing func remove() {
        try? folder.remove(Self.recordName)
        do { try containers.remove(id, folder: true) } catch { try? containers.removeTree(id) }
    }
}

/// What `list` shows of one.
public struct RunningContainer: Sendable {
    public let id: String
    public let name: String?
    public let image: String
    public let isolation: String
    public let pid: Int32?
    public let startedAt: String
    public let command: String
    /// The codex32 that runs it, and the folder in which its cgroup is.
    let owner: Int32?
    let cgroupParent: String?
    /// What it was asked for; nil: that was too much to be kept.
    let configuration: JSON?
    /// Its program has taken the place of what prepared it.
    let hasBegun: Bool

    init?(id: String, _ json: JSON, hasBegun: Bool) {
        guard case .string(let image)? = json["image"], case .string(let isolation)? = json["isolation"],
            case .string(let started)? = json["startedAt"], case .string(let command)? = json["command"]
        else { return nil }
        self.id = id
        self.image = image
        self.isolation = isolation
        startedAt = started
        self.command = command
        self.hasBegun = hasBegun
        if case .string(let name)? = json["name"] { self.name = name } else { name = nil }
        if case .integer(let pid)? = json["pid"] { self.pid = Int32(exactly: pid) } else { pid = nil }
        if case .integer(let owner)? = json["owner"] { self.owner = Int32(exactly: owner) } else { owner = nil }
        if case .object? = json["configuration"] { configuration = json["configuration"] } else { configuration = nil }
        if case .string(let path)? = json["cgroupParent"] { cgroupParent = path } else { cgroupParent = nil }
    }

    /// Those that run now, for this user.
    public static func all(_ storage: Storage) throws(Problem) -> [RunningContainer] {
        if Descriptor.isMissing(storage.running) { return [] }
        return try explaining("cannot list the containers in \(storage.running)") { () throws(KernelError) in
            let folder = try Descriptor.open(storage.running, [.read, .folder])
            return try folder.entries().filter(ContainerID.isValid).sorted().compactMap { id in
                // An entry that nobody holds is what a killed one left: nothing runs there.
                guard let file = try? folder.open("\(id)/\(RunningEntry.recordName)", [.read, .noFollow]),
                    !file.isUnlocked(), let text = try? file.readAll(limit: 1 << 20),
                    let json = try? JSONReader.read(text)
                else { return nil }
                return RunningContainer(id: id, json, hasBegun: (try? file.isLocked()) ?? false)
            }
        }
    }
}
