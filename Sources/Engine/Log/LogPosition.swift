internal import LinuxKernel

/// How far a program's output is in its log: what another writer needs to go on where this one was killed.
struct LogPosition: Equatable {
    /// The file that is written, and its bytes up to the end of the last whole object; 0: there is no log.
    var inode: UInt64 = 0
    var size: UInt64 = 0
    /// Bytes of a character whose end has not come yet, by stream.
    var tails: [[UInt8]] = [[], []]

    /// Takes back what was written after it: the output that it came from is still there, and is written anew.
    ///
    /// Between two positions a log turns once at most (``OutputSpool/round``). Nothing is renamed back, because readers
    /// follow the files by their inodes; an empty file says nothing.
    func restore(in folder: borrowing Descriptor, base: String, count: UInt64) throws(KernelError) {
        guard inode != 0 else { return }
        if try LogPosition.inode(base, in: folder) == inode { return try LogPosition.cut(base, in: folder, to: size) }
        // One file that was turned is gone, and what stands in its place came later.
        if count == 1 { return try LogPosition.cut(base, in: folder, to: 0) }
        // Otherwise somebody else was at work here: what it left is nobody's to take away.
        guard try LogPosition.inode("\(base).1", in: folder) == inode else { return }
        try LogPosition.cut(base, in: folder, to: 0)
        try LogPosition.cut("\(base).1", in: folder, to: size)
    }

    /// Nil: there is no such name, as in the middle of a turn.
    private static func inode(_ name: String, in folder: borrowing Descriptor) throws(KernelError) -> UInt64? {
        do { return try folder.status(of: name).inode } catch {
            guard error.number == Errno.missing else { throw error }
            return nil
        }
    }

    private static func cut(_ name: String, in folder: borrowing Descriptor, to size: UInt64) throws(KernelError) {
        let file: Descriptor
        do { file = try folder.open(name, [.readWrite, .noFollow, .nonblocking]) } catch {
            guard error.number == Errno.missing else { throw error }
            return
        }
        let status = try file.status()
        guard status.kind == .file else { throw KernelError("open", name, number: Errno.invalid) }
        if status.size > Int64(clamping: size) { try file.truncate(Int64(clamping: size)) }
    }
}
