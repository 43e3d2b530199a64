internal import LinuxKernel
internal import OCISpec

/// Unpacked layers: made once, shared by all images that have them on top of the same layers.
extension ImageStore {
    /// Bounds for one layer from anybody.
    public struct Limits: Sendable {
        /// Bytes of a layer's files together, their holes too.
        public var bytes: UInt64 = 32 << 30
        public var files: UInt64 = 1_000_000
        public init() {}
    }

    /// Bytes behind an archive's end that are read, for its sum: tools pad to a mebibyte at the most.
    private static let mostBehind: UInt64 = 64 << 20

    func layerPath(_ chain: Digest) -> String { "\(folder)/layers/\(chain.hex)" }

    /// Unpacks those of an image's layers that are not there yet, bottom first. Whoever else wants one meanwhile waits
    /// and has it too.
    func unpack(
        _ image: Stored, _ limits: Limits, progress: (String) -> Void, notice: @escaping (String) -> Void
    ) throws(Problem) {
        var left = limits.bytes
        for (index, chain) in image.chain.enumerated() {
            let what = "cannot unpack layer \(index + 1) of \(image.chain.count)"
            let isThere = { () throws(Problem) in
                try explaining(what) { () throws(KernelError) in try Descriptor.exists(layerPath(chain)) }
            }
            if try isThere() { continue }
            let place = try explaining(what) { () throws(KernelError) in
                Owned(try Descriptor.open("\(folder)/ingest", [.read, .folder]))
            }
            let name = "layer-\(chain.hex)"
            let lock = try explaining(what) { () throws(KernelError) in
                Owned(try place.descriptor.open("\(name).lock", [.readWrite, .create, .noFollow]))
            }
            try explaining(what) { () throws(KernelError) in
                if try !lock.descriptor.lock(wait: false) {
                    progress("waiting for another codex32 that unpacks layer \(index + 1)")
                    _ = try lock.descriptor.lock(wait: true)
                }
            }
            if try isThere() { continue }
            progress("unpacking layer \(index + 1) of \(image.chain.count)")
            // A killed one's.
            for half in [name, merging(name)] { try place.descriptor.removeContainerTree(half) }
            do throws(Problem) {
                let isMerged = try unpack(image, index, into: name, place, limits, left: &left, notice)
                try explaining(what) { () throws(KernelError) in
                    // What has its name is whole after a power loss too.
                    try place.descriptor.syncFileSystem()
                    try mark(chain, isMerged: isMerged)
                    let store = try Descriptor.open(folder, [.read, .folder])
                    try store.rename("ingest/\(name)", to: "layers/\(chain.hex)")
                    try Descriptor.open("\(folder)/layers", [.read, .folder]).sync()
                }
            } catch {
                for half in [name, merging(name)] { try? place.descriptor.removeContainerTree(half) }
                throw Problem(what, "\(error.what): \(error.why)", hint: error.hint)
            }
        }
    }

    /// - Returns: whether all that is below is in it too.
    private func unpack(
        _ image: Stored, _ index: Int, into name: String, _ place: Owned, _ limits: Limits, left: inout UInt64,
        _ notice: @escaping (String) -> Void
    ) throws(Problem) -> Bool {
        let layer = image.manifest.layers[index]
        let what = "cannot unpack \(layer.digest)"
        let stream = ByteStream(try openBlob(layer.digest))
        // What is unpacked may be the blob itself, whose sum was verified when it was written.
        let inflated = try layer.digest == image.config.diffIDs[index] ? nil : InflatedLayer(stream, what)
        let target = try explaining(what) { () throws(KernelError) -> Descriptor in
            try place.descriptor.makeFolder(name, mode: 0o700)
            let target = try place.descriptor.open(name, [.read, .folder, .noFollow])
            try target.setMode(0o755)
            return target
        }
        var below: [Owned] = []
        for chain in stack(Array(image.chain[..<index])) {
            below.append(
                Owned(
                    try explaining(what) { () throws(KernelError) in
                        try Descriptor.open(layerPath(chain), [.read, .folder])
                    }))
        }
        // A layer need not have an entry for its own root, which hides the one below all the same.
        if let under = below.first {
            try explaining(what) { () throws(KernelError) in
                let status = try under.descriptor.status()
                if Machine.isRoot { try target.setOwner(uid: status.uid, gid: status.gid) }
                try target.setMode(status.mode)
            }
        }
        var options = TarUnpacker.Options()
        options.isFresh = true
        (options.owners, options.setIDs, options.capabilities) = (Machine.isRoot, Machine.isRoot, Machine.isRoot)
        options.attributes = true
        options.takesAbsolute = true
        (options.mostBytes, options.mostMembers) = (limits.bytes, limits.files)
        let unpacker = TarUnpacker(TarReader(inflated ?? stream), into: target, options: options, notice: notice)
        let marks = LayerMarks(below)
        unpacker.layer = marks
        do throws(Problem) { try unpacker.unpack() } catch {
            guard let failure = inflated?.failure else { throw error }
            throw Problem(what, failure)
        }
        try inflated?.check(against: image.config.diffIDs[index], within: ImageStore.mostBehind)
        guard marks.hasStandIns else { return false }
        try merge(name, below, in: place, left: &left)
        notice("a layer that takes files away was merged with those below: the store's file system has no whiteouts")
        return true
    }
}

