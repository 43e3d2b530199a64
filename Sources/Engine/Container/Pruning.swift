public import LinuxKernel

/// Which of the containers that do not run are taken away.
public struct PruneSelection: Sendable {
    /// A label that must be there, or must not.
    public struct Label: Sendable {
        public let key: String
        /// Nil: whatever its value is.
        public let value: String?
        public let isWanted: Bool
        public init(key: String, value: String?, isWanted: Bool) {
            self.key = key
            self.value = value
            self.isWanted = isWanted
        }
    }
    /// All of them count.
    public var labels: [Label] = []
    /// Made before this: nanoseconds since 1970.
    public var until: Int64?
    public init() {}

    func takes(_ record: ContainerRecord) -> Bool {
        guard [.created, .exited, .dead].contains(record.state.kind) else { return false }
        if let until, record.createdAt >= until { return false }
        return labels.allSatisfy { label in
            record.labels.contains { $0.key == label.key && (label.value == nil || $0.value == label.value) }
                == label.isWanted
        }
    }
}

extension Containers {
    /// The containers that ``prune(_:volumes:failed:)`` would take away now.
    public func prunable(_ selection: PruneSelection) throws(Problem) -> [ContainerRecord] {
        try all().compactMap { entry in
            if case .container(let record) = entry, selection.takes(record) { record } else { nil }
        }
    }

    /// What was taken away.
    public struct Pruned: Sendable {
        public var containers: [(id: String, name: String)] = []
        /// Names in the store's `volumes`.
        public var volumes: [String] = []
        public var freed = TreeUsage()
    }

    /// Takes containers away. One that is started meanwhile stays; one that cannot be removed is told, and stays.
    /// - Parameter volumes: their own volumes go too, and those whose container is gone already.
    public func prune(
        _ selection: PruneSelection, volumes: Bool, failed: (Problem) -> Void
    ) throws(Problem) -> Pruned {
        var pruned = Pruned()
        for record in try prunable(selection) {
            var usage = DiskUsage.container(record.id, storage)
            let own = volumes ? OwnVolumes.names(of: record.id, in: storage) : []
            for name in own { usage += DiskUsage.volume(name, storage) }
            do throws(Problem) { try remove(record.id, force: false, volumes: volumes) } catch {
                failed(error)
                continue
            }
            pruned.containers.append((record.id, record.name))
            pruned.volumes += own
            pruned.freed += usage
        }
        guard volumes else { return pruned }
        for name in try orphanedVolumes() {
            let usage = DiskUsage.volume(name, storage)
            do throws(Problem) {
                guard try removeVolume(name) else { continue }
            } catch {
                failed(error)
                continue
            }
            pruned.volumes.append(name)
            pruned.freed += usage
        }
        return pruned
    }

    /// False: a foreground run that is not entered yet has it.
    private func removeVolume(_ name: String) throws(Problem) -> Bool {
        try explaining("cannot remove the volume \(storage.volumes)/\(name)") { () throws(KernelError) in
            let volumes = try Descriptor.open(storage.volumes, [.read, .folder])
            let folder = try volumes.open(name, [.read, .folder, .noFollow])
            guard try folder.lock(wait: false) else { return false }
            try volumes.removeTree(name)
            return true
        }
    }

    /// Volumes whose container was removed without them.
    public func orphanedVolumes() throws(Problem) -> [String] {
        let owners = Set(try store.ids()).union(try RunningContainer.all(storage).map(\.id))
        return OwnVolumes.all(storage).filter { !owners.contains($0.owner) }.map(\.name)
    }
}
