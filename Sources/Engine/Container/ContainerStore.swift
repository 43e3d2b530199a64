public import LinuxKernel
internal import OCISpec

/// All containers that outlive the command that made them, in one storage folder.
public struct ContainerStore: Sendable {
    public let storage: Storage

    public init(_ storage: Storage) { self.storage = storage }

    /// What stands in the store under an id.
    public enum Entry: Sendable {
        case container(ContainerRecord)
        /// The record cannot be read, with why.
        case broken(id: String, why: String)
    }

    // MARK: Making

    /// Makes a container: its record, whole, under a name that nobody else has.
    ///
    /// Whoever is told its id finds it after a power loss. So three things are on the disk before that: the claim
    /// of the name with its entry, the record with its entry in the container's folder, and that folder's entry in
    /// the store. The rename in between is what makes it a container: before it there is none, and what a killed
    /// command leaves then is cleared away by recovery.
    public func create(_ configuration: ContainerConfiguration) throws(Problem) -> ContainerRecord {
        let lock = try shareStore()
        let (id, name) =
            if let name = configuration.run.name { (ContainerID.make(), name) } else {
                ContainerName.invented(from: ContainerID.make) { Descriptor.isMissing("\(storage.names)/\($0)") }
            }
        let record = ContainerRecord(
            id: id, name: name, createdAt: Clock.realtime, labels: configuration.labels,
            configuration: configuration.document)
        var claim = try NameClaim(name, id: id, storage: storage)
        let temporary = ".\(id).new"
        do {
            try explaining("cannot make the container \(name)") { () throws(KernelError) in
                try lock.containers.makeFolder(temporary)
                let folder = try lock.containers.open(temporary, [.read, .folder, .noFollow])
                _ = try folder.open("lock", [.write, .create, .exclusive])
                try folder.makeFolder("log")
                try folder.replace(
                    ContainerFolder.recordName, with: record.document.text(pretty: true) + "\n", durable: true)
                try folder.sync()
                try claim.write()
                try lock.containers.rename(temporary, to: id)
                try lock.containers.sync()
            }
        } catch {
            // Whichever of the two it was by then; its last owner has not been told of it.
            try? lock.containers.removeTree(temporary)
            try? lock.containers.removeTree(id)
            throw error
        }
        claim.keep()
        EventJournal(storage).append("create", record)
        return record
    }

    /// Opens the folder of all containers, made where it is missing, for somebody who changes what is in it.
    private func shareStore() throws(Problem) -> StoreLock {
        let folder = try explaining("cannot use the store \(storage.containers)") { () throws(KernelError) in
            if try Descriptor.exists(storage.containers) { return try makeFolders(storage.containers) }
            let made = try makeFolders(storage.containers)
            _ = try makeFolders(storage.names)
            // A container on the disk is lost without the folders above it.
            var path = storage.containers
            while let slash = path.lastIndex(of: "/"), slash > path.startIndex {
                path = String(path[..<slash])
                try Descriptor.open(path, [.read, .folder]).sync()
                if path == storage.data { break }
            }
            return made
        }
        try checkOwner(folder)
        do { return try StoreLock(sharing: folder) } catch {
            throw Problem("cannot use the store \(storage.containers)", error)
        }
    }

    /// What another user can write must not tell root, or anybody else, what to start.
    private func checkOwner(_ folder: borrowing Descriptor) throws(Problem) {
        let status = try explaining("cannot use the store \(storage.containers)") { () throws(KernelError) in
            try folder.status()
        }
        guard status.uid == Machine.uid, status.mode & 0o022 == 0 else {
            throw Problem(
                "cannot use the store \(storage.containers)",
                status.uid == Machine.uid
                    ? "others may write to it" : "it belongs to the user \(status.uid), and this is \(Machine.uid)",
                hint: "run codex32 as that user, or choose another folder with --root")
        }
    }

    // MARK: Finding

    /// Every container, oldest first, as the store says: see ``Containers/view(_:)`` for the truth.
    public func all() throws(Problem) -> [Entry] {
        try all { container throws(Problem) in try container.written() }
    }

    /// Every container, oldest first, each as `look` sees it.
    func all(_ look: (borrowing ContainerFolder) throws(Problem) -> ContainerRecord) throws(Problem) -> [Entry] {
        var entries: [Entry] = []
        for id in try ids() {
            do { entries.append(.container(try look(try open(id: id)))) } catch {
                // Gone since the folder was read is not broken.
                if !Descriptor.isMissing("\(storage.containers)/\(id)") {
                    entries.append(.broken(id: id, why: error.why))
                }
            }
        }
        return entries.sorted { $0.createdAt < $1.createdAt }
    }

