internal import CShims
internal import Glibc

extension Descriptor {
    /// Waits for a lock that others may have at the same time, of the same kind (flock(2), LOCK_SH). It ends with
    /// this open file; ``lock(wait:)`` fails meanwhile.
    public borrowing func lockShared() throws(KernelError) {
        while true {
            let result = codex_flock(number, LOCK_SH)
            if result == -EINTR { continue }
            try KernelError.check(result, "flock")
            return
        }
    }

    /// As ``lockShared()``, without waiting. False: another has the lock of ``lock(wait:)``.
    public borrowing func tryLockShared() -> Bool { codex_flock(number, LOCK_SH | LOCK_NB) == 0 }

    /// Whether nobody has the lock of ``lock(wait:)``. Nobody who has it is disturbed.
    public borrowing func isUnlocked() -> Bool {
        guard tryLockShared() else { return false }
        _ = codex_flock(number, LOCK_UN)
        return true
    }
}
