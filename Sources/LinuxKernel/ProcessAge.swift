internal import Glibc

extension ProcessIdentity {
    /// Nanoseconds since the process began, to a hundredth of a second; nil: the clock cannot be read.
    ///
    /// By the clock of the boot, in which the start time is counted (proc_pid_stat(5), proc_uptime(5)): nobody sets
    /// it, and it is the same for every process that looks.
    public var age: Int64? {
        guard let text = try? Descriptor.contents(of: "/proc/uptime"), let word = text.split(separator: " ").first,
            let uptime = Double(word), uptime >= 0, uptime < 1e9
        else { return nil }
        let ticks = UInt64(max(sysconf(Int32(_SC_CLK_TCK)), 1))
        let began = Double(startTime / ticks) + Double(startTime % ticks) / Double(ticks)
        return Int64(max(uptime - began, 0) * 1e9)
    }
}
