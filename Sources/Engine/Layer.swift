internal import LinuxKernel
internal import Sandbox

/// The folder that takes a container's changes to its root.
struct Layer: ~Copyable {
    let host: HostPath
    private let layers: Descriptor
    private let id: String

    /// Makes `layers/ID` with the two folders that overlayfs wants, owned by the container's root.
    init(id: String, storage: Storage) throws(Problem) {
        let what = "cannot make a layer in \(storage.layers)"
        let layers = try explaining(what, hint: nil) { () throws(KernelError) in try makeFolders(storage.layers) }
        let path = "\(storage.layers)/\(id)"
        host = try explaining(what) { () throws(KernelError) in
            try layers.makeFolder(id)
            let folder = try layers.open(id, [.read, .folder, .noFollow])
            for name in ["upper", "work"] {
                try folder.makeFolder(name)
                try folder.open(name, [.read, .folder]).setMode(0o755)
            }
            return HostPath(path, try folder.status())
        }
        self.layers = layers
        self.id = id
    }

    /// Gives the layer to the container's root.
    borrowing func give(to map: IdentityMap?) throws(Problem) {
        guard let map, let uid = map.hostUID(0), let gid = map.hostGID(0), Machine.isRoot else { return }
        try explaining("cannot give the layer to the container") { () throws(KernelError) in
            let folder = try layers.open(id, [.read, .folder, .noFollow])
            try folder.setOwner(uid: uid, gid: gid)
            for name in ["upper", "work"] {
                try folder.open(name, [.read, .folder, .noFollow]).setOwner(uid: uid, gid: gid)
            }
        }
    }

    borrowing func remove() { try? layers.removeTree(id) }
}
