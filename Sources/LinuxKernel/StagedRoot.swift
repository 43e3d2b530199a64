internal import CShims

extension Machine {
    /// Gives this process a mount namespace of its own, with nothing of it seen outside, in which the folder is a mount of
    /// itself. There is no way back; it ends with the last process in it.
    public static func stageRoot(_ path: String, readOnly: Bool) throws(KernelError) {
        try KernelError.check(codex_stage_root(path, readOnly ? 1 : 0), "unshare", path)
    }
}
