internal import CShims
internal import Glibc

/// AT_EMPTY_PATH (openat(2)), which Glibc's module leaves out.
private let emptyPath: Int32 = 0x1000

/// What a name stands for, from fstatat(2).
public struct FileStatus: Equatable, Sendable {
    public enum Kind: Sendable {
        case file, folder, link, block, character, pipe, socket

        /// Of the bits of `st_mode` (inode(7)).
        init(mode: UInt32) {
            switch mode & S_IFMT {
            case S_IFDIR: self = .folder
            case S_IFLNK: self = .link
            case S_IFBLK: self = .block
            case S_IFCHR: self = .character
            case S_IFIFO: self = .pipe
            case S_IFSOCK: self = .socket
            default: self = .file
            }
        }
    }
    public let kind: Kind
    public let device: UInt64
    public let inode: UInt64
    /// The device number of a device node (stat(2), `st_rdev`).
    public let deviceNumber: UInt64
    /// Permission bits with setuid, setgid and sticky.
    public let mode: UInt32
    public let uid: UInt32
    public let gid: UInt32
    /// Bytes.
    public let size: Int64
    /// Seconds since 1970 of the last change to the contents.
    public let modified: Int64

    init(_ raw: stat) {
        kind = Kind(mode: raw.st_mode)
        device = UInt64(raw.st_dev)
        inode = UInt64(raw.st_ino)
        deviceNumber = UInt64(raw.st_rdev)
        mode = UInt32(raw.st_mode & 0o7777)
        uid = raw.st_uid
        gid = raw.st_gid
        size = Int64(raw.st_size)
        modified = Int64(raw.st_mtim.tv_sec)
    }
}

/// How a file is opened (open(2)); close-on-exec is always added.
public struct OpenFlags: OptionSet, Sendable {
    public let rawValue: Int32
    public init(rawValue: Int32) { self.rawValue = rawValue }
    public static let read = OpenFlags([])
    public static let write = OpenFlags(rawValue: O_WRONLY)
    public static let readWrite = OpenFlags(rawValue: O_RDWR)
    public static let create = OpenFlags(rawValue: O_CREAT)
    public static let exclusive = OpenFlags(rawValue: O_EXCL)
    public static let truncate = OpenFlags(rawValue: O_TRUNC)
    public static let append = OpenFlags(rawValue: O_APPEND)
    public static let folder = OpenFlags(rawValue: O_DIRECTORY)
    public static let noFollow = OpenFlags(rawValue: O_NOFOLLOW)
    public static let nonblocking = OpenFlags(rawValue: O_NONBLOCK)
    public static let pathOnly = OpenFlags(rawValue: 0o10000000)  // O_PATH
    /// A new file in the folder that is opened, without a name there (O_TMPFILE, Linux 3.11).
    public static let nameless = OpenFlags(rawValue: 0o20000000 | O_DIRECTORY)
}

/// Where a relative path begins: the working folder, or an open one.
extension Descriptor {
    /// Opens a path of the host as the caller may; names from a container never come here.
    public static func open(_ path: String, _ flags: OpenFlags, mode: UInt32 = 0o600) throws(KernelError) -> Descriptor
    {
        try open(path, flags, mode: mode, at: AT_FDCWD)
    }

    public borrowing func open(_ path: String, _ flags: OpenFlags, mode: UInt32 = 0o600) throws(KernelError)
        -> Descriptor
    {
        try Descriptor.open(path, flags, mode: mode, at: number)
    }

    private static func open(
        _ path: String, _ flags: OpenFlags, mode: UInt32, at folder: Int32
    ) throws(KernelError) -> Descriptor {
        Descriptor(owning: try KernelError.check(codex_openat(folder, path, flags.rawValue, mode), "open", path))
    }

    /// Opens a path below this folder as a container would see it: links stay inside, magic links
    /// fail (openat2(2), RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS).
    public borrowing func open(inRoot path: String, _ flags: OpenFlags) throws(KernelError) -> Descriptor {
        let resolve: UInt64 = 0x10 | 0x02
        let result = codex_openat2(number, path, UInt64(UInt32(bitPattern: flags.rawValue)), 0, resolve)
        return Descriptor(owning: try KernelError.check(result, "openat2", path))
    }

    public borrowing func status() throws(KernelError) -> FileStatus {
        var raw = stat()
        try KernelError.check(codex_fstatat(number, "", emptyPath, &raw), "fstat")
        return FileStatus(raw)
    }

    public borrowing func status(of name: String, followLinks: Bool = false) throws(KernelError) -> FileStatus {
        var raw = stat()
        let flags = followLinks ? 0 : Int32(AT_SYMLINK_NOFOLLOW)
        try KernelError.check(codex_fstatat(number, name, flags, &raw), "stat", name)
        return FileStatus(raw)
    }

    public static func status(ofPath path: String) throws(KernelError) -> FileStatus {
        var raw = stat()
        try KernelError.check(codex_fstatat(AT_FDCWD, path, 0, &raw), "stat", path)
        return FileStatus(raw)
    }

    /// Where a link points (readlink(2)).
    public borrowing func link(_ name: String) throws(KernelError) -> String {
        try Descriptor.link(name, at: number)
    }

    public static func link(_ path: String) throws(KernelError) -> String { try link(path, at: AT_FDCWD) }

