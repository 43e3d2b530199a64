internal import CShims

extension ProcessEnd {
    /// How long the new parent of an orphan may take to reap it, in milliseconds.
    private static let patience = 1000

    /// The end of a process that is another's child and has ended. Its status is for its parent (wait(2)); since Linux
    /// 6.15 the kernel tells it to everybody who had a pidfd of it in time, once it was reaped (PIDFD_INFO_EXIT).
    ///
    /// - Returns: ``unseen`` on an older kernel, and where its parent does not reap it.
    static func foreign(_ pidfd: borrowing Descriptor) -> ProcessEnd {
        var status: Int32 = 0
        for _ in 0..<patience {
            let told = codex_pidfd_end(pidfd.number, &status)
            if told > 0 { return ProcessEnd(status: status) }
            if told < 0 { break }
            Clock.sleep(milliseconds: 1)
        }
        return .unseen
    }
}
