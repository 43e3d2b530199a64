internal import CShims
internal import Glibc

/// All that a tree's copy needs to know of a file, from one statx(2).
public struct Node: Equatable, Sendable {
    public let kind: FileStatus.Kind
    /// Permission bits with setuid, setgid and sticky.
    public let mode: UInt32
    public let uid: UInt32
    public let gid: UInt32
    /// How many names it has.
    public let links: UInt32
    public let device: UInt64
    public let inode: UInt64
    /// Bytes.
    public let size: UInt64
    /// Bytes that it takes on the disk: less than its size where it has holes.
    public let stored: UInt64
    /// Seconds since 1970, and nanoseconds.
    public let modified: (seconds: Int64, nanoseconds: UInt32)
    /// The same of the last change of any kind, which no program can set (inode(7), "ctime").
    public let changed: (seconds: Int64, nanoseconds: UInt32)
    /// Of a device node.
    public let deviceNumber: (major: UInt32, minor: UInt32)
    /// Which mount it is on (Linux 5.8).
    public let mount: UInt64

    init(_ raw: codex_node) {
        kind = FileStatus.Kind(mode: raw.mode)
        mode = raw.mode & 0o7777
        (uid, gid, links) = (raw.uid, raw.gid, raw.links)
        (device, inode, size) = (raw.device, raw.inode, raw.size)
        stored = raw.blocks &* 512
        modified = (raw.modified, raw.modified_nanoseconds)
        changed = (raw.changed, raw.changed_nanoseconds)
        deviceNumber = (raw.device_major, raw.device_minor)
        mount = raw.mount
    }

    public static func == (a: Node, b: Node) -> Bool { a.device == b.device && a.inode == b.inode && a.kind == b.kind }
}

extension Descriptor {
    public borrowing func node() throws(KernelError) -> Node {
        var raw = codex_node()
        try KernelError.check(codex_node(number, "", &raw), "statx")
        return Node(raw)
    }

    /// Of a name, which is not followed where it is a link.
    public borrowing func node(_ name: FileName) throws(KernelError) -> Node {
        var raw = codex_node()
        let folder = number
        let result = name.withCString { codex_node(folder, $0, &raw) }
        try KernelError.check(result, "statx", name.description)
        return Node(raw)
    }

    /// Takes the contents of another file, with which it shares them on the disk until one of them is written to; false:
    /// the file system cannot do that (ioctl_ficlone(2)).
    public borrowing func share(contentsOf other: borrowing Descriptor) -> Bool {
        codex_share_contents(number, other.number) == 0
    }

    /// The type of the file system (statfs(2), `f_type`).
    public borrowing func fileSystem() throws(KernelError) -> UInt32 {
        let result = codex_file_system(number)
        if result < 0 { throw KernelError("fstatfs", number: Int32(truncatingIfNeeded: -result)) }
        return UInt32(truncatingIfNeeded: result)
    }

    /// How many bytes the file system has as a whole (statfs(2)); of an overlay, the one that takes its changes.
    public borrowing func capacity() throws(KernelError) -> UInt64 {
        let result = codex_capacity(number)
        if result < 0 { throw KernelError("fstatfs", number: Int32(truncatingIfNeeded: -result)) }
        return UInt64(result)
    }

    /// The names of the extended attributes (xattr(7)) of a file that is open for reading.
    public borrowing func attributes() throws(KernelError) -> [String] {
        // 64 KiB is the kernel's own bound (limits.h, XATTR_LIST_MAX).
        var bytes = [CChar](repeating: 0, count: 65536)
        let count = try KernelError.check(codex_attributes(number, &bytes, bytes.count), "flistxattr")
        return bytes[..<count].split(separator: 0).map {
            String(decoding: $0.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
    }

    public borrowing func attribute(_ name: String) throws(KernelError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 65536)
        let count = try KernelError.check(codex_attribute(number, name, &bytes, bytes.count), "fgetxattr", name)
        return Array(bytes[..<count])
    }

    public borrowing func setAttribute(_ name: String, _ value: [UInt8]) throws(KernelError) {
        try KernelError.check(codex_set_attribute(number, name, value, value.count), "fsetxattr", name)
    }

    /// The time of the last change to the contents; the time of the last reading stays.
    public borrowing func setModified(_ seconds: Int64, _ nanoseconds: UInt32) throws(KernelError) {
        try KernelError.check(codex_set_times(number, nil, seconds, nanoseconds), "futimens")
    }

    public borrowing func setModified(of name: FileName, _ seconds: Int64, _ nanoseconds: UInt32) throws(KernelError) {
        let folder = number
        let result = name.withCString { codex_set_times(folder, $0, seconds, nanoseconds) }
        try KernelError.check(result, "utimensat", name.description)
    }

    /// Where data begins at or behind a place of a file; nil: only a hole follows (lseek(2), SEEK_DATA).
    public borrowing func data(from offset: Int64) throws(KernelError) -> Int64? {
        let place = codex_seek_extent(number, offset, 1)
        if place == Int64(-ENXIO) { return nil }
        if place < 0 { throw KernelError("lseek", number: Int32(truncatingIfNeeded: -place)) }
        return place
    }

    /// Where the data that begins at a place ends: at a hole, or at the end of the file.
    public borrowing func hole(from offset: Int64) throws(KernelError) -> Int64 {
        let place = codex_seek_extent(number, offset, 0)
        if place < 0 { throw KernelError("lseek", number: Int32(truncatingIfNeeded: -place)) }
        return place
    }

    public borrowing func seek(to offset: Int64) throws(KernelError) {
        let place = codex_seek(number, offset)
        if place < 0 { throw KernelError("lseek", number: Int32(truncatingIfNeeded: -place)) }
    }

    /// Renames without replacing anything (renameat2(2), RENAME_NOREPLACE).
    public borrowing func renameExclusively(_ old: FileName, to name: FileName) throws(KernelError) {
        let number = number
        let result = old.withCString { old in name.withCString { codex_rename_to(number, old, number, $0, 1) } }
        try KernelError.check(result, "rename", name.description)
    }
}

/// This process's own descriptors by their numbers: an O_PATH one becomes one to read from.
///
/// Through procfs, which is looked at first; a container has no say over the host's.
public struct OwnDescriptors: ~Copyable {
    private let folder: Descriptor

    public init() throws(KernelError) {
        folder = try OwnDescriptors.verified()
    }

    private static func verified() throws(KernelError) -> Descriptor {
        let opened = try Descriptor.open("/proc/self/fd", [.pathOnly, .folder])
        // PROC_SUPER_MAGIC (statfs(2))
        guard try opened.fileSystem() == 0x9fa0 else { throw KernelError("open", "/proc/self/fd", number: ENODEV) }
        return opened
    }

    /// Opens what a descriptor stands for. The caller knows already that it is a plain file or a folder.
    public borrowing func reopen(_ place: borrowing Descriptor, _ flags: OpenFlags) throws(KernelError) -> Descriptor {
        try folder.open(String(place.number), flags.union(.nonblocking))
    }

    /// Gives a file a name that had none (``OpenFlags/nameless``). What stands there already is an error.
    public borrowing func name(
        _ file: borrowing Descriptor, _ name: FileName, in parent: borrowing Descriptor
    ) throws(KernelError) {
        let (own, to, number) = (folder.number, parent.number, String(file.number))
        let result = name.withCString { codex_link_followed(own, number, to, $0) }
        try KernelError.check(result, "link", name.description)
    }
}
