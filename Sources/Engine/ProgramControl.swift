internal import LinuxKernel

/// What a foreground run and a supervisor do to a program alike.
extension Child {
    /// Sends a signal as to any process. A pid 1 that does nothing about it never gets it from the kernel
    /// (pid_namespaces(7)): then what would have happened is done for it.
    ///
    /// - Parameter reaper: a reaper is pid 1. It blocks all signals and passes them on: what they do is the program's
    ///   business.
    /// - Returns: whether the program was sent SIGKILL in the signal's place.
    borrowing func deliver(_ number: Int32, reaper: Bool) -> Bool {
        // Looked at before: afterwards a handler may have changed it.
        let status = try? ProcessStatus(pid: pid)
        try? signal(number)
        guard !reaper, Signal.endsByDefault(number), status?.leavesToDefault(number) == true else { return false }
        try? signal(Signal.kill)
        return true
    }
}

/// A limit of CPU time for all of a program's processes together (`--cpu-time`), which its cgroup counts.
enum CPUTime {
    /// Nanoseconds used so far; nil: nobody counts them.
    static func used(by cgroup: borrowing Cgroup?) -> Int64? {
        switch cgroup {
        case .some(let group): Int64(clamping: group.number("cpu.stat", key: "usage_usec") ?? 0) &* 1000
        case .none: nil
        }
    }

    /// Nanoseconds until the rest could be used up at the earliest, on eight processors; nil: nothing is left.
    static func untilNextLook(used: Int64, of limit: Int64) -> Int64? {
        used >= limit ? nil : max(10_000_000, (limit - used) / 8)
    }
}
