internal import LinuxKernel
public import Sandbox

extension StorageKind {
    /// Where a container's changes are under a limit: on a disk, which is there at the next start. Of one that goes with its
    /// end there is none, so that for a user, who may mount no disk, they are in memory.
    public static func ofContainer(removesItself: Bool) -> StorageKind {
        removesItself && !LayerDisk.isAllowed ? .memory : .disk
    }
}

/// The disk of a container that lasts and has a storage limit: a sparse file of that size in its layer, with an ext4 in
/// it. The file system says that it is full, before the machine's own is; what it keeps is there at the next start.
///
/// It is mounted by whoever starts the program or looks at its files, from a descriptor into the container's own mount
/// namespace: nothing of it is in the machine's, and nothing is left of it when those who use it have ended.
struct LayerDisk {
    static let name = "disk"
    /// An ext4 with a journal, and with room for something beside it.
    private static let smallest: UInt64 = 4 << 20
    private static let maker = "mkfs.ext4"
    /// What a program removes is given back to the machine's file system a moment later (discard), unless it ends before;
    /// what mkfs left to be zeroed is a hole in the file, and zero.
    private static let options = ["discard", "noinit_itable"]

    private let layer: HostPath

    init(_ layer: HostPath) { self.layer = layer }

    /// Whether this process may mount one.
    static var isAllowed: Bool { Machine.isRoot && !Machine.isRootOfNamespace }

    // MARK: Making it

    /// Says why a disk of this size cannot be had here.
    private static func check(_ limit: UInt64) throws(Problem) {
        let what = "cannot use --storage-limit here"
        guard isAllowed else {
            throw Problem(
                what,
                "what a container keeps is limited by a disk of its own, and only the machine's root may mount one",
                hint:
                    "sudo codex32; --rm, with which it is in memory and kept for nobody; or --read-only with --tmpfs /DST:size=SIZE"
            )
        }
        guard limit >= smallest else {
            throw Problem(
                what, "a disk of \(limit) bytes has no room for ext4 and its journal",
                hint: "--storage-limit 4m or more")
        }
        guard limit <= UInt64(Int64.max) else {
            throw Problem(what, "no file is that large", hint: "a smaller --storage-limit")
        }
        _ = try program()
        guard !Descriptor.isMissing("/dev/loop-control") else {
            throw Problem(
                what, "a container that lasts keeps its changes on a loop device, and there is no /dev/loop-control",
                hint: "modprobe loop; in a container of another engine it must be given: --device /dev/loop-control")
        }
    }

    /// For a plan that nothing comes of; nil: the request has no disk.
    static func planned(_ request: SandboxRequest, _ storage: Storage) throws(Problem) -> WritableLayer? {
        guard let limit = request.storageLimit, request.storageKind == .disk else { return nil }
        // Then the plan itself says why there is none.
        guard !request.readOnly, request.root != .host else { return nil }
        try check(limit)
        let status = try explaining("cannot plan a disk") { () throws(KernelError) in
            try Descriptor.status(ofPath: "/")
        }
        return WritableLayer(HostPath("\(storage.layers)/ID", status), isDisk: true)
    }

    private static func program() throws(Problem) -> String {
        if let path = HostProgram.find(maker) { return path }
        throw Problem(
            "cannot use --storage-limit here", "its file system is made by \(maker), which is not installed",
            hint: "apt-get install e2fsprogs")
    }

    /// Makes a layer of this name with a disk in it. A kill leaves it half made, under this name.
    static func make(_ name: String, size: UInt64, _ storage: Storage) throws(Problem) {
        let path = try program()
        let what = "cannot make a disk of \(size) bytes in \(storage.layers)"
        let layers = try explaining(what) { () throws(KernelError) in try makeFolders(storage.layers) }
        do throws(Problem) {
            let status = try explaining(what) { () throws(KernelError) in
                try layers.makeFolder(name)
                let folder = try layers.open(name, [.read, .folder, .noFollow])
                let file = try folder.open(Self.name, [.readWrite, .create, .exclusive, .noFollow], mode: 0o600)
                try file.truncate(Int64(clamping: size))
                return try HostProgram.run(
                    path,
                    [
                        maker, "-q", "-F", "-m", "0", "-L", "codex32", "-E",
                        "nodiscard,lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0", Self.name,
                    ], in: folder.number)
            }
            guard status == 0 else {
                throw Problem(
                    what, "\(path) ended with status \(status)",
                    hint: "is there room in \(storage.layers), and does its file system take files of that size?")
            }
        } catch {
            try? layers.removeTree(name)
            throw error
        }
    }

    // MARK: Using it

    /// The root of its file system, mounted nowhere.
    func mount(_ attributes: MountAttributes) throws(Problem) -> Descriptor {
        do throws(KernelError) {
            let folder = try Descriptor.open(layer.path, [.read, .folder, .noFollow])
            let now = try folder.status()
            guard now.device == layer.status.device, now.inode == layer.status.inode else {
                throw KernelError("open", layer.path, number: Errno.stale)
            }
            return try folder.mountFile(
                LayerDisk.name, type: StorageKind.disk.rawValue, options: LayerDisk.options, attributes: attributes)
        } catch {
            let path = "\(layer.path)/\(LayerDisk.name)"
            throw Problem("cannot mount the disk \(path)", error, hint: LayerDisk.hint(error, path))
        }
    }

    private static func hint(_ error: KernelError, _ path: String) -> String? {
        switch error.number {
        case Errno.missing where error.subject == "/dev/loop-control": "modprobe loop"
        case Errno.noDevice: "this kernel has no ext4, or no loop devices: modprobe ext4 loop"
        case Errno.permission, Errno.denied: "only the machine's root may mount it"
        case Errno.invalid, Errno.damaged: "e2fsck -f \(path)"
        default: Problem.usualHint(error)
        }
    }

    /// Makes what belongs in a new one, and gives that to the container's root; what the program made in it has its owners
    /// already.
    func furnish(_ tree: borrowing Descriptor, layered: Bool, for map: IdentityMap?) throws(Problem) {
        try explaining("cannot prepare the disk \(layer.path)/\(LayerDisk.name)") { () throws(KernelError) in
            if layered {
                for name in ["upper", "work"] {
                    do throws(KernelError) { try tree.makeFolder(name, mode: 0o755) } catch {
                        guard error.number == Errno.exists else { throw error }
                        continue
                    }
                    try tree.open(name, [.read, .folder, .noFollow]).setMode(0o755)
                }
            } else if try tree.status().uid == 0 {
                // mkfs's own folder for e2fsck would be seen in the container's root.
                try? tree.remove("lost+found", folder: true)
            }
            guard let map, let uid = map.hostUID(0), let gid = map.hostGID(0) else { return }
            if try tree.status().uid == 0 { try tree.setOwner(uid: uid, gid: gid) }
            guard layered else { return }
            for name in ["upper", "work"] {
                let folder = try tree.open(name, [.read, .folder, .noFollow])
                if try folder.status().uid == 0 { try folder.setOwner(uid: uid, gid: gid) }
            }
        }
    }
}