    private static func link(_ path: String, at folder: Int32) throws(KernelError) -> String {
        // PATH_MAX, on the stack: in memory of its own it would be two new pages.
        let (result, text) = withUnsafeTemporaryAllocation(of: CChar.self, capacity: 4096) { bytes in
            let result = codex_readlinkat(folder, path, bytes.baseAddress!, bytes.count)
            let read = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(bytes)[..<max(Int(result), 0)])
            return (result, String(decoding: read, as: UTF8.self))
        }
        try KernelError.check(result, "readlink", path)
        return text
    }

    public borrowing func makeFolder(_ name: String, mode: UInt32 = 0o700) throws(KernelError) {
        try KernelError.check(codex_mkdirat(number, name, mode), "mkdir", name)
    }

    public borrowing func makeLink(_ name: String, to target: String) throws(KernelError) {
        try KernelError.check(codex_symlinkat(target, number, name), "symlink", name)
    }

    public borrowing func remove(_ name: String, folder: Bool = false) throws(KernelError) {
        try KernelError.check(codex_unlinkat(number, name, folder ? AT_REMOVEDIR : 0), "unlink", name)
    }

    public borrowing func rename(_ old: String, to name: String) throws(KernelError) {
        try KernelError.check(codex_renameat(number, old, number, name), "rename", old)
    }

    public borrowing func setOwner(uid: UInt32, gid: UInt32) throws(KernelError) {
        try KernelError.check(codex_fchownat(number, "", uid, gid, emptyPath), "fchown")
    }

    public borrowing func setMode(_ mode: UInt32) throws(KernelError) {
        try KernelError.check(codex_fchmod(number, mode), "fchmod")
    }

    /// The names in this folder, without "." and "..".
    public borrowing func entries() throws(KernelError) -> [String] {
        var names: [String] = []
        let folder = try open(".", [.read, .folder])
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 16384, alignment: 8)
        defer { buffer.deallocate() }
        while true {
            let count = try KernelError.check(
                codex_getdents(folder.number, buffer.baseAddress, buffer.count), "getdents64")
            if count == 0 { return names }
            var offset = 0
            while offset < count {
                // struct linux_dirent64 (getdents64(2)): length at 16, name at 19.
                let length = Int(buffer.loadUnaligned(fromByteOffset: offset + 16, as: UInt16.self))
                let name = String(cString: buffer.baseAddress!.assumingMemoryBound(to: CChar.self) + offset + 19)
                if name != "." && name != ".." { names.append(name) }
                offset += length
            }
        }
    }

    /// Reads a whole small file.
    public static func contents(of path: String, limit: Int = 1 << 20) throws(KernelError) -> String {
        let bytes = try open(path, [.read]).readAll(limit: limit)
        return String(decoding: bytes, as: UTF8.self)
    }

    public borrowing func contents(of name: String, limit: Int = 1 << 20) throws(KernelError) -> String {
        // Not waiting: a pipe in the file's place has no writer.
        String(decoding: try open(name, [.read, .noFollow, .nonblocking]).readAll(limit: limit), as: UTF8.self)
    }

    /// Writes a file whole or not at all: to a temporary name, synced, renamed (rename(2)).
    /// `durable` asks for the disk, and is not needed where the folder is gone at a reboot.
    public borrowing func replace(_ name: String, with text: String, mode: UInt32 = 0o600, durable: Bool)
        throws(KernelError)
    {
        let temporary = ".\(name).\(getpid())"
        let file = try open(temporary, [.write, .create, .truncate, .noFollow], mode: mode)
        try replace(name, by: temporary, file, text, durable: durable)
    }

    private borrowing func replace(
        _ name: String, by temporary: String, _ file: borrowing Descriptor, _ text: String, durable: Bool
    ) throws(KernelError) {
        do {
            try file.write(text)
            if durable { try file.sync() }
            try rename(temporary, to: name)
        } catch {
            _ = codex_unlinkat(number, temporary, 0)
            throw error
        }
    }
}

/// In a folder that is somebody's, and not codex32's own: what is there is his, whatever its name.
extension Descriptor {
    private static func temporaryName(for name: String) -> String { ".\(name).\(Machine.randomHex(bytes: 6))" }

    /// As ``replace(_:with:mode:durable:)``, by way of a name that nothing has.
    public borrowing func put(_ name: String, with text: String, mode: UInt32, durable: Bool) throws(KernelError) {
        let temporary = Descriptor.temporaryName(for: name)
        let file = try open(temporary, [.write, .create, .exclusive, .noFollow], mode: mode)
        try replace(name, by: temporary, file, text, durable: durable)
    }

    /// Shows now, and not when something is to be kept, that the folder takes a file of this name. Killed at any moment
    /// it leaves nothing, where the file system has files without a name.
    public borrowing func tryPut(_ name: String) throws(KernelError) {
        let temporary = Descriptor.temporaryName(for: name)
        do {
            _ = try unlessMissing { () throws(KernelError) in try status(of: temporary) }
            _ = try open(".", [.write, .nameless])
        } catch {
            // One that cannot says so in one of these ways (open(2), O_TMPFILE).
            guard [Errno.notSupported, Errno.isFolder, Errno.missing].contains(error.number) else { throw error }
            _ = try open(temporary, [.write, .create, .exclusive, .noFollow])
            try remove(temporary)
        }
    }
}

/// Makes a folder and the missing ones above it, private to their owner, and opens it.
public func makeFolders(_ path: String) throws(KernelError) -> Descriptor {
    do { return try Descriptor.open(path, [.read, .folder]) } catch {
        guard error.number == Errno.missing else { throw error }
    }
    let parts = path.split(separator: "/")
    var at = path.hasPrefix("/") ? "/" : ""
    for part in parts {
        at += (at.isEmpty || at.hasSuffix("/") ? "" : "/") + part
        let result = codex_mkdirat(AT_FDCWD, at, 0o700)
        if result < 0 && result != -EEXIST { throw KernelError("mkdir", at, number: -result) }
    }
    return try Descriptor.open(path, [.read, .folder])
}
