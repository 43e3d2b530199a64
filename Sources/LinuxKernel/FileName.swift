internal import CShims
internal import Glibc

/// A name or path as the kernel has it: bytes without NUL, in no particular encoding.
///
/// Names in a container are its program's own: as text they would not lead back to their files.
public struct FileName: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let bytes: [UInt8]

    /// Nil: there is a NUL among the bytes.
    public init?(_ bytes: some Sequence<UInt8>) {
        let bytes = Array(bytes)
        if bytes.contains(0) { return nil }
        self.bytes = bytes
    }

    /// The same for what is an array already: nothing is copied.
    public init?(_ bytes: [UInt8]) {
        if bytes.contains(0) { return nil }
        self.bytes = bytes
    }

    public init(_ text: String) { bytes = Array(text.utf8.prefix { $0 != 0 }) }

    public static func < (a: FileName, b: FileName) -> Bool { a.bytes.lexicographicallyPrecedes(b.bytes) }

    /// For messages only.
    public var description: String { String(decoding: bytes, as: UTF8.self) }

    public var isEmpty: Bool { bytes.isEmpty }

    func withCString<Result>(_ body: (UnsafePointer<CChar>) -> Result) -> Result {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: bytes.count + 1) { terminated in
            for (place, byte) in bytes.enumerated() { terminated[place] = CChar(bitPattern: byte) }
            terminated[bytes.count] = 0
            return body(terminated.baseAddress!)
        }
    }
}

/// The calls of ``Descriptor`` for names of bytes.
extension Descriptor {
    public borrowing func open(_ name: FileName, _ flags: OpenFlags, mode: UInt32 = 0o600) throws(KernelError)
        -> Descriptor
    {
        let folder = number
        let result = name.withCString { codex_openat(folder, $0, flags.rawValue, mode) }
        return Descriptor(owning: try KernelError.check(result, "open", name.description))
    }

    /// See ``open(inRoot:_:)-swift.method``; an empty path is the root itself.
    public borrowing func open(inRoot path: FileName, _ flags: OpenFlags) throws(KernelError) -> Descriptor {
        let folder = number
        // RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS (openat2(2))
        let asked = path.isEmpty ? FileName("/") : path
        let result = asked.withCString {
            codex_openat2(folder, $0, UInt64(UInt32(bitPattern: flags.rawValue)), 0, 0x10 | 0x02)
        }
        return Descriptor(owning: try KernelError.check(result, "openat2", path.description))
    }

    public borrowing func link(_ name: FileName) throws(KernelError) -> FileName {
        let folder = number
        var bytes = [CChar](repeating: 0, count: 4096)
        let result = name.withCString { name in codex_readlinkat(folder, name, &bytes, bytes.count) }
        let count = try KernelError.check(result, "readlink", name.description)
        return FileName(bytes[..<count].map { UInt8(bitPattern: $0) }) ?? FileName("")
    }

    public borrowing func makeFolder(_ name: FileName, mode: UInt32 = 0o700) throws(KernelError) {
        let folder = number
        try KernelError.check(name.withCString { codex_mkdirat(folder, $0, mode) }, "mkdir", name.description)
    }

    public borrowing func makeLink(_ name: FileName, to target: FileName) throws(KernelError) {
        let folder = number
        let result = target.withCString { target in name.withCString { codex_symlinkat(target, folder, $0) } }
        try KernelError.check(result, "symlink", name.description)
    }

    public borrowing func makePipe(_ name: FileName, mode: UInt32) throws(KernelError) {
        let folder = number
        try KernelError.check(name.withCString { codex_make_pipe(folder, $0, mode) }, "mkfifo", name.description)
    }

    /// A second name for a file, which is not followed where it is a link (linkat(2)).
    public borrowing func makeHardLink(
        _ name: FileName, to old: FileName, in other: borrowing Descriptor
    ) throws(KernelError) {
        let (from, to) = (other.number, number)
        let result = old.withCString { old in name.withCString { codex_link(from, old, to, $0) } }
        try KernelError.check(result, "link", name.description)
    }

    public borrowing func remove(_ name: FileName, folder: Bool = false) throws(KernelError) {
        let number = number
        let result = name.withCString { codex_unlinkat(number, $0, folder ? AT_REMOVEDIR : 0) }
        try KernelError.check(result, "unlink", name.description)
    }

    public borrowing func rename(_ old: FileName, to name: FileName) throws(KernelError) {
        let number = number
        let result = old.withCString { old in name.withCString { codex_renameat(number, old, number, $0) } }
        try KernelError.check(result, "rename", name.description)
    }

    /// The owner of a name, which is not followed where it is a link.
    public borrowing func setOwner(of name: FileName, uid: UInt32, gid: UInt32) throws(KernelError) {
        let number = number
        let result = name.withCString { codex_fchownat(number, $0, uid, gid, AT_SYMLINK_NOFOLLOW) }
        try KernelError.check(result, "chown", name.description)
    }

    /// The names in this folder, without "." and "..", in the order of their bytes.
    public borrowing func names() throws(KernelError) -> [FileName] {
        var names: [FileName] = []
        let folder = try open(".", [.read, .folder])
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 32768, alignment: 8)
        defer { buffer.deallocate() }
        while true {
            let count = try KernelError.check(
                codex_getdents(folder.number, buffer.baseAddress, buffer.count), "getdents64")
            if count == 0 { break }
            var offset = 0
            while offset < count {
                // struct linux_dirent64 (getdents64(2)): length at 16, name at 19.
                let length = Int(buffer.loadUnaligned(fromByteOffset: offset + 16, as: UInt16.self))
                let name = buffer[(offset + 19)..<(offset + length)].prefix { $0 != 0 }
                if let name = FileName(name), name.bytes != [0x2e], name.bytes != [0x2e, 0x2e] { names.append(name) }
                offset += length
            }
        }
        return names.sorted()
    }
}
