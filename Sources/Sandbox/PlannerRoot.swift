internal import LinuxKernel

/// How the root file system comes about.
extension Planner {
    struct Root {
        /// The mount that becomes "/"; nil: the host's own tree.
        let mount: Slot?
        /// Set at the end, once every mount point has been made.
        let becomesReadOnly: Bool
    }

    mutating func beginSteps() {
        if hasUserNamespace, let identity = plan.identity {
            let single = identity.uids.count == 1 && identity.uids[0].count == 1
            add(
                .becomeRoot(
                    uid: single ? identity.uids[0].inside : 0, gid: single ? identity.gids[0].inside : 0,
                    dropGroups: !identity.deniesGroups))
        } else {
            add(.becomeRoot(uid: 0, gid: 0, dropGroups: true))
            // In a user namespace of its own the copy of the mounts is a slave of the host's already
            // (mount_namespaces(7)); here it would still be a peer.
            add(.privateMounts)
        }
        if plan.unsharesCgroup { add(.unshare(Namespace.cgroup.cloneFlag)) }
        add(.hostname(request.hostname))
        if plan.namespaces.contains(.network) { add(.loopback) }
    }

    /// Makes a host path available in a slot, as a mount of its own.
    mutating func bind(
        _ source: HostPath, attributes: MountAttributes, owners: BindSource.Owners = .plain, recursive: Bool = true
    ) -> Slot {
        let tree = slot()
        if parentOpensSources {
            plan.sources.append(
                BindSource(slot: tree, source: source, recursive: recursive, attributes: attributes, owners: owners))
            return tree
        }
        let place = slot()
        add(.open(hostPath: source.path, device: source.status.device, inode: source.status.inode, into: place))
        add(.cloneTree(place, recursive: recursive, into: tree))
        if !attributes.isEmpty { add(.mountAttributes(tree, set: attributes, clear: [], recursive: recursive)) }
        return tree
    }

    /// The file system of a layer's disk. The parent mounts it, at every level: no user namespace may.
    private mutating func disk(_ layer: WritableLayer, layered: Bool, attributes: MountAttributes) -> Slot {
        let tree = slot()
        plan.sources.append(
            BindSource(
                slot: tree, source: layer.folder, recursive: false, attributes: attributes, owners: .plain,
                kind: .disk(layered: layered)))
        return tree
    }

    mutating func rootSteps(_ layer: WritableLayer?) -> Root {
        switch request.root {
        case .host:
            add(.useRoot(nil))
            return Root(mount: nil, becomesReadOnly: false)
        case .assembled(let entries):
            let tree = assembledRoot(layer)
            add(.enterHost(tree))
            add(.useRoot(tree))
            for entry in entries { assemble(entry) }
            return Root(mount: tree, becomesReadOnly: plan.readOnlyRoot)
        case .folder(let folder, let present):
            var attributes: MountAttributes = [.noDevices]
            if request.level == .strict { attributes.insert(.noSetuid) }
            let complete = mountPoints.allSatisfy { present.contains($0) }
            if plan.readOnlyRoot && complete {
                let tree = bind(folder, attributes: attributes.union(.readOnly), owners: imageOwners, recursive: true)
                add(.enterHost(tree))
                add(.useRoot(tree))
                return Root(mount: tree, becomesReadOnly: false)
            }
            return image([folder], layer, attributes)
        case .layers(let folders):
            var attributes: MountAttributes = [.noDevices]
            if request.level == .strict { attributes.insert(.noSetuid) }
            return image(folders, layer, attributes)
        }
    }

    private mutating func image(_ folders: [HostPath], _ layer: WritableLayer?, _ attributes: MountAttributes) -> Root {
        guard let layer, !plan.readOnlyRoot else { return overlay(folders, layer: nil, attributes: attributes) }
        guard layer.isCopy, let copy = layer.tree else { return overlay(folders, layer: layer, attributes: attributes) }
        plan.storageKind = .copy
        let tree = bind(copy, attributes: attributes, recursive: false)
        add(.enterHost(tree))
        add(.useRoot(tree))
        return Root(mount: tree, becomesReadOnly: false)
    }

    /// The tree that is put together: in memory, or, for a container that lasts, its layer itself.
    private mutating func assembledRoot(_ layer: WritableLayer?) -> Slot {
        if let layer, layer.isDisk, !plan.readOnlyRoot {
            return disk(layer, layered: false, attributes: [.noSetuid, .noDevices])
        }
        if let tree = layer?.tree, !plan.readOnlyRoot {
            return bind(tree, attributes: [.noSetuid, .noDevices], recursive: false)
        }
        let tree = slot()
        add(
            temporary(
                size: request.storageLimit ?? 256 << 20, mode: 0o755, attributes: [.noSetuid, .noDevices], into: tree))
        return tree
    }

