internal import LinuxKernel
internal import OCISpec

extension HealthMonitor {
    /// Goes on where the checks of a killed supervisor were: the record has the status, which decides, and the report
    /// what led to it. What cannot be read is left out.
    func resume(_ status: String?, _ report: JSON?) {
        guard let status = status.flatMap(HealthState.Status.init(rawValue:)) else { return }
        var failures: UInt64 = 0
        if case .integer(let number)? = report?["failingStreak"] { failures = UInt64(exactly: number) ?? 0 }
        state = HealthState(status, failures: min(failures, 1 << 20))
        guard case .array(let entries)? = report?["log"] else { return }
        for case .object(let members) in entries {
            let entry = JSON.object(members)
            guard case .string(let start)? = entry["start"], let begin = Timestamp.nanoseconds(start),
                case .string(let end)? = entry["end"], let finish = Timestamp.nanoseconds(end),
                case .integer(let number)? = entry["exitStatus"], let exit = Int32(exactly: number),
                case .string(let output)? = entry["output"]
            else { continue }
            self.report.add(.init(start: begin, end: finish, exitStatus: exit, output: output))
        }
    }
}