/// A layer's marks for what it takes away from those below (image-spec, layer.md, "Whiteouts"), in overlayfs's form.
final class LayerMarks {
    /// Top first.
    private let below: [Owned]
    private var gone: Set<[FileName]> = []
    private let links: LayerLinks
    /// Its own root was marked as opaque.
    private var hidesAll = false
    /// A mark could not be made in overlayfs's form.
    private(set) var hasStandIns = false

    init(_ below: [Owned]) {
        self.below = below
        links = LayerLinks(below)
    }

    static let prefix: [UInt8] = Array(".wh.".utf8)
    /// Docker's marks for a storage of long ago, without a meaning here.
    static let reserved: [UInt8] = Array(".wh..wh.".utf8)
    static let opaque = FileName(".wh..wh..opq")

    /// Whether a member lies in a folder of marks that mean nothing here.
    func isPassedOver(_ parts: [FileName]) throws(Problem) -> Bool {
        for part in parts.dropLast() where part.bytes.starts(with: LayerMarks.prefix) {
            if part.bytes.starts(with: LayerMarks.reserved) { return true }
            throw Problem("cannot unpack \(part)", "a whiteout is no folder")
        }
        guard let name = parts.last, name != LayerMarks.opaque else { return false }
        return name.bytes.starts(with: LayerMarks.reserved)
    }

    /// Puts the mark that a name stands for. False: it stands for itself.
    func mark(_ name: FileName, _ parents: ArraySlice<FileName>, in folder: borrowing Descriptor) throws(Problem)
        -> Bool
    {
        guard name.bytes.starts(with: LayerMarks.prefix) else { return false }
        let parents = Array(parents)
        let what = "cannot unpack \(name)"
        if name == LayerMarks.opaque {
            if parents.isEmpty { hidesAll = true } else if !below.isEmpty { try makeOpaque(folder) }
            return true
        }
        guard let hidden = FileName(name.bytes.dropFirst(4)), !hidden.isEmpty, hidden.bytes != [0x2e],
            hidden.bytes != [0x2e, 0x2e]
        else { throw Problem(what, "it hides no name") }
        if below.isEmpty { return true }
        if let own = try? folder.node(hidden) {
            // A whiteout speaks of the layers below: what the layer itself has of that name stays.
            if own.kind == .folder {
                let inside = try explaining(what) { () throws(KernelError) in
                    Owned(try folder.open(hidden, [.read, .folder, .noFollow]))
                }
                try makeOpaque(inside.descriptor)
            }
            return true
        }
        try hide(hidden, in: folder)
        gone.insert(parents + [hidden])
        return true
    }

    /// A folder takes the place of something that the layer hid: true where it has to be opaque.
    func replaces(_ name: FileName, _ parents: [FileName], in folder: borrowing Descriptor) throws(Problem) -> Bool {
        guard !gone.isEmpty, gone.remove(parents + [name]) != nil else { return false }
        if let node = try? folder.node(name), LayerMarks.hides(node) {
            try explaining("cannot unpack \(name)") { () throws(KernelError) in try folder.remove(name) }
        }
        return true
    }

