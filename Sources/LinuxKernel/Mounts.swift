internal import CShims
internal import Glibc

/// Mounts that belong to nobody's tree yet: the parent, when it has the right, clones the sources
/// here and hands them to its child by descriptor.
extension Descriptor {
    /// A private copy of the mount at this descriptor (open_tree(2), Linux 5.2).
    /// - Parameter keepsPeers: what is mounted where it comes from, or on it, shows on the other side too.
    public borrowing func cloneMount(recursive: Bool, keepsPeers: Bool = false) throws(KernelError) -> Descriptor {
        // OPEN_TREE_CLONE, AT_EMPTY_PATH, AT_RECURSIVE
        let flags: UInt32 = 1 | 0x1000 | (recursive ? 0x8000 : 0)
        let tree = Descriptor(owning: try KernelError.check(codex_open_tree(number, "", flags), "open_tree"))
        // On most machines "/" is a shared mount, and so would this be a peer of the host's.
        if !keepsPeers { try KernelError.check(codex_mount_private(tree.number), "mount_setattr") }
        return tree
    }

    /// Changes a cloned mount (mount_setattr(2), Linux 5.12).
    public borrowing func setMountAttributes(
        _ set: MountAttributes, clear: MountAttributes = [], recursive: Bool
    ) throws(KernelError) {
        let flags: UInt32 = 0x1000 | (recursive ? 0x8000 : 0)
        try KernelError.check(codex_mount_setattr(number, "", flags, set.rawValue, clear.rawValue, -1), "mount_setattr")
    }

    public borrowing func setPropagation(_ kind: MountPropagation, recursive: Bool) throws(KernelError) {
        try KernelError.check(codex_mount_propagation(number, kind.rawValue, recursive ? 1 : 0), "mount_setattr")
    }

    /// Shows the files of a cloned mount with the owners that a user namespace gives them
    /// (MOUNT_ATTR_IDMAP; ext4, xfs and btrfs since Linux 5.15, tmpfs 6.3, not overlayfs).
    public static func mapOwners(
        ofMount number: Int32, by namespace: borrowing Descriptor, recursive: Bool
    ) throws(KernelError) {
        let flags: UInt32 = 0x1000 | (recursive ? 0x8000 : 0)
        try KernelError.check(
            codex_mount_setattr(number, "", flags, MountAttributes.idMap.rawValue, 0, namespace.number), "mount_setattr"
        )
    }
}

extension Descriptor {
    /// Mounts folders over each other at this one, to be read only: without devices, and without programs that change
    /// their user.
    ///
    /// - Parameters:
    ///   - names: top first; short, for together they may have 255 bytes.
    ///   - folder: where the names are; links are followed.
    public borrowing func mount(_ names: [String], in folder: borrowing Descriptor) throws(KernelError) {
        try KernelError.check(codex_mount_image(folder.number, names.joined(separator: ":"), number), "mount")
    }

    /// Takes a mount away (umount2(2)).
    public static func unmount(_ path: String) throws(KernelError) {
        try KernelError.check(codex_unmount(path), "umount", path)
    }

    /// Detaches each tmpfs with that source, and what lies directly on it; EBUSY where something else is on top.
    ///
    /// - Parameters:
    ///   - space: their mount namespace; nil: this process's.
    ///   - user: the user namespace whose root may; nil: this process may itself.
    public static func unmount(
        marked source: String, in space: borrowing Descriptor?, asRootOf user: borrowing Descriptor?
    ) throws(KernelError) {
        try KernelError.check(codex_unmount_marked(number(user), number(space), source), "umount", source)
    }

    private static func number(_ descriptor: borrowing Descriptor?) -> Int32 {
        switch descriptor {
        case .some(let opened): opened.number
        case .none: -1
        }
    }
}

/// One line of `/proc/PID/mountinfo` (proc_pid_mountinfo(5)).
public struct MountRecord: Equatable, Sendable {
    /// Its number, unique while it is mounted.
    public let id: UInt64
    public let target: String
    public let root: String
    public let options: [String]
    public let type: String
    public let source: String
    public let superOptions: [String]

    public static func parse(_ text: String) -> [MountRecord] {
        text.split(separator: "\n").compactMap { line in
            let fields = line.split(separator: " ")
            guard let dash = fields.firstIndex(of: "-"), dash >= 6, fields.count >= dash + 4,
                let id = UInt64(fields[0])
            else { return nil }
            return MountRecord(
                id: id, target: unescape(fields[4]), root: unescape(fields[3]),
                options: fields[5].split(separator: ",").map(String.init), type: String(fields[dash + 1]),
                source: unescape(fields[dash + 2]),
                superOptions: fields[dash + 3].split(separator: ",").map(String.init))
        }
    }

    /// Blanks and their like stand as three octal digits behind a backslash.
    private static func unescape(_ field: Substring) -> String {
        var bytes: [UInt8] = []
        var rest = Array(field.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == 0x5c, rest.count >= 3,
                let value = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8)
            {
                bytes.append(value)
                rest = rest.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// A user namespace that exists only to map the owners of a mount.
public struct MappingNamespace: ~Copyable {
    private let pid: Int32
    private let process: Descriptor
    public let namespace: Descriptor

    public init(_ map: IdentityMap) throws(Problem) {
        var pidfd: Int32 = -1
        let pid = codex_hold_user_namespace(&pidfd)
        if pid < 0 { throw Problem("cannot make a user namespace", KernelError("clone3", number: -pid)) }
        do {
            try map.apply(to: pid)
            namespace = try explaining("cannot open a user namespace") { () throws(KernelError) in
                try Descriptor.open("/proc/\(pid)/ns/user", [.read])
            }
        } catch {
            MappingNamespace.end(pid, pidfd)
            _ = codex_close(pidfd)
            throw error
        }
        self.pid = pid
        process = Descriptor(owning: pidfd)
    }

    deinit { MappingNamespace.end(pid, process.number) }

    private static func end(_ pid: Int32, _ pidfd: Int32) {
        _ = codex_pidfd_send_signal(pidfd, SIGKILL)
        var usage = codex_usage()
        _ = codex_reap(pid, &usage, 1)
    }
}
