/// What a container uses at one moment. A figure that the kernel did not give is nil, never 0.
public struct ContainerUsage: Sendable, Equatable {
    /// Where the figures come from.
    public enum Source: String, Sendable {
        /// The files of its cgroup: all that its processes use and used.
        case cgroup
        /// `/proc` of the processes that it has: those that ended unseen are missing.
        case processes
    }

    /// What ``memoryBytes`` is.
    public enum Memory: String, Sendable {
        /// `memory.current`: with the page cache that is charged to it.
        case cgroup
        /// Its processes' pages, shared ones in proportion (smaps_rollup).
        case proportional
        /// Its processes' pages, shared ones counted in each.
        case resident
    }

    public let source: Source
    /// Nanoseconds of the monotonic clock.
    public let at: Int64
    /// CPU time so far.
    public var cpuNanoseconds: UInt64?
    public var memoryBytes: UInt64?
    public var memory: Memory?
    /// Nil: there is none.
    public var memoryLimit: UInt64?
    /// Processes and threads.
    public var tasks: UInt64?
    public var taskLimit: UInt64?
    public var readBytes: UInt64?
    public var writtenBytes: UInt64?
    /// Through its own network, loopback left out; nil where it shares the machine's.
    public var receivedBytes: UInt64?
    public var sentBytes: UInt64?

    public init(source: Source, at: Int64) {
        self.source = source
        self.at = at
    }

    /// The CPU time used since an earlier moment, in percent of one CPU; nil: it cannot be known.
    public func cpuPercent(since earlier: ContainerUsage) -> Double? {
        guard source == earlier.source, at > earlier.at, let now = cpuNanoseconds, let then = earlier.cpuNanoseconds,
            now >= then
        else { return nil }
        return Double(now - then) * 100 / Double(at - earlier.at)
    }

    /// Memory in percent of its limit.
    public var memoryPercent: Double? {
        guard let memoryBytes, let memoryLimit, memoryLimit > 0 else { return nil }
        return Double(memoryBytes) * 100 / Double(memoryLimit)
    }
}
