internal import LinuxKernel

/// Taking a container away: its name last, so that what a kill leaves half done can still be found and removed.
enum Removal {
    /// The caller holds the lock, and nothing of the container runs.
    /// - Throws: what could not be removed; the container is then still there.
    /// - Parameter volumes: the container's own volumes go too.
    static func remove(
        _ container: borrowing ContainerFolder, _ record: ContainerRecord, volumes: Bool
    ) throws(Problem) {
        if volumes { try OwnVolumes(id: record.id, storage: container.storage).remove() }
        try erase(container)
        NameClaim.remove(record.name, of: record.id, storage: container.storage)
        EventJournal(container.storage).append("remove", record)
    }

    /// Takes away all but its name.
    static func erase(_ container: borrowing ContainerFolder) throws(Problem) {
        try LayerStore(id: container.id, storage: container.storage).remove()
        let storage = container.storage
        let id = container.id
        try explaining("cannot remove the container \(id)") { () throws(KernelError) in
            let containers = try Descriptor.open(storage.containers, [.read, .folder])
            // Out of sight in one step; a name with a dot is no container, and recovery clears it away.
            let grave = ".\(id).gone"
            try containers.rename(id, to: grave)
            try containers.removeTree(grave)
        }
        try? Descriptor.open(storage.supervised, [.read, .folder]).removeTree(id)
    }
}
