internal import Images
public import LinuxKernel
internal import OCISpec

/// What a store takes on its disk, and how much of that could be had back.
public struct DiskUsage: Sendable {
    public enum Kind: String, CaseIterable, Sendable {
        case containers, logs, runs, volumes, images, templates, caches, journal
    }

    /// One line of it.
    public struct Entry: Sendable {
        public let kind: Kind
        /// How many there are, and how many of them are in use.
        public var total = 0
        public var active = 0
        public var size = TreeUsage()
        /// Bytes that a removal of what is not in use gives back.
        public var reclaimable: UInt64 = 0
        init(_ kind: Kind) { self.kind = kind }

        mutating func add(_ usage: TreeUsage, active isActive: Bool) {
            total += 1
            if isActive { active += 1 } else { reclaimable &+= usage.bytes }
            size += usage
        }
    }

    public let entries: [Entry]

    public init(_ containers: Containers) throws(Problem) {
        let storage = containers.storage
        let all = try containers.all()
        let running = try RunningContainer.all(storage)
        entries =
            DiskUsage.containers(all, storage) + [
                DiskUsage.runs(running, storage), DiskUsage.volumes(all, running, storage),
                try DiskUsage.images(all, running, storage), DiskUsage.templates(all, running, storage),
                DiskUsage.caches(storage), DiskUsage.journal(storage),
            ]
    }

    /// Their changes to their images, with their records; and what they wrote.
    private static func containers(_ all: [ContainerStore.Entry], _ storage: Storage) -> [Entry] {
        var containers = Entry(.containers)
        var logs = Entry(.logs)
        for entry in all {
            var isActive = false
            if case .container(let record) = entry { isActive = record.state.isSupervised }
            let log = below("\(storage.containers)/\(entry.id)", "log")
            var usage = container(entry.id, storage)
            usage.bytes -= min(log.bytes, usage.bytes)
            usage.files -= min(log.files, usage.files)
            containers.add(usage, active: isActive)
            logs.add(log, active: isActive)
        }
        return [containers, logs]
    }

    private static func runs(_ running: [RunningContainer], _ storage: Storage) -> Entry {
        var runs = Entry(.runs)
        for run in running { runs.add(layer(run.id, storage), active: true) }
        return runs
    }

    private static func volumes(
        _ all: [ContainerStore.Entry], _ running: [RunningContainer], _ storage: Storage
    ) -> Entry {
        let owners = Set(all.map(\.id) + running.map(\.id))
        var volumes = Entry(.volumes)
        for volume in OwnVolumes.all(storage) {
            volumes.add(DiskUsage.volume(volume.name, storage), active: owners.contains(volume.owner))
        }
        return volumes
    }

    private static func images(
        _ all: [ContainerStore.Entry], _ running: [RunningContainer], _ storage: Storage
    ) throws(Problem) -> Entry {
        let store = ImageStore(data: storage.data)
        var used: Set<Digest> = []
        for case .container(let record) in all {
            if case .string(let text)? = record.configuration["imageDigest"], let digest = Digest(text) {
                used.insert(digest)
            }
        }
        for run in running {
            if let name = ImageName(run.image), let digest = store.meaning(of: name) { used.insert(digest) }
        }
        let usage = try store.usage(used: used)
        var images = Entry(.images)
        (images.total, images.active, images.size) = (usage.total, usage.active, usage.size)
        images.reclaimable = usage.reclaimable
        return images
    }

    private static func templates(
        _ all: [ContainerStore.Entry], _ running: [RunningContainer], _ storage: Storage
    ) -> Entry {
        let path = "\(storage.data)/templates"
        var used = Set(running.map(\.image))
        for case .container(let record) in all { used.insert(record.image) }
        var templates = Entry(.templates)
        for name in names(path) where !name.hasPrefix(".") && !name.hasSuffix(".log") {
            templates.add(below(path, name), active: used.contains("template:\(name)"))
        }
        return templates
    }

    /// All of them can be made again.
    private static func caches(_ storage: Storage) -> Entry {
        var caches = Entry(.caches)
        for name in names(storage.seccompCache) { caches.add(below(storage.seccompCache, name), active: false) }
        return caches
    }

    private static func journal(_ storage: Storage) -> Entry {
        var journal = Entry(.journal)
        for name in names(storage.journal) { journal.add(below(storage.journal, name), active: true) }
        return journal
    }

    /// A container's folder and its changes. The folder beside them in the layer is overlayfs's own: it lets nobody
    /// in, and what it holds is gone when a mount is. Of a disk its file is what counts: a hole in it takes nothing.
    static func container(_ id: String, _ storage: Storage) -> TreeUsage {
        var usage = below(storage.containers, id)
        usage += layer(id, storage)
        return usage
    }

    private static func layer(_ id: String, _ storage: Storage) -> TreeUsage {
        var usage = below("\(storage.layers)/\(id)", "upper")
        usage += below("\(storage.layers)/\(id)", LayerCopy.tree)
        usage += below("\(storage.layers)/\(id)", LayerDisk.name)
        return usage
    }

    static func volume(_ name: String, _ storage: Storage) -> TreeUsage { below(storage.volumes, name) }

    private static func below(_ folder: String, _ name: String) -> TreeUsage {
        guard let place = try? Descriptor.open(folder, [.read, .folder]) else { return TreeUsage() }
        return place.usage(of: name)
    }

    private static func names(_ folder: String) -> [String] {
        ((try? Descriptor.open(folder, [.read, .folder]).entries()) ?? []).sorted()
    }
}
