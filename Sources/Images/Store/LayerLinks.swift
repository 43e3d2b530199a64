internal import LinuxKernel

/// A layer's hard links to files of the layers below.
///
/// An overlay's link(2) to such a file copies it up first, so that both names are in the upper layer, and the layers
/// below stay as they are. Here the link is made as the copy, and the file's old name beside it when the layer is
/// whole: until then the layer may still take that name away, or have something else there.
final class LayerLinks {
    /// Top first.
    private let below: [Owned]
    /// The names that a copy has in the layer, by the path of the file below; and the other way round.
    private var made: [[FileName]: [[FileName]]] = [:]
    private var sources: [[FileName]: [FileName]] = [:]
    private let copy =
        Machine.isRoot ? LayeredCopy(capabilities: true) { ($0, $1) } : LayeredCopy(capabilities: true, owner: nil)

    init(_ below: [Owned]) { self.below = below }

    /// A file of the layers below, where nothing above hides it.
    struct Found {
        let name: FileName
        let node: Node
        fileprivate let parent: Descriptor.Shared
    }

    /// - Parameter root: of the layer that is being unpacked; what it has hides what is below.
    func find(_ parts: [FileName], from root: Owned) throws(KernelError) -> Found {
        guard let name = parts.last else { throw KernelError("link", number: Errno.isFolder) }
        var folder = LayeredFolder([root] + below, hasStandIns: true)
        for part in parts.dropLast() {
            guard let next = try folder.folder(part) else {
                let number = folder.node(part) == nil ? Errno.missing : Errno.notFolder
                throw KernelError("link", part.description, number: number)
            }
            folder = next
        }
        guard let (node, parent) = folder.place(name) else {
            throw KernelError("link", name.description, number: Errno.missing)
        }
        guard node.kind != .folder else { throw KernelError("link", name.description, number: Errno.isFolder) }
        return Found(name: name, node: node, parent: parent)
    }

    /// Whether a link to it was made before, and another one takes no more of the disk.
    func has(_ parts: [FileName]) -> Bool { made[parts] != nil }

    /// Something else of the layer takes the place of what has this path. (Its inode's number would not tell: another
    /// file may have it next.)
    func forget(_ path: [FileName]) {
        guard let parts = sources.removeValue(forKey: path) else { return }
        let left = made[parts]?.filter { $0 != path } ?? []
        made[parts] = left.isEmpty ? nil : left
    }

    /// Makes a name for it in the layer.
    ///
    /// - Parameters:
    ///   - parts: its path below.
    ///   - parents: where the folder is in the layer.
    func link(
        _ found: Found, _ parts: [FileName], as name: FileName, in folder: borrowing Descriptor, _ parents: [FileName],
        from root: Owned
    ) throws(KernelError) {
        if let earlier = made[parts]?.first, let place = try self.place(of: earlier, from: root) {
            try folder.makeHardLink(name, to: place.name, in: place.folder.descriptor)
        } else {
            try copy.copy(found.node, found.name, from: found.parent, as: name, in: folder)
        }
        let path = parents + [name]
        made[parts, default: []].append(path)
        sources[path] = parts
    }

    /// The layer is whole: what was linked has its old name in it too.
    func finish(_ root: Owned, _ entry: ([FileName]) -> TarEntry?) throws(KernelError) {
        for (parts, names) in made {
            guard let first = names.first, let place = try self.place(of: first, from: root), let name = parts.last,
                let folder = try reach(Array(parts.dropLast()), from: root, entry)
            else { continue }
            let before = try folder.descriptor.node()
            if (try? folder.descriptor.node(name)) != nil { continue }
            try folder.descriptor.makeHardLink(name, to: place.name, in: place.folder.descriptor)
            try folder.descriptor.setModified(before.modified.seconds, before.modified.nanoseconds)
        }
    }

    private func place(of path: [FileName], from root: Owned) throws(KernelError) -> (folder: Owned, name: FileName)? {
        guard let name = path.last else { return nil }
        var folder = root
        for part in path.dropLast() {
            guard let next = try LayerLinks.open(part, in: folder) else { return nil }
            folder = next
        }
        return (folder, name)
    }

    /// The layer's own folder of that path, made where it has none. Nil: the layer hides what is below there.
    private func reach(
        _ parts: [FileName], from root: Owned, _ entry: ([FileName]) -> TarEntry?
    ) throws(KernelError) -> Owned? {
        var folder = root
        for (index, part) in parts.enumerated() {
            if (try? folder.descriptor.node(part)) == nil {
                guard let entry = entry(Array(parts[...index])) else { return nil }
                let before = try folder.descriptor.node()
                try folder.descriptor.makeFolder(part, mode: 0o700)
                guard let new = try LayerLinks.open(part, in: folder) else { return nil }
                if Machine.isRoot { try new.descriptor.setOwner(uid: entry.uid, gid: entry.gid) }
                try new.descriptor.setMode(entry.mode)
                try new.descriptor.setModified(entry.modified.seconds, entry.modified.nanoseconds)
                try folder.descriptor.setModified(before.modified.seconds, before.modified.nanoseconds)
            }
            guard let next = try LayerLinks.open(part, in: folder), !next.descriptor.isOpaque(),
                !LayerStandIn.isOpaque(next.descriptor)
            else { return nil }
            folder = next
        }
        return folder
    }

    /// Nil: there is none, or it is no folder.
    private static func open(_ name: FileName, in folder: Owned) throws(KernelError) -> Owned? {
        do throws(KernelError) { return Owned(try folder.descriptor.open(name, [.read, .folder, .noFollow])) } catch {
            guard [Errno.missing, Errno.notFolder, Errno.loop].contains(error.number) else { throw error }
            return nil
        }
    }
}
