internal import LinuxKernel

/// The workspace of a container that lasts: it has the container's id, is made at the first start, and is the same at
/// each start after that, until a person has applied all of it or discarded it.
///
/// Whoever has the container's lock has the workspace: its supervisor while it runs or waits for its next start, else a
/// command that starts it, looks at its files, or works with the workspace.
extension Workspace {
    /// Of a container that is about to start; nil: it asks for none. The caller has the container's lock.
    static func keep(of id: String, _ configuration: RunConfiguration) throws(Problem) -> Workspace? {
        guard let (path, _) = configuration.workspace else { return nil }
        if let workspace = try kept(id, configuration.storage) { return workspace }
        try clearHalf(id, configuration.storage)
        return try make(id: id, path, configuration.storage, started: Clock.realtime)
    }

    /// The one that a container has already.
    static func kept(_ id: String, _ storage: Storage) throws(Problem) -> Workspace? {
        isThere(id, storage) ? try open(id, storage) : nil
    }

    /// One that could not be looked for may be there.
    static func isThere(_ id: String, _ storage: Storage) -> Bool {
        ContainerID.isValid(id) && !Descriptor.isMissing("\(folder(storage))/\(id)")
    }

    /// By the name of its container; nil: none has that name.
    static func named(_ name: String, _ storage: Storage) throws(Problem) -> Workspace? {
        guard let found = try ContainerStore(storage).named(name) else { return nil }
        if let workspace = try kept(found.folder.id, storage) { return workspace }
        throw Problem(
            "no workspace of \(name)", "the container has none, or none any more",
            hint: "codex32 workspace list shows those that there are")
    }

    /// Takes the lock of its container, so that nobody starts that meanwhile. A foreground run's has none.
    func takeContainer() throws(Problem) {
        let containers = Containers(storage)
        if Descriptor.isMissing("\(storage.containers)/\(id)") { return }
        let container = try containers.store.open(id: id)
        switch try containers.hold(container) {
        case .mine(let lock):
            // A program that outlived its supervisor is ended, or was adopted just now.
            if let record = try? container.written() { _ = try Recovery.mend(container, record, holding: lock) }
            containerLock = Owned(lock)
        case .supervisor:
            let record = try container.written()
            throw Problem(
                "cannot use the workspace \(id)", "its container \(record.name) is \(record.state.kind.rawValue)",
                hint: "codex32 stop \(record.name)")
        }
    }

    /// Removes what a kill left half made or half discarded.
    private static func clearHalf(_ id: String, _ storage: Storage) throws(Problem) {
        if Descriptor.isMissing("\(folder(storage))/.\(id)") { return }
        let all = try explaining("cannot remove half of the workspace \(id)") { () throws(KernelError) in
            try Descriptor.open(folder(storage), [.read, .folder])
        }
        try all.removeContainerTree(".\(id)")
    }

    /// The same of those that belong to no container and no run: so old that nobody is at work on them.
    static func sweep(_ storage: Storage, before: Int64, isOwned: (String) -> Bool) {
        guard let all = try? Descriptor.open(folder(storage), [.read, .folder]), let names = try? all.entries() else {
            return
        }
        for name in names where name.hasPrefix(".") {
            let id = String(name.dropFirst())
            guard ContainerID.isValid(id), !isOwned(id), let status = try? all.status(of: name),
                status.modified < before
            else { continue }
            try? clearHalf(id, storage)
        }
    }

    /// When its container goes: one without changes goes too, and any other stays, for a person to look at.
    static func settle(_ id: String, _ storage: Storage) throws(Problem) {
        try clearHalf(id, storage)
        // One that cannot be looked at may have changes.
        guard let workspace = try? kept(id, storage), let changes = try? workspace.changes(), changes.isEmpty else {
            return
        }
        try workspace.discard()
    }
}
