internal import LinuxKernel
internal import OCISpec

/// How much of each thing: what a program took while it was learned, or what it may take. Nil: it is not known, and
/// not limited.
public struct LearnedLimits: Equatable, Sendable {
    /// Of all processes together.
    public var memoryBytes: UInt64?
    /// Processes and threads at once.
    public var processes: UInt64?
    /// One more than the highest descriptor of a process (RLIMIT_NOFILE).
    public var openFiles: UInt64?
    /// The largest file that it wrote (RLIMIT_FSIZE).
    public var fileBytes: UInt64?
    /// From its start to its end.
    public var wallSeconds: UInt64?
    /// Of all processes together.
    public var cpuSeconds: UInt64?

    public init() {}

    /// One of the figures, with how it is rounded.
    struct Figure: Sendable {
        let name: String
        let path: any WritableKeyPath<LearnedLimits, UInt64?> & Sendable
        /// A limit is a multiple of it.
        let unit: UInt64
        /// No limit is less: another machine, or a busy one, needs a little more without anybody's doing.
        let least: UInt64
    }

    static let figures: [Figure] = [
        Figure(name: "memoryBytes", path: \.memoryBytes, unit: 16 << 20, least: 32 << 20),
        Figure(name: "processes", path: \.processes, unit: 8, least: 16),
        Figure(name: "openFiles", path: \.openFiles, unit: 64, least: 256),
        Figure(name: "fileBytes", path: \.fileBytes, unit: 16 << 20, least: 64 << 20),
        Figure(name: "wallSeconds", path: \.wallSeconds, unit: 30, least: 60),
        Figure(name: "cpuSeconds", path: \.cpuSeconds, unit: 10, least: 30),
    ]

    /// The largest of both. What only one of them knows is not known of both together.
    public func union(_ other: LearnedLimits) -> LearnedLimits {
        var both = LearnedLimits()
        for figure in LearnedLimits.figures {
            guard let own = self[keyPath: figure.path], let others = other[keyPath: figure.path] else { continue }
            both[keyPath: figure.path] = max(own, others)
        }
        return both
    }

    /// Limits that leave room above what was seen: so many percent, rounded up. Never above `most`; what was seen to be
    /// above it already has no limit of its own.
    public func limits(headroom percent: UInt64, most: LearnedLimits) -> LearnedLimits {
        var limits = LearnedLimits()
        for figure in LearnedLimits.figures {
            guard let seen = self[keyPath: figure.path] else { continue }
            let (scaled, isHuge) = seen.multipliedReportingOverflow(by: 100 + percent)
            let (up, isTooHuge) = (isHuge ? UInt64.max : scaled / 100 + 1).addingReportingOverflow(figure.unit - 1)
            var limit = max(figure.least, (isTooHuge ? UInt64.max : up) / figure.unit * figure.unit)
            if let most = most[keyPath: figure.path] {
                if seen > most { continue }
                limit = min(limit, most)
            }
            if limit < 1 << 62 { limits[keyPath: figure.path] = limit }
        }
        return limits
    }

    /// What a level gives without being asked for more.
    public static func most(_ level: IsolationLevel) -> LearnedLimits {
        var most = LearnedLimits()
        (most.memoryBytes, most.processes) = (level.defaultLimits().memoryMax, level.defaultLimits().pidsMax)
        return most
    }

    var document: JSON {
        .object(LearnedLimits.figures.map { .init($0.name, .number(self[keyPath: $0.path])) })
    }

    init(_ object: JSONObject?) throws(DocumentError) {
        self.init()
        guard let object else { return }
        try object.allow(only: Set(LearnedLimits.figures.map(\.name)))
        for figure in LearnedLimits.figures {
            guard let value = try object.unsigned(figure.name) else { continue }
            guard value > 0, value < 1 << 62 else {
                throw DocumentError("\(object.place).\(figure.name)", "is out of bounds")
            }
            self[keyPath: figure.path] = value
        }
    }
}