    public func ids() throws(Problem) -> [String] {
        if Descriptor.isMissing(storage.containers) { return [] }
        let what = "cannot read the store \(storage.containers)"
        let folder = try explaining(what) { () throws(KernelError) in
            try Descriptor.open(storage.containers, [.read, .folder])
        }
        try checkOwner(folder)
        return try explaining(what) { () throws(KernelError) in
            try folder.entries().filter(ContainerID.isValid).sorted()
        }
    }

    /// Opens a container by its whole id.
    public func open(id: String) throws(Problem) -> ContainerFolder {
        let containers = try explaining("cannot use the store \(storage.containers)") { () throws(KernelError) in
            try Descriptor.open(storage.containers, [.read, .folder])
        }
        try checkOwner(containers)
        let folder = try explaining("cannot open the container \(id)") { () throws(KernelError) in
            try containers.open(id, [.read, .folder, .noFollow])
        }
        return ContainerFolder(id: id, storage: storage, folder: folder)
    }

    /// As ``open(id:)``; nil: there is none.
    private func openIfThere(_ id: String) throws(Problem) -> ContainerFolder? {
        do throws(Problem) { return try open(id: id) } catch {
            if Descriptor.isMissing("\(storage.containers)/\(id)") { return nil }
            throw error
        }
    }

    /// A container that was found, with its record where that had to be read for it.
    struct Found: ~Copyable {
        let folder: ContainerFolder
        let record: ContainerRecord?
    }

    /// Finds a container by its name, its id, or the beginning of its id.
    public func find(_ reference: String) throws(Problem) -> ContainerFolder {
        let found = try look(for: reference)
        return found.folder
    }

    /// As ``find(_:)``, for callers that read the record at once.
    func look(for reference: String) throws(Problem) -> Found {
        guard !reference.isEmpty else {
            throw Problem("no container", "the name is empty", hint: "codex32 list shows the names")
        }
        if let found = try named(reference) { return found }
        // A whole id needs no look at the others, of which there may be thousands.
        if ContainerID.isValid(reference), let folder = try openIfThere(reference) {
            return Found(folder: folder, record: nil)
        }
        let ids = try ids()
        if ids.contains(reference) { return Found(folder: try open(id: reference), record: nil) }
        let matches = reference.utf8.count >= 2 ? ids.filter { $0.hasPrefix(reference) } : []
        if matches.count == 1 { return Found(folder: try open(id: matches[0]), record: nil) }
        if matches.count > 1 {
            throw Problem(
                "no container \(reference)", "\(matches.count) ids begin so", hint: "give more of it: \(matches[0])")
        }
        throw try unknown(reference)
    }

    /// The container that has this name; nil: none has.
    func named(_ name: String) throws(Problem) -> Found? {
        guard ContainerName.isValid(name) else { return nil }
        let id = try explaining("cannot look for \(name)") { () throws(KernelError) in
            try NameClaim.claimant(of: name, storage: storage)
        }
        guard let id, let folder = try openIfThere(id) else { return nil }
        let record = try? folder.written()
        // See ``NameClaim/owner(of:storage:)``.
        guard record == nil || record?.name == name else { return nil }
        return Found(folder: folder, record: record)
    }

    /// Says where was searched, and what is near.
    private func unknown(_ reference: String) throws(Problem) -> Problem {
        if let run = RunningContainer.find(reference, storage) {
            return Problem(
                "cannot do that with \(reference)", "it is a foreground run of the image \(run.image)",
                hint: "list, top, stats, exec and kill know it; for all else start it with codex32 run -d")
        }
        let names = try all().compactMap { entry -> String? in
            if case .container(let record) = entry { record.name } else { nil }
        }
        let near = names.min { Spelling.distance($0, reference) < Spelling.distance($1, reference) }
        let whose = Machine.isRoot ? "root's store" : "your own store"
        var hint = near.flatMap { Spelling.distance($0, reference) <= 3 ? "did you mean \($0)?" : nil }
        if hint == nil, !Machine.isRoot { hint = "root has a store of its own: sudo codex32 list -a" }
        return Problem(
            "no container \(reference)", "it is not in \(whose), \(storage.data)",
            hint: hint ?? "codex32 list -a shows all")
    }
}

extension ContainerStore.Entry {
    public var id: String {
        switch self {
        case .container(let record): record.id
        case .broken(let id, _): id
        }
    }

    var createdAt: Int64 {
        switch self {
        case .container(let record): record.createdAt
        case .broken: 0
        }
    }
}

/// How far apart two words are.
public enum Spelling {
    /// How many letters two words differ in (Levenshtein's distance).
    public static func distance(_ a: String, _ b: String) -> Int {
        let b = Array(b.utf8)
        var row = Array(0...b.count)
        for (i, letter) in a.utf8.enumerated() {
            var previous = row[0]
            row[0] = i + 1
            for j in 0..<b.count {
                let saved = row[j + 1]
                row[j + 1] = min(row[j + 1] + 1, row[j] + 1, previous + (letter == b[j] ? 0 : 1))
                previous = saved
            }
        }
        return row[b.count]
    }
}
