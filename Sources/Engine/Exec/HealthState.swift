/// Whether a container is well, by the checks made so far. Docker's rules.
struct HealthState: Equatable {
    enum Status: String {
        /// No check has passed yet, and not too many have failed.
        case starting
        case healthy, unhealthy
    }
    private(set) var status = Status.starting
    /// Failures in a row that count.
    private(set) var failures: UInt64 = 0

    /// As another supervisor left it.
    init(_ status: Status = .starting, failures: UInt64 = 0) { (self.status, self.failures) = (status, failures) }

    /// Takes the result of a check, `sinceStart` nanoseconds after the program began.
    mutating func take(passed: Bool, sinceStart: Int64, by check: HealthCheck) {
        if passed {
            (status, failures) = (.healthy, 0)
            return
        }
        // Once a check has passed the start is over, however early that was.
        if status == .starting, sinceStart < check.startPeriod { return }
        failures += 1
        if failures >= check.retries { status = .unhealthy }
    }
}
