internal import CShims
internal import Glibc

extension KernelError {
    /// Whether the call found that its file is not there (ENOENT, ENOTDIR), or the process that it tells of (ESRCH: a
    /// file of `/proc/PID` that was open already). Every other failure, a want of memory or of descriptors, a disk's,
    /// says nothing of that.
    public var isAbsence: Bool { [ENOENT, ENOTDIR, ESRCH].contains(number) }
}

/// What a look at something gives; nil: nothing is there, for certain.
///
/// - Throws: what kept it from being looked at. It may be there.
public func unlessMissing<Seen: ~Copyable>(_ look: () throws(KernelError) -> Seen) throws(KernelError) -> Seen? {
    do { return try look() } catch {
        guard error.isAbsence else { throw error }
        return nil
    }
}

extension Descriptor {
    /// Whether something is at a path, links followed.
    ///
    /// - Throws: what kept it from being looked at: ``isMissing(_:)`` is for those to whom that is as good as being there.
    public static func exists(_ path: String) throws(KernelError) -> Bool {
        var raw = stat()
        let result = codex_fstatat(AT_FDCWD, path, 0, &raw)
        // Nothing can have a name that is too long.
        if result == -ENOENT || result == -ENOTDIR || result == -ENAMETOOLONG { return false }
        try KernelError.check(result, "stat", path)
        return true
    }

    /// Whether nothing is there for certain: what could not be looked at may be there.
    public static func isMissing(_ path: String) -> Bool { (try? exists(path)) == false }
}