    private var imageOwners: BindSource.Owners { hasUserNamespace ? .namespace : .plain }

    /// Where something will be mounted: a read-only image must have these, or be overlaid.
    var mountPoints: [String] { Planner.mountPoints(of: request) }

    public static func mountPoints(of request: SandboxRequest) -> [String] {
        var points = ["/proc", "/dev", "/tmp"]
        if request.level != .strict { points.append("/sys") }
        if let workspace = request.workspace { points.append(workspace.target) }
        points += request.volumes.map(\.target) + request.temporary.map(\.target)
        // Those below another mount are made there.
        return points.filter { !$0.hasPrefix("/dev/") && !$0.hasPrefix("/tmp/") }
    }

    /// The folders under an overlay, top first: they are never written to. In a user namespace the overlay keeps its
    /// marks in user.* attributes (Linux 5.11).
    private mutating func overlay(_ folders: [HostPath], layer: WritableLayer?, attributes: MountAttributes) -> Root {
        let lowers = folders.map {
            bind($0, attributes: attributes.union(.readOnly), owners: imageOwners, recursive: false)
        }
        let names = folders.count == 1 ? ["lower"] : (0..<folders.count).map(Planner.layerName)
        let upper = layer.map {
            $0.isDisk
                ? disk($0, layered: true, attributes: attributes)
                : bind($0.folder, attributes: attributes, recursive: false)
        }
        let staging = slot()
        let merged = slot()
        let size = layer == nil ? request.storageLimit ?? 64 << 20 : 64 << 20
        add(temporary(size: size, mode: 0o755, attributes: [.noSetuid, .noDevices], into: staging))
        add(.enterHost(staging))
        add(.useRoot(staging))
        for name in names + ["layer", "root"] { add(.makeFolder("/\(name)", mode: 0o755)) }
        for (name, lower) in zip(names, lowers) { add(.attach(lower, at: "/\(name)", .folder)) }
        if let upper {
            add(.attach(upper, at: "/layer", .folder))
        } else {
            add(.makeFolder("/layer/upper", mode: 0o755))
            add(.makeFolder("/layer/work", mode: 0o755))
        }
        var options = [
            MountOption("lowerdir", names.joined(separator: ":")), MountOption("upperdir", "layer/upper"),
            MountOption("workdir", "layer/work"),
        ]
        if hasUserNamespace { options.append(MountOption("userxattr")) }
        // What a container of `run` wrote is gone with it: nothing has to reach the disk.
        if layer?.lasts != true { options.append(MountOption("volatile")) }
        add(.newFileSystem("overlay", options: options, attributes: attributes, workingFolder: staging, into: merged))
        add(.attach(merged, at: "/root", .folder))
        add(.useRoot(merged))
        return Root(mount: merged, becomesReadOnly: plan.readOnlyRoot)
    }

    /// One letter or digit as long as there are any: fsconfig(2) takes 255 bytes of one option, and before Linux 6.5
    /// overlayfs takes its layers in no other way.
    private static func layerName(_ index: Int) -> String {
        let letters = Array("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
        if index < letters.count { return String(letters[index]) }
        return "z" + String(letters[index - letters.count])
    }

    private mutating func assemble(_ entry: RootEntry) {
        switch entry {
        case .folder(let path, let mode): add(.makeFolder(path, mode: mode))
        case .link(let path, let target): add(.makeLink(path, to: target))
        case .file(let path, let mode, let contents): add(.makeFile(path, mode: mode, contents: contents))
        case .bind(let source, let path):
            let tree = bind(source, attributes: [.readOnly, .noSetuid, .noDevices])
            add(.attach(tree, at: path, source.status.kind == .folder ? .folder : .file))
        }
    }

    /// A tmpfs of so many bytes.
    func temporary(size: UInt64, mode: UInt32, attributes: MountAttributes, into slot: Slot) -> LaunchStep {
        .newFileSystem(
            "tmpfs",
            options: [
                MountOption("size", String(size)), MountOption("nr_inodes", String(SharedQuota.inodes(for: size))),
                MountOption("mode", "0" + UInt64(mode).octal),
            ],
            attributes: attributes, workingFolder: nil, into: slot)
    }

    mutating func finishRoot(_ root: Root) {
        guard let mount = root.mount else { return }
        add(.pivot)
        if root.becomesReadOnly { add(.mountAttributes(mount, set: .readOnly, clear: [], recursive: false)) }
    }
}
