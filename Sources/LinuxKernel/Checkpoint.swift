internal import CShims

extension Machine {
    /// Gives this process a mount namespace of its own, with nothing of it seen outside, in which the folder is a mount of
    /// itself. There is no way back; it ends with the last process in it.
    public static func stageRoot(_ path: String, readOnly: Bool) throws(KernelError) {
        try KernelError.check(codex_stage_root(path, readOnly ? 1 : 0), "unshare", path)
    }
}

extension StandardStream {
    /// What a process (nil: this one) has there, outside of a container: `pipe:[INODE]`, or for a file
    /// `file[MOUNT:INODE]`, in hexadecimal (criu(8), `--external` and `--inherit-fd`); nil: CRIU has no word for it, or it
    /// is closed.
    public func outsideName(in pid: Int32?) -> String? {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(CODEX_STREAM_NAME)) { name in
            codex_stream_name(pid ?? 0, rawValue, name.baseAddress!) == 0 ? String(cString: name.baseAddress!) : nil
        }
    }
}
