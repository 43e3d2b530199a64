public import LinuxKernel
public import OCISpec

/// What happened to containers: an append-only file of lines, one JSON object each.
///
/// A line's sequence number is its offset in the journal, so that writers need no lock: O_APPEND makes the place
/// of each line the kernel's decision (open(2)). A file that has grown to ``limit`` becomes `journal.1`, and the
/// next one begins with the number at which it goes on.
public struct EventJournal: Sendable {
    private let storage: Storage
    static let limit: Int64 = 16 << 20
    static let name = "journal"
    static let older = "journal.1"

    public init(_ storage: Storage) { self.storage = storage }

    /// Adds an event. Never fails: what cannot be told must not keep a container from ending.
    func append(_ kind: String, _ record: ContainerRecord, _ more: [JSON.Member] = []) {
        append(kind, id: record.id, name: record.name, more)
    }

    func append(_ kind: String, id: String, name: String, _ more: [JSON.Member] = []) {
        let event = JSON.object(
            [
                .init("time", .string(Timestamp.text(Clock.realtime))), .init("type", .string(kind)),
                .init("id", .string(id)), .init("name", .string(name)),
            ] + more)
        try? write(Array((event.text() + "\n").utf8))
    }

    private func write(_ line: [UInt8]) throws(KernelError) {
        let folder = try makeFolders(storage.journal)
        let file = try folder.open(EventJournal.name, [.readWrite, .create, .append, .noFollow])
        let size = try file.status().size
        if size == 0 { try file.write(bytes: EventJournal.head(base: 0)) }
        // What a killed writer left of a line must not swallow this one.
        let torn = size > 0 ? try file.read(at: size - 1, count: 1) != [10] : false
        try file.write(bytes: torn ? [10] + line : line)
        if size > EventJournal.limit { try turn(folder, size) }
    }

    /// Begins a new file. One of several that want to does it: the one that makes the new file's name.
    private func turn(_ folder: borrowing Descriptor, _ size: Int64) throws(KernelError) {
        let next = ".journal.next"
        let file: Descriptor
        do { file = try folder.open(next, [.write, .create, .exclusive, .noFollow]) } catch {
            // Left by a killed one: after a minute it is nobody's.
            if let age = try? folder.status(of: next).modified, Clock.realtime / 1_000_000_000 - age > 60 {
                try folder.remove(next)
            }
            return
        }
        // A slow writer may still append to the old file: its numbers stay below the new base.
        let base = try base(of: folder) + size + (1 << 20)
        try file.write(bytes: EventJournal.head(base: base))
        try folder.rename(EventJournal.name, to: EventJournal.older)
        try folder.rename(next, to: EventJournal.name)
    }

    private func base(of folder: borrowing Descriptor) throws(KernelError) -> Int64 {
        let head = try folder.open(EventJournal.name, [.read, .noFollow]).readPrefix(64)
        return EventJournal.base(head)
    }

    private static func head(base: Int64) -> [UInt8] { Array("{\"base\":\(base)}\n".utf8) }

    static func base(_ bytes: [UInt8]) -> Int64 {
        guard let end = bytes.firstIndex(of: 10), let json = try? JSONReader.read(Array(bytes[..<end])),
            // Offsets are added to it. No journal has grown so far: somebody else wrote that.
            case .integer(let base)? = json["base"], (0..<1 << 62).contains(base)
        else { return 0 }
        return base
    }
}

/// An event as it was read, with its number.
public struct Event: Sendable {
    public let sequence: Int64
    public let json: JSON

    /// The event's members, its number in front.
    public var document: JSON {
        guard case .object(let members) = json else { return json }
        return .object([.init("sequence", .number(sequence))] + members)
    }
}

extension EventJournal {
    /// The events behind a number (0: all that are kept), oldest first. A torn line is passed over.
    public func read(after sequence: Int64 = -1) throws(Problem) -> [Event] {
        if Descriptor.isMissing(storage.journal) { return [] }
        return try explaining("cannot read the events in \(storage.journal)") { () throws(KernelError) in
            let folder = try Descriptor.open(storage.journal, [.read, .folder])
            var events: [Event] = []
            for name in [EventJournal.older, EventJournal.name] {
                guard let file = try? folder.open(name, [.read, .noFollow]) else { continue }
                let base = EventJournal.base(try file.read(at: 0, count: 64))
                // What lies before the number need not be read.
                let offset = max(0, min(sequence, Int64.max / 2) - base)
                let bytes = try EventJournal.rest(of: file, from: offset)
                var start = bytes.startIndex
                while let end = bytes[start...].firstIndex(of: 10) {
                    let number = base + offset + Int64(start)
                    if number > sequence, start < end, let json = try? JSONReader.read(Array(bytes[start..<end])),
                        json["type"] != nil
                    {
                        events.append(Event(sequence: number, json: json))
                    }
                    start = end + 1
                }
            }
            return events
        }
    }

    private static func rest(of file: borrowing Descriptor, from offset: Int64) throws(KernelError) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < Int(EventJournal.limit) * 4 {
            let more = try file.read(at: offset + Int64(bytes.count), count: 1 << 18)
            if more.isEmpty { break }
            bytes += more
        }
        return bytes
    }

    /// Hands over the events behind a number, and, when followed, those that come, without end or until a
    /// moment (nanoseconds since 1970).
    public func read(
        after sequence: Int64, follow: Bool, until: Int64? = nil, _ body: (Event) throws(Problem) -> Void
    ) throws(Problem) {
        guard follow else {
            for event in try read(after: sequence) { try body(event) }
            return
        }
        let what = "cannot watch the events in \(storage.journal)"
        let watch = try explaining(what, hint: "sysctl fs.inotify.max_user_instances says how many may") {
            () throws(KernelError) in try FolderWatch(try makeFolders(storage.journal))
        }
        var last = sequence
        while true {
            for event in try read(after: last) {
                last = event.sequence
                try body(event)
            }
            if let until, Clock.realtime > until { return }
            watch.wait(milliseconds: until == nil ? 10_000 : 100)
        }
    }
}
