internal import CShims
internal import Glibc

/// What a tree of files takes on its disk.
public struct TreeUsage: Sendable, Equatable {
    /// Bytes of whole blocks (stat(2), `st_blocks`), as du(1) counts them: a hole costs nothing, a hard link once.
    public var bytes: UInt64 = 0
    public var files: UInt64 = 0
    /// False: some of it could not be read, so that there is more.
    public var isComplete = true

    public init() {}

    public static func += (a: inout TreeUsage, b: TreeUsage) {
        a.bytes &+= b.bytes
        a.files &+= b.files
        a.isComplete = a.isComplete && b.isComplete
    }
}

extension Descriptor {
    /// Nested deeper than this a folder is not looked into: each level costs a descriptor, and a program may nest
    /// without end.
    private static let depth = 200

    /// What is below a name of this folder, itself included. Links are not followed; a name that is not there is nothing.
    public borrowing func usage(of name: String) -> TreeUsage {
        var usage = TreeUsage()
        var seen: Set<UInt64> = []
        measure(name, &usage, &seen, Descriptor.depth)
        return usage
    }

    private borrowing func measure(_ name: String, _ usage: inout TreeUsage, _ seen: inout Set<UInt64>, _ depth: Int) {
        var raw = stat()
        let result = codex_fstatat(number, name, Int32(AT_SYMLINK_NOFOLLOW), &raw)
        guard result == 0 else {
            if result != -ENOENT { usage.isComplete = false }
            return
        }
        let isFolder = raw.st_mode & S_IFMT == S_IFDIR
        if !isFolder, raw.st_nlink > 1, !seen.insert(UInt64(raw.st_ino)).inserted { return }
        usage.bytes &+= UInt64(clamping: raw.st_blocks) &* 512
        usage.files += 1
        guard isFolder else { return }
        guard depth > 0, let folder = try? open(name, [.read, .folder, .noFollow]), let names = try? folder.entries()
        else {
            usage.isComplete = false
            return
        }
        for entry in names { folder.measure(entry, &usage, &seen, depth - 1) }
    }
}
