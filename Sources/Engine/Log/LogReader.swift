public import LinuxKernel
internal import OCISpec

/// One piece of output as the log has it: mostly a line.
public struct LogEntry: Sendable {
    public let bytes: [UInt8]
    public let stream: StandardStream
    /// Nanoseconds since 1970; nil: the log keeps no times (`raw`).
    public let time: Int64?
    /// False: it goes on with a line of its stream that had not ended.
    public var beginsLine = true
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
///
/// The files move on under it while it reads: it holds them open, by descriptor, and knows them by their inodes.
struct LogReader: ~Copyable {
    let folder: Descriptor
    private let base: String
    private let isRaw: Bool
    /// The files still to be read, the first of them from `offset` on; the last one is the one that is written.
    private var files: [Owned<Descriptor>] = []
    private var offset: Int64 = 0
    private var pending: [UInt8] = []
    /// Whether the last entry of a stream ended its line.
    private var hasEnded = (output: true, error: true)

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

    /// A link, a pipe or a device in a file's place is refused. Nil: there is none.
    private func open(_ name: String) throws(Problem) -> Owned<Descriptor>? {
        let file: Descriptor
        do { file = try folder.open(name, [.read, .noFollow, .nonblocking]) } catch {
            if error.number == Errno.missing { return nil }
            throw Problem("cannot read the log", error)
        }
        guard (try? file.status().kind) == .file else {
            throw Problem("cannot read the log", "\(name) is no file", hint: "codex32 writes only plain files there")
        }
        return Owned(file)
    }

    private static func inode(_ file: Owned<Descriptor>) -> UInt64 { (try? file.value.status().inode) ?? 0 }

    /// All files, oldest first, as they stood at one moment: a writer that turned meanwhile is looked at again.
    private func snapshot() throws(Problem) -> [Owned<Descriptor>] {
        var found: [Owned<Descriptor>] = []
        for _ in 0..<100 {
            found = []
            for name in older() { if let file = try open(name) { found.append(file) } }
            guard let last = try open(base) else { return found }
            let isWhole = !found.contains { LogReader.inode($0) == LogReader.inode(last) }
            found.append(last)
            let names = older()
            if isWhole, names.count == found.count - 1, (try? folder.status(of: base).inode) == LogReader.inode(last) {
                break
            }
        }
        return found
    }

    /// Hands over what is kept now, and nothing that comes meanwhile: a program may write faster than this reads.
    mutating func readKept(_ body: (LogEntry) -> Void) throws(Problem) {
        files = try snapshot()
        while let file = files.first {
            try read(file, until: (try? file.value.status().size) ?? 0, body)
            guard files.count > 1 else { return }
            files.removeFirst()
            (offset, pending) = (0, [])
        }
    }

    /// Hands over what has come since the last call; at the first, all that is kept.
    mutating func follow(_ body: (LogEntry) -> Void) throws(Problem) {
        if files.isEmpty { files = try snapshot() }
        while let file = files.first {
            try read(file, body)
            if files.count == 1 {
                guard let now = try? folder.status(of: base).inode, now != LogReader.inode(file) else { return }
                // Read once more: the last lines may have come between the two looks.
                try read(file, body)
                let all = try snapshot()
                let own = all.firstIndex { LogReader.inode($0) == LogReader.inode(file) }
                // Not among them: it is gone already, and all that are there are newer.
                files = [file] + all[(own.map { $0 + 1 } ?? 0)...]
                guard files.count > 1 else { return }
            }
            files.removeFirst()
            (offset, pending) = (0, [])
        }
    }

    private mutating func read(
        _ file: Owned<Descriptor>, until end: Int64 = .max, _ body: (LogEntry) -> Void
    ) throws(Problem) {
        while offset < end {
            let bytes = try explaining("cannot read the log") { [offset] () throws(KernelError) in
                try file.value.read(at: offset, count: Int(min(65536, end - offset)))
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
            if let entry = LogReader.parse(Array(pending[start..<end])) { hand(entry, to: body) }
            start = end + 1
        }
        pending.removeFirst(start)
        // No line that codex32 wrote is so long: somebody else did.
        if pending.count > 1 << 20 { pending = [] }
    }

    private mutating func hand(_ entry: LogEntry, to body: (LogEntry) -> Void) {
        var entry = entry
        let ends = entry.bytes.last == 10
        if entry.stream == .error {
            (entry.beginsLine, hasEnded.error) = (hasEnded.error, ends)
        } else {
            (entry.beginsLine, hasEnded.output) = (hasEnded.output, ends)
        }
        body(entry)
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
        _ reference: String, _ selection: LogSelection, follow: Bool, _ body: (LogEntry) throws(Problem) -> Void
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
        // What the caller could not do with an entry ends it all, though not in the middle of a piece that was read.
        var failure: Problem?
        func hand(_ entry: LogEntry) {
            guard failure == nil, selection.wants(entry) else { return }
            do throws(Problem) { try body(entry) } catch { failure = error }
        }
        if let tail = selection.tail {
            var last = LogTail(lines: tail)
            try reader.readKept { if selection.wants($0) { last.add($0) } }
            for entry in last.entries { hand(entry) }
        } else {
            try reader.readKept(hand)
        }
        if let failure { throw failure }
        guard follow else { return }
        let what = "cannot watch the log of \(record.name)"
        let watch = try explaining(what, hint: "sysctl fs.inotify.max_user_instances says how many may") {
            () throws(KernelError) in try FolderWatch(reader.folder)
        }
        try explaining(what) { () throws(KernelError) in try watch.add(container.folder) }
        while true {
            // In this order: what was written before the end is read after the look.
            let isOwned = container.isOwned()
            try reader.follow(hand)
            if let failure { throw failure }
            // Its supervisor was killed, perhaps, and its program has another by now.
            if !isOwned, !record.isAdoptable || (try? view(container).state.isActive) != true { return }
            if let until = selection.until, Clock.realtime > until { return }
            // The end of the supervisor closes the lock file, which is seen; the limit is for `until`.
            watch.wait(milliseconds: 1000)
        }
    }
}

/// The last lines of a log. A line may come in several entries.
struct LogTail {
    private let lines: Int
    private var kept: [LogEntry] = []
    private var begun = 0
    private var first = 0

    init(lines: Int) { self.lines = lines }

    var entries: ArraySlice<LogEntry> { kept[first...] }

    mutating func add(_ entry: LogEntry) {
        guard lines > 0 else { return }
        if entry.beginsLine { begun += 1 }
        kept.append(entry)
        while begun > lines {
            // The oldest line goes, with what continues it.
            first += 1
            while first < kept.count, !kept[first].beginsLine { first += 1 }
            begun -= 1
        }
        if first > 1024, first > kept.count / 2 {
            kept.removeFirst(first)
            first = 0
        }
    }
}
