internal import Images
internal import LinuxKernel
internal import Sandbox

/// A container's root where its storage folder is on a file system that no overlay can write to: a copy of the image in
/// its layer, which takes the changes itself.
///
/// A mark beside it says that the copy is whole; what a kill left half made is made anew.
enum LayerCopy {
    static let tree = "root"
    private static let mark = "whole"

    /// What overlayfs refuses as its upper layer, by statfs(2): itself, and what looks its names up anew each time, as
    /// others may have changed them (Linux, ovl_dentry_remote; filesystems/overlayfs.rst, "Upper and Lower").
    private static func name(of type: UInt32) -> String? {
        switch type {
        case 0x794c_7630: "overlayfs"
        case 0x6969: "NFS"
        case 0x6573_5546: "FUSE"
        case 0xff53_4d42, 0xfe53_4d42: "CIFS"
        case 0x0102_1997: "9p"
        case 0x00c3_6400: "CephFS"
        case 0x4d44, 0x2011_bab0: "FAT"
        default: nil
        }
    }

    /// The file system under a storage's layers that asks for a copy; nil: an overlay can write there.
    static func reason(_ layers: borrowing Descriptor) throws(KernelError) -> String? {
        name(of: try layers.fileSystem())
    }

    /// The same; nil also where an image's changes are kept in none. A root that is put together needs no overlay.
    static func reason(_ request: SandboxRequest, _ storage: Storage) throws(Problem) -> String? {
        guard request.storageLimit == nil, !request.readOnly, request.root.isImage else { return nil }
        return try reason(storage)
    }

    /// The same for layers whose folder may not be there yet.
    static func reason(_ storage: Storage) throws(Problem) -> String? {
        var path = storage.layers
        do throws(KernelError) {
            while path != "/", !(try Descriptor.exists(path)) {
                let end = path.lastIndex(of: "/") ?? path.startIndex
                path = end == path.startIndex ? "/" : String(path[..<end])
            }
            return try reason(try Descriptor.open(path, [.pathOnly, .folder]))
        } catch { throw Problem("cannot look at \(path)", error) }
    }

    /// What a person is told of it.
    static func note(_ request: SandboxRequest, _ storage: Storage) throws(Problem) -> String? {
        try reason(request, storage).map {
            "note: the image is copied: the storage folder is on \($0), to which no overlay can write"
        }
    }

    /// A layer with a copy in it, empty where it has to be made yet; nil: it has none.
    static func open(_ path: String) throws(Problem) -> WritableLayer? {
        let what = "cannot open the layer \(path)"
        let layer = try explaining(what) { () throws(KernelError) in
            try Descriptor.open(path, [.read, .folder, .noFollow])
        }
        let isHalf = try explaining(what) { () throws(KernelError) -> Bool? in
            // One of an overlay was made where that could be written to, and is told when it cannot be mounted now.
            guard try reason(layer) != nil, try !has("upper", layer) else { return nil }
            return try !has(mark, layer)
        }
        guard let isHalf else { return nil }
        if isHalf { try layer.removeContainerTree(tree) }
        return try explaining(what) { () throws(KernelError) in
            if isHalf { try layer.makeFolder(tree) }
            let copy = HostPath("\(path)/\(tree)", try layer.status(of: tree))
            return WritableLayer(HostPath(path, try layer.status()), tree: copy, isCopy: true)
        }
    }

    /// Makes the copy, unless it is whole.
    ///
    /// - Parameter map: whose are the container's ids on the disk; nil: they are the machine's own.
    static func fill(_ layer: borrowing Descriptor, from root: RootSource, _ map: IdentityMap?) throws(Problem) {
        let target = try told { () throws(KernelError) -> Owned<Descriptor>? in
            if try has(mark, layer) { return nil }
            guard try !isInside(layer, root.folders) else {
                throw KernelError("copy", root.folders.first, number: Errno.loop)
            }
            return Owned(try layer.open(tree, [.read, .folder, .noFollow]))
        }
        guard let target else { return }
        if try !told({ () throws(KernelError) in try fill(target.value, from: root, map) }) {
            try fillInside(target.value, root, map ?? Build.single)
        }
        try told { () throws(KernelError) in
            // What is changed from here on is told from it by its time, which a kernel takes from its last tick.
            Clock.sleep(milliseconds: 20)
            _ = try layer.open(mark, [.write, .create, .noFollow])
        }
    }

    private static func told<R: ~Copyable>(_ body: () throws(KernelError) -> R) throws(Problem) -> R {
        try explaining("cannot copy the image", hint: "--root FOLDER on ext4, xfs, btrfs or tmpfs needs no copy", body)
    }

    /// False: an ordinary user may not read all of it.
    private static func fill(
        _ target: borrowing Descriptor, from root: RootSource, _ map: IdentityMap?
    ) throws(KernelError) -> Bool {
        do throws(KernelError) { try copy(map).copy(try LayeredFolder(root.folders), into: target) } catch {
            guard error.number == Errno.denied, !Machine.isRoot else { throw error }
            return false
        }
        return true
    }

    /// An image may have files that their own owner cannot read, such as `/etc/shadow`: root of a namespace with that owner can.
    private static func fillInside(_ target: borrowing Descriptor, _ root: RootSource, _ map: IdentityMap)
        throws(Problem)
    {
        let (image, null) = try told { () throws(KernelError) in
            for name in try target.names() { try target.removeTree(name) }
            return (try LayeredFolder(root.folders), Owned(try Descriptor.open("/dev/null", [.readWrite])))
        }
        let mapping = try MappingNamespace(map)
        let number = null.value.number
        try InsideProcess.start(
            .copy(of: image.numbers), root: target.number, namespace: mapping.namespace.number, input: number,
            output: number, keep: image.numbers
        ).finish { _ in }
    }

    /// Since when what is changed in a copy is the container's work; nil: there is no copy, or not yet a whole one.
    static func made(_ layer: borrowing Descriptor) throws(KernelError) -> CopyComparison.Moment? {
        guard try has(tree, layer), try has(mark, layer) else { return nil }
        return CopyComparison.Moment(try layer.node(FileName(mark)))
    }

    /// Whether a layer lies in one of the folders: a copy of that would never end.
    private static func isInside(_ layer: borrowing Descriptor, _ folders: [String]) throws(KernelError) -> Bool {
        var images: [FileStatus] = []
        for folder in folders { images.append(try Descriptor.status(ofPath: folder)) }
        var place = try layer.open(".", [.pathOnly, .folder])
        while true {
            let status = try place.status()
            if images.contains(where: { $0.device == status.device && $0.inode == status.inode }) { return true }
            let above = try place.open("..", [.pathOnly, .folder])
            let next = try above.status()
            if next.device == status.device, next.inode == status.inode { return false }
            place = above
        }
    }

    private static func has(_ name: String, _ layer: borrowing Descriptor) throws(KernelError) -> Bool {
        do throws(KernelError) { _ = try layer.status(of: name) } catch {
            guard error.number == Errno.missing else { throw error }
            return false
        }
        return true
    }

    private static func copy(_ map: IdentityMap?) -> LayeredCopy {
        // What an ordinary user's container has is the user's own, as in the store.
        guard Machine.isRoot else { return LayeredCopy(capabilities: false, owner: nil) }
        guard let map else { return LayeredCopy(capabilities: true) { ($0, $1) } }
        let (rootUID, rootGID) = (map.hostUID(0) ?? 0, map.hostGID(0) ?? 0)
        return LayeredCopy(capabilities: false) { (map.hostUID($0) ?? rootUID, map.hostGID($1) ?? rootGID) }
    }
}