    static func hides(_ node: Node) -> Bool { node.isWhiteout || LayerStandIn.hides(node) }

    private func hide(_ name: FileName, in folder: borrowing Descriptor) throws(Problem) {
        do throws(KernelError) {
            do throws(KernelError) { try folder.makeWhiteout(name) } catch {
                guard LayerStandIn.isWanted(error) else { throw error }
                try folder.makeSocket(name)
                hasStandIns = true
            }
        } catch {
            throw Problem(
                "cannot mark \(name) as taken away", error, hint: "--root FOLDER on ext4, xfs, btrfs or tmpfs")
        }
    }

    /// overlayfs reads trusted.* where its mounter is the machine's root, user.* in a user namespace; a store's
    /// layers serve both.
    func makeOpaque(_ folder: borrowing Descriptor) throws(Problem) {
        let yes: [UInt8] = [0x79]
        var isMarked = true
        try explaining(
            "cannot mark a folder of the layer as opaque", hint: "--root FOLDER on ext4, xfs, btrfs or tmpfs"
        ) { () throws(KernelError) in
            // On an overlay these are that overlay's own (before Linux 6.7), and NFS has none.
            for name in ["user.overlay.opaque"] + (Machine.isRoot ? ["trusted.overlay.opaque"] : []) {
                do throws(KernelError) { try folder.setAttribute(name, yes) } catch {
                    // Who is root of less than the machine mounts with user.*.
                    if error.number == Errno.permission, name.hasPrefix("trusted.") { continue }
                    guard LayerStandIn.isWanted(error) else { throw error }
                    isMarked = false
                }
            }
            guard !isMarked else { return }
            hasStandIns = true
            if !LayerStandIn.isOpaque(folder) { try folder.makeSocket(LayerMarks.opaque) }
        }
    }

    /// A file of the layers below that a hard link of this one is to.
    func linkBelow(
        _ parts: [FileName], from root: Owned
    ) throws(KernelError) -> (file: LayerLinks.Found, by: LayerLinks) {
        guard !hidesAll else { throw KernelError("link", parts.last?.description, number: Errno.missing) }
        return (try links.find(parts, from: root), links)
    }

    /// A later member takes the place of an earlier one of this path.
    func forget(_ path: [FileName]) { links.forget(path) }

    /// All members were unpacked.
    func finish(_ root: Owned) throws(Problem) {
        let what = "cannot unpack the layer"
        guard hidesAll else {
            return try explaining(what) { () throws(KernelError) in try links.finish(root, entry(for:)) }
        }
        // The kernel does not look whether a layer's own root is opaque: what is below is hidden name by name.
        for name in try explaining(what, { () throws(KernelError) in try LayeredFolder(below).names() }) {
            let own = try? root.descriptor.node(name)
            if own?.kind == .folder {
                let inside = try explaining(what) { () throws(KernelError) in
                    Owned(try root.descriptor.open(name, [.read, .folder, .noFollow]))
                }
                try makeOpaque(inside.descriptor)
            } else if own == nil {
                try hide(name, in: root.descriptor)
            }
        }
    }

    /// What a folder that the layer has things in, but no entry for, is in the layers below: in the overlay it hides
    /// theirs, with owner, mode and time.
    func entry(for parts: [FileName]) -> TarEntry? {
        for tree in below {
            guard let node = node(parts, in: tree) else { continue }
            guard node.kind == .folder else { return nil }
            return TarEntry(
                path: parts.last ?? FileName("."), kind: .folder, mode: node.mode, uid: node.uid, gid: node.gid,
                size: 0,
                modified: node.modified)
        }
        return nil
    }

    private func node(_ parts: [FileName], in tree: Owned) -> Node? {
        guard let last = parts.last else { return nil }
        var folder = tree
        for part in parts.dropLast() {
            guard let next = try? folder.descriptor.open(part, [.read, .folder, .noFollow]) else { return nil }
            folder = Owned(next)
        }
        return try? folder.descriptor.node(last)
    }
}
