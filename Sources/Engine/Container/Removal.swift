internal import LinuxKernel

/// Taking a container away. One rename is the point of no return: before it the container is whole, after it there
/// is none, and what is left of it (named after it, in a folder whose name begins with a dot) is cleared away here,
/// or by recovery where this was killed or failed. The folder goes last, so that the rest can be found by it.
enum Removal {
    /// The caller holds the lock, and nothing of the container runs.
    /// - Parameter volumes: the container's own volumes go too.
    /// - Throws: what could not be removed. Only where it names the container as a whole is that still there.
    static func remove(
        _ container: borrowing ContainerFolder, _ record: ContainerRecord, volumes: Bool
    ) throws(Problem) {
        try erase(container, name: record.name, volumes: volumes)
    }

    /// - Parameter name: nil where the record cannot be read.
    static func erase(_ container: borrowing ContainerFolder, name: String?, volumes: Bool) throws(Problem) {
        let storage = container.storage
        let id = container.id
        let lock = try explaining("cannot remove the container \(id)") { () throws(KernelError) -> StoreLock in
            let lock = try StoreLock(sharing: try Descriptor.open(storage.containers, [.read, .folder]))
            try lock.containers.rename(id, to: grave(id, volumes: volumes))
            return lock
        }
        EventJournal(storage).append("remove", id: id, name: name ?? "")
        do throws(Problem) {
            // On the disk first: a power loss must not bring it back with half of its layer.
            try explaining("") { () throws(KernelError) in try lock.containers.sync() }
            if let name {
                try NameClaim.remove(name, of: id, storage: storage)
            } else {
                try NameClaim.sweep(storage)
            }
            try clear(id, volumes: volumes, in: lock, storage)
        } catch {
            throw Problem(
                "cannot remove all of the container \(id)", error.why,
                hint: "it is gone from the list; codex32 system recover tries again")
        }
    }

    private static let ends = [(end: ".gone", volumes: false), (end: ".gone-with-volumes", volumes: true)]

    private static func grave(_ id: String, volumes: Bool) -> String { ".\(id)\(ends[volumes ? 1 : 0].end)" }

    /// The id in the name of a folder that a removal left, and whether its volumes were to go too.
    static func buried(_ name: String) -> (id: String, volumes: Bool)? {
        for (end, volumes) in ends where name.hasPrefix(".") && name.hasSuffix(end) {
            let id = String(name.dropFirst().dropLast(end.utf8.count))
            if ContainerID.isValid(id) { return (id, volumes) }
        }
        return nil
    }

    /// Removes what a container without a folder of its own still has.
    static func clear(
        _ id: String, volumes: Bool, in lock: borrowing StoreLock, _ storage: Storage
    ) throws(Problem) {
        let what = "cannot remove all of the container \(id)"
        try explaining(what) { () throws(KernelError) in
            if !Descriptor.isMissing(storage.supervised) {
                try Descriptor.open(storage.supervised, [.read, .folder]).removeTree(id)
            }
        }
        try LayerStore(id: id, storage: storage).remove()
        if volumes { try OwnVolumes(id: id, storage: storage).remove() }
        try Workspace.settle(id, storage)
        try explaining(what) { () throws(KernelError) in
            try lock.containers.removeTree(grave(id, volumes: volumes))
        }
    }
}
