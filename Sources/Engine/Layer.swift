internal import LinuxKernel
internal import Sandbox

/// The folder that takes a container's changes to its root.
struct Layer: ~Copyable {
    let host: HostPath
    /// Nil: it has the two folders of an overlay.
    let copy: HostPath?
    private let layers: Descriptor
    private let id: String

    /// Makes `layers/ID` with the two folders that overlayfs wants, or with that of a copy (``LayerCopy``).
    init(id: String, storage: Storage, for root: RootSource) throws(Problem) {
        let what = "cannot make a layer in \(storage.layers)"
        let layers = try explaining(what, hint: nil) { () throws(KernelError) in try makeFolders(storage.layers) }
        let path = "\(storage.layers)/\(id)"
        (host, copy) = try explaining(what) { () throws(KernelError) in
            let isCopied = root.isImage ? try LayerCopy.reason(layers) != nil : false
            try layers.makeFolder(id)
            do throws(KernelError) {
                let folder = try layers.open(id, [.read, .folder, .noFollow])
                for name in isCopied ? [LayerCopy.tree] : ["upper", "work"] {
                    try folder.makeFolder(name)
                    try folder.open(name, [.read, .folder]).setMode(0o755)
                }
                let copy = isCopied ? try folder.status(of: LayerCopy.tree) : nil
                return (
                    HostPath(path, try folder.status()), copy.map { HostPath("\(path)/\(LayerCopy.tree)", $0) }
                )
            } catch {
                try? layers.removeTree(id)
                throw error
            }
        }
        self.layers = layers
        self.id = id
    }

    /// Gives the layer to the container's root; a copy is made now.
    borrowing func give(to map: IdentityMap?, _ root: RootSource) throws(Problem) {
        if copy != nil {
            let folder = try explaining("cannot copy the image") { () throws(KernelError) in
                try layers.open(id, [.read, .folder, .noFollow])
            }
            return try LayerCopy.fill(folder, from: root, map)
        }
        guard let map, let uid = map.hostUID(0), let gid = map.hostGID(0), Machine.isRoot else { return }
        try explaining("cannot give the layer to the container") { () throws(KernelError) in
            let folder = try layers.open(id, [.read, .folder, .noFollow])
            try folder.setOwner(uid: uid, gid: gid)
            for name in ["upper", "work"] {
                try folder.open(name, [.read, .folder, .noFollow]).setOwner(uid: uid, gid: gid)
            }
        }
    }

    borrowing func remove() throws(Problem) { try layers.removeContainerTree(id) }
}

/// The layer of a container that is kept from one start to the next.
struct LayerStore {
    let id: String
    let storage: Storage

    /// Opens the layer, made at the first start; nil where the request's root takes no changes.
    func open(for request: SandboxRequest) throws(Problem) -> WritableLayer? {
        guard !request.readOnly, request.root != .host, !request.isKeptInMemory else { return nil }
        let path = "\(storage.layers)/\(id)"
        let isThere = try explaining("cannot open the layer \(path)") { () throws(KernelError) in
            try Descriptor.exists(path)
        }
        let limit = request.storageKind == .disk ? request.storageLimit : nil
        if !isThere { try make(limit, request.root) }
        if limit == nil, request.root.isImage, let copy = try LayerCopy.open(path) { return copy }
        return try explaining("cannot open the layer \(path)") { () throws(KernelError) in
            let folder = try Descriptor.open(path, [.read, .folder, .noFollow])
            if limit != nil {
                // Without its disk it would have no limit.
                _ = try folder.status(of: LayerDisk.name)
                return WritableLayer(HostPath(path, try folder.status()), isDisk: true)
            }
            let upper = try folder.open("upper", [.pathOnly, .folder, .noFollow])
            return WritableLayer(
                HostPath(path, try folder.status()), tree: HostPath("\(path)/upper", try upper.status()))
        }
    }

    /// Makes it whole under another name first: a layer that a kill left without its folders could never be mounted.
    private func make(_ limit: UInt64?, _ root: RootSource) throws(Problem) {
        try removeHalf()
        if let limit {
            try LayerDisk.make(temporary, size: limit, storage)
        } else {
            _ = try Layer(id: temporary, storage: storage, for: root)
        }
        try explaining("cannot make the layer of \(id)") { () throws(KernelError) in
            try Descriptor.open(storage.layers, [.read, .folder]).rename(temporary, to: id)
        }
    }

    /// Whether a killed start left one that is not whole.
    var isHalfMade: Bool { !Descriptor.isMissing("\(storage.layers)/\(temporary)") }

    func removeHalf() throws(Problem) { try remove([temporary]) }

    private var temporary: String { ".\(id).new" }

    /// The container in the name of a layer that is not whole yet.
    static func maker(of name: String) -> String? {
        guard name.hasPrefix("."), name.hasSuffix(".new") else { return nil }
        return String(name.dropFirst().dropLast(4))
    }

    /// A disk is given away where it is mounted: see ``LayerDisk``. A copy is made now.
    func give(_ layer: WritableLayer, to map: IdentityMap?, _ root: RootSource) throws(Problem) {
        if layer.isCopy {
            let folder = try explaining("cannot copy the image") { () throws(KernelError) in
                try Descriptor.open("\(storage.layers)/\(id)", [.read, .folder, .noFollow])
            }
            return try LayerCopy.fill(folder, from: root, map)
        }
        guard !layer.isDisk, let map, let uid = map.hostUID(0), let gid = map.hostGID(0), Machine.isRoot else { return }
        try explaining("cannot give the layer to the container") { () throws(KernelError) in
            let folder = try Descriptor.open("\(storage.layers)/\(id)", [.read, .folder, .noFollow])
            try folder.setOwner(uid: uid, gid: gid)
            for name in ["upper", "work"] {
                let below = try folder.open(name, [.read, .folder, .noFollow])
                // Only the layer itself: what the program made in it has its owners already.
                if try below.status().uid == 0 { try below.setOwner(uid: uid, gid: gid) }
            }
        }
    }

    func remove() throws(Problem) { try remove([id, temporary]) }

    private func remove(_ names: [String]) throws(Problem) {
        // One that could not be looked at may be there.
        if Descriptor.isMissing(storage.layers) { return }
        let layers = try explaining("cannot remove the layer of \(id)") { () throws(KernelError) in
            try Descriptor.open(storage.layers, [.read, .folder])
        }
        for name in names { try layers.removeContainerTree(name) }
    }
}
