internal import CShims
internal import Glibc

extension Machine {
    /// Gives this process a mount namespace of its own, with nothing of it seen outside, in which the folder is a mount of
    /// itself. There is no way back; it ends with the last process in it.
    public static func stageRoot(_ path: String, readOnly: Bool) throws(KernelError) {
        try KernelError.check(codex_stage_root(path, readOnly ? 1 : 0), "unshare", path)
    }

    /// Where a descriptor of a process leads, as procfs shows it; nil: it has none of that number, or the kernel does not
    /// tell.
    public static func destination(ofDescriptor number: Int, of pid: Int32) -> String? {
        link("/proc/\(pid)/fd/\(number)")
    }

    /// The inode of a namespace of a process's.
    public static func namespace(_ kind: Namespace, of pid: Int32) -> UInt64? {
        try? Descriptor.status(ofPath: "/proc/\(pid)/ns/\(kind.file)").inode
    }

    private static func link(_ path: String) -> String? {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 4096) { buffer in
            let count = readlink(path, buffer.baseAddress!, buffer.count - 1)
            guard count > 0 else { return nil }
            buffer[count] = 0
            return String(cString: buffer.baseAddress!)
        }
    }
}
