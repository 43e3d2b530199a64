internal import Images
internal import LinuxKernel
internal import Sandbox

/// The volumes that belong to one container (`-v /data`): `volumes/ID-0` and so on in the store, in the order in which
/// they were asked for. They outlive their container unless they are removed with it, for they are where data is.
struct OwnVolumes {
    let id: String
    let storage: Storage

    /// Volumes for a plan that nothing comes of: their folders need not be there.
    static func planned(_ configuration: RunConfiguration) throws(Problem) -> [Volume] {
        guard !configuration.ownVolumes.isEmpty else { return [] }
        let status = try explaining("cannot plan the volumes") { () throws(KernelError) in
            try Descriptor.status(ofPath: "/")
        }
        return configuration.ownVolumes.enumerated().map { index, target in
            OwnVolumes.volume("\(configuration.storage.volumes)/ID-\(index)", status, target)
        }
    }

    /// The owners are those of the container's own ids, as with its layer: there is nothing to map.
    private static func volume(_ path: String, _ status: FileStatus, _ target: String) -> Volume {
        var volume = Volume(source: HostPath(path, status), target: target)
        volume.mapOwners = false
        return volume
    }

    /// Of a volume that nobody was given yet: the sticky bit alone means nothing on a folder of its owner's.
    private static let newMode: UInt32 = 0o1700

    /// Makes the folders that are not there yet.
    func make(_ targets: [String]) throws(Problem) -> [Volume] {
        guard !targets.isEmpty else { return [] }
        return try explaining("cannot make the volumes of \(id) in \(storage.volumes)") { () throws(KernelError) in
            let folder = try makeFolders(storage.volumes)
            var volumes: [Volume] = []
            for (index, target) in targets.enumerated() {
                let name = "\(id)-\(index)"
                do throws(KernelError) { try folder.makeFolder(name, mode: OwnVolumes.newMode) } catch {
                    guard error.number == Errno.exists else { throw error }
                }
                let status = try folder.open(name, [.read, .folder, .noFollow]).status()
                volumes.append(OwnVolumes.volume("\(storage.volumes)/\(name)", status, target))
            }
            return volumes
        }
    }

    /// Holds the volumes of a foreground run, which has them a moment before others can see that it runs, for as long
    /// as what is returned lives.
    func hold(_ count: Int) throws(Problem) -> [Owned<Descriptor>] {
        guard count > 0 else { return [] }
        return try explaining("cannot hold the volumes of \(id)") { () throws(KernelError) in
            let volumes = try Descriptor.open(storage.volumes, [.read, .folder])
            var held: [Owned<Descriptor>] = []
            for index in 0..<count {
                let folder = try volumes.open("\(id)-\(index)", [.read, .folder, .noFollow])
                _ = try folder.lock(wait: false)
                held.append(Owned(folder))
            }
            return held
        }
    }

    /// Fills volumes that are new with what the image has in their places, and gives them to the container's program,
    /// where the image does not say whose they are. A program that is another than the caller's own user inside an
    /// ordinary user's container cannot be given anything, and may write to them instead: nobody else comes as far as
    /// here.
    ///
    /// - Parameter root: what the plan's root is made of.
    func give(_ targets: [String], _ root: RootSource, to plan: LaunchPlan) throws(Problem) {
        guard !targets.isEmpty else { return }
        for (index, target) in targets.enumerated() {
            let name = "\(id)-\(index)"
            try explaining("cannot give the volume at \(target) to the container") { () throws(KernelError) in
                let volumes = try Descriptor.open(storage.volumes, [.read, .folder])
                let folder = try volumes.open(name, [.read, .folder, .noFollow])
                let status = try folder.status()
                // Its owner or its mode says that it was given away before.
                guard status.uid == Machine.uid, status.mode == OwnVolumes.newMode else { return }
                // What a killed start left half filled.
                for entry in try folder.entries() { try folder.removeTree(entry) }
                if try fill(folder, target, root, plan) { return }
                let uid = plan.identity?.hostUID(plan.user.uid) ?? plan.user.uid
                let gid = plan.identity?.hostGID(plan.user.gid) ?? plan.user.gid
                if Machine.isRoot {
                    try folder.setOwner(uid: uid, gid: gid)
                    try folder.setMode(0o755)
                } else {
                    try folder.setMode(uid == Machine.uid ? 0o755 : 0o777)
                }
            }
        }
    }

    /// Copies what the image has at a path. False: it has nothing, and whose the volume is, is not said.
    private func fill(
        _ folder: borrowing Descriptor, _ target: String, _ root: RootSource, _ plan: LaunchPlan
    ) throws(KernelError) -> Bool {
        guard let content = try LayeredCopy.find(target, in: root.folders) else { return false }
        guard Machine.isRoot else {
            try LayeredCopy(owner: nil).copy(content, into: folder)
            // Nothing can be given away: see above.
            let isOthers = (plan.identity?.hostUID(plan.user.uid) ?? plan.user.uid) != Machine.uid
            let mode = try folder.status().mode
            try folder.setMode(isOthers ? mode | 0o777 : mode == OwnVolumes.newMode ? 0o700 : mode)
            return true
        }
        let identity = plan.identity
        try LayeredCopy { uid, gid in
            guard let identity else { return (uid, gid) }
            return (
                identity.hostUID(uid) ?? identity.hostUID(0) ?? 0, identity.hostGID(gid) ?? identity.hostGID(0) ?? 0
            )
        }.copy(content, into: folder)
        if try folder.status().mode == OwnVolumes.newMode { try folder.setMode(0o700) }
        return true
    }

    /// The names of the volumes that an id has in a store.
    static func names(of id: String, in storage: Storage) -> [String] {
        all(storage).filter { $0.owner == id }.map(\.name)
    }

    static func all(_ storage: Storage) -> [(name: String, owner: String)] {
        guard let names = try? Descriptor.open(storage.volumes, [.read, .folder]).entries() else { return [] }
        return names.sorted().compactMap { name in
            let id = String(name.prefix(16))
            guard ContainerID.isValid(id), name.utf8.count > 17, name.dropFirst(16).first == "-",
                name.dropFirst(17).allSatisfy({ $0.isASCII && $0.isNumber })
            else { return nil }
            return (name, id)
        }
    }

    func remove() throws(Problem) {
        let names = OwnVolumes.names(of: id, in: storage)
        guard !names.isEmpty else { return }
        let folder = try explaining("cannot remove the volumes of \(id)") { () throws(KernelError) in
            try Descriptor.open(storage.volumes, [.read, .folder])
        }
        for name in names { try folder.removeContainerTree(name) }
    }
}

extension RootSource {
    /// The folders that it is made of, top first; none: it is put together.
    var folders: [String] {
        switch self {
        case .folder(let folder, _): [folder.path]
        case .layers(let folders): folders.map(\.path)
        case .host, .assembled: []
        }
    }
}
