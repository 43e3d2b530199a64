public import LinuxKernel
internal import OCISpec

/// One piece of output as the log has it: mostly a line.
public struct LogEntry: Sendable {
    public let bytes: [UInt8]
    public let stream: StandardStream
    /// Nanoseconds since 1970; nil: the log keeps no times (`raw`).
    public let time: Int64?
}

/// What of a log is wanted.
public struct LogSelection: Sendable {
    /// Nanoseconds since 1970.
    public var since: Int64?
    public var until: Int64?
    /// The last so many entries; nil: all.
    public var tail: Int?
    public init() {}

    func wants(_ entry: LogEntry) -> Bool {
        guard let time = entry.time else { return true }
        return time >= since ?? Int64.min && time <= until ?? Int64.max
    }
}

/// Reads a container's log, from the oldest file that is kept to the one that is written now.
struct LogReader: ~Copyable {
    private let folder: Descriptor
    private let base: String
    private let isRaw: Bool
    private var file: Descriptor?
    private var inode: UInt64 = 0
    private var offset: Int64 = 0
    private var pending: [UInt8] = []

    init(_ container: borrowing ContainerFolder, _ policy: LogPolicy) throws(Problem) {
        folder = try explaining("cannot read the log") { () throws(KernelError) in
            try container.folder.open("log", [.read, .folder, .noFollow])
        }
        base = LogFiles.base(policy.format)
        isRaw = policy.format == .raw
    }

    /// The rotated files' names, oldest first.
    private func older() -> [String] {
        let names = (try? folder.entries()) ?? []
        let numbers = names.compactMap { name in
            name.hasPrefix(base + ".") ? Int(name.dropFirst(base.utf8.count + 1)) : nil
        }
        return numbers.sorted(by: >).map { "\(base).\($0)" }
    }

    /// Hands over all that is there. Afterwards ``follow(_:)`` goes on from here.
    mutating func readAll(_ body: (LogEntry) -> Void) throws(Problem) {
        for name in older() {
            guard let opened = try? folder.open(name, [.read, .noFollow]) else { continue }
            try read(opened, body)
        }
        reopen()
        try follow(body)
    }

    private mutating func read(_ source: borrowing Descriptor, _ body: (LogEntry) -> Void) throws(Problem) {
        pending = []
        while true {
            let bytes = try explaining("cannot read the log") { () throws(KernelError) in
                try source.readPrefix(65536)
            }
            if bytes.isEmpty { return }
            take(bytes, body)
        }
    }

    private mutating func reopen() {
        pending = []
        offset = 0
        file = try? folder.open(base, [.read, .noFollow])
        switch file {
        case .some(let opened): inode = (try? opened.status().inode) ?? 0
        case .none: inode = 0
        }
    }

    /// Hands over what has come since. A file that was exchanged meanwhile is first read to its end.
    mutating func follow(_ body: (LogEntry) -> Void) throws(Problem) {
        while true {
            try readOpen(body)
            let now = try? folder.status(of: base).inode
            guard let now, now != inode else { return }
            // Read once more: the last lines may have come between the two looks.
            try readOpen(body)
            reopen()
        }
    }

    private mutating func readOpen(_ body: (LogEntry) -> Void) throws(Problem) {
        while true {
            var bytes: [UInt8] = []
            switch file {
            case .some(let opened):
                bytes = try explaining("cannot read the log") { [offset] () throws(KernelError) in
                    try opened.read(at: offset, count: 65536)
                }
            case .none: return
            }
            if bytes.isEmpty { return }
            offset += Int64(bytes.count)
            take(bytes, body)
        }
    }

    private mutating func take(_ bytes: [UInt8], _ body: (LogEntry) -> Void) {
        if isRaw { return body(LogEntry(bytes: bytes, stream: .output, time: nil)) }
        pending += bytes
        var start = pending.startIndex
        while let end = pending[start...].firstIndex(of: 10) {
            if let entry = LogReader.parse(Array(pending[start..<end])) { body(entry) }
            start = end + 1
        }
        pending.removeFirst(start)
        // No line that codex32 wrote is so long: somebody else did.
        if pending.count > 1 << 20 { pending = [] }
    }

    static func parse(_ line: [UInt8]) -> LogEntry? {
        guard let json = try? JSONReader.read(line) else { return nil }
        var bytes: [UInt8]
        if case .string(let text)? = json["log"] {
            bytes = Array(text.utf8)
        } else if case .string(let text)? = json["base64"], let decoded = LogText.decodeBase64(text) {
            bytes = decoded
        } else {
            return nil
        }
        var time: Int64?
        if case .string(let text)? = json["time"] { time = Timestamp.nanoseconds(text) }
        return LogEntry(bytes: bytes, stream: json["stream"] == .string("stderr") ? .error : .output, time: time)
    }
}

extension Containers {
    /// Hands over what a container's log has, and, when followed, all that comes until it ends.
    public func logs(
        _ reference: String, _ selection: LogSelection, follow: Bool, _ body: (LogEntry) -> Void
    ) throws(Problem) {
        let container = try store.find(reference)
        let record = try view(container)
        let policy: LogPolicy
        do throws(DocumentError) {
            policy =
                try JSONObject(record.configuration, at: "configuration").object("log").map(LogPolicy.init)
                ?? LogPolicy()
        } catch { throw Problem("cannot read the log of \(record.name)", error.description) }
        guard policy.format != .none else {
            throw Problem(
                "\(record.name) has no log", "it was made with --log-driver none", hint: "codex32 attach shows it live")
        }
        if policy.format == .raw, selection.since != nil || selection.until != nil || selection.tail != nil {
            throw Problem(
                "cannot choose from the log of \(record.name)", "a raw log has no times and no lines",
                hint: "leave out --since, --until and --tail")
        }
        var reader = try LogReader(container, policy)
        if let tail = selection.tail {
            var last: [LogEntry] = []
            try reader.readAll { entry in
                guard selection.wants(entry) else { return }
                last.append(entry)
                if last.count > tail * 2 + 64 { last.removeFirst(last.count - tail) }
            }
            for entry in last.suffix(tail) { body(entry) }
        } else {
            try reader.readAll { if selection.wants($0) { body($0) } }
        }
        guard follow else { return }
        while true {
            // In this order: what was written before the end is read after the look.
            let isOwned = container.isOwned()
            try reader.follow { if selection.wants($0) { body($0) } }
            if !isOwned { return }
            if let until = selection.until, Clock.realtime > until { return }
            Clock.sleep(milliseconds: 50)
        }
    }
}
