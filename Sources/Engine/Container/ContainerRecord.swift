public import LinuxKernel
public import OCISpec

/// What is written down of a container: `container.json` in its folder (schema 1).
///
/// It is written whole, synced and renamed (``Descriptor/replace(_:with:mode:durable:)``), by whoever holds the
/// container's lock: its supervisor while there is one, else the command at work. An older schema is read and
/// written back as the newest; a newer one is refused; fields that are not known are kept as they are.
public struct ContainerRecord: Sendable {
    static let schema: UInt64 = 1

    public let id: String
    public var name: String
    /// Nanoseconds since 1970.
    public let createdAt: Int64
    public var labels: [(key: String, value: String)]
    /// As ``ContainerConfiguration`` encodes it: decoded only where a program is started, because
    /// that looks at the host's files.
    public var configuration: JSON
    public internal(set) var state: ContainerState
    /// How often it was started again by its policy, since a person started it.
    public var restarts: UInt64 = 0
    /// A person stopped it: `unless-stopped` then leaves it alone.
    public var wasStopped = false
    /// The supervisor's process, while there is one.
    public var supervisor: ProcessIdentity?
    /// "starting", "healthy", "unhealthy"; nil without a health check.
    public var health: String?
    /// The cgroup's folder on the host, named before it is made.
    public var cgroup: String?
    /// What was asked for and is not in force, as the receipt has it.
    public var notices: JSON = .array([])
    /// Written by a newer codex32 of the same schema.
    private var others: [JSON.Member] = []

    public init(
        id: String, name: String, createdAt: Int64, labels: [(key: String, value: String)], configuration: JSON
    ) {
        self.id = id
        self.name = name
        self.createdAt = createdAt
        self.labels = labels
        self.configuration = configuration
        state = .created
    }

    /// Moves on in life.
    /// - Throws: a `Problem` that names both states, when there is no way from the one to the other.
    public mutating func become(_ next: ContainerState) throws(Problem) {
        guard state.kind.next.contains(next.kind) else {
            throw Problem(
                "\(name) cannot become \(next.kind.rawValue)", "it is \(state.kind.rawValue)",
                hint: "codex32 inspect \(name) tells more")
        }
        state = next
    }

    // MARK: JSON

    private static let known: Set<String> = [
        "schema", "id", "name", "createdAt", "labels", "configuration", "state", "restarts", "wasStopped", "supervisor",
        "health", "cgroup", "notices",
    ]

    public var document: JSON {
        .object(
            [
                .init("schema", .number(ContainerRecord.schema)), .init("id", .string(id)),
                .init("name", .string(name)), .init("createdAt", .string(Timestamp.text(createdAt))),
                .init("labels", .object(labels.map { .init($0.key, .string($0.value)) })),
                .init("state", state.document), .init("restarts", .number(restarts)),
                .init("wasStopped", .bool(wasStopped)),
                .init("supervisor", supervisor?.document ?? .null), .init("health", .text(health)),
                .init("cgroup", .text(cgroup)), .init("notices", notices), .init("configuration", configuration),
            ] + others)
    }

    public init(_ json: JSON) throws(DocumentError) {
        let top = try JSONObject(json, at: "")
        guard let schema = try top.unsigned("schema") else { throw DocumentError("schema", "is missing") }
        guard schema >= 1 else { throw DocumentError("schema", "\(schema) never was") }
        guard schema <= ContainerRecord.schema else {
            throw DocumentError(
                "schema", "\(schema) is of a newer codex32: this one reads up to \(ContainerRecord.schema)")
        }
        id = try top.required("id")
        guard ContainerID.isValid(id) else { throw DocumentError("id", "is no container's id") }
        name = try top.required("name")
        guard ContainerName.isValid(name) else { throw DocumentError("name", "is no container's name") }
        guard let created = Timestamp.nanoseconds(try top.required("createdAt")) else {
            throw DocumentError("createdAt", "is no time")
        }
        createdAt = created
        labels = try top.object("labels")?.pairs().map { ($0.name, $0.value) } ?? []
        guard let configuration = top.value("configuration"), case .object = configuration else {
            throw DocumentError("configuration", "must be an object")
        }
        self.configuration = configuration
        guard let state = try top.object("state") else { throw DocumentError("state", "is missing") }
        self.state = try ContainerState(state)
        restarts = try top.unsigned("restarts") ?? 0
        // It is counted up; a policy counts no further than 31 bits.
        guard restarts < 1 << 62 else { throw DocumentError("restarts", "is out of bounds") }
        wasStopped = try top.bool("wasStopped") ?? false
        supervisor = try top.object("supervisor").map(ProcessIdentity.decode)
        health = try top.string("health")
        cgroup = try top.string("cgroup")
        notices = top.value("notices") ?? .array([])
        others = top.others(than: ContainerRecord.known)
    }
}

extension ContainerState {
    var document: JSON {
        var members: [JSON.Member] = [.init("status", .string(kind.rawValue))]
        if let life {
            members.append(.init("process", life.process.document))
            members.append(.init("startedAt", .string(Timestamp.text(life.startedAt))))
        }
        if let ending {
            members.append(.init("exitStatus", .number(ending.status)))
            members.append(.init("verdict", ending.verdict))
        }
        if case .restarting(_, let at) = self { members.append(.init("restartAt", .string(Timestamp.text(at)))) }
        if case .dead(let why) = self { members.append(.init("why", .string(why))) }
        return .object(members)
    }

    init(_ object: JSONObject) throws(DocumentError) {
        let name = try object.required("status")
        guard let kind = Kind(rawValue: name) else { throw DocumentError("state.status", "\(name) is not known") }
        switch kind {
        case .created: self = .created
        case .running: self = .running(try ContainerState.life(object))
        case .paused: self = .paused(try ContainerState.life(object))
        case .stopping: self = .stopping(try ContainerState.life(object))
        case .exited: self = .exited(try ContainerState.ending(object))
        case .restarting:
            let at = Timestamp.nanoseconds(try object.string("restartAt") ?? "") ?? 0
            self = .restarting(try ContainerState.ending(object), at: at)
        case .dead: self = .dead(why: try object.string("why") ?? "")
        }
    }

    private static func life(_ object: JSONObject) throws(DocumentError) -> Life {
        guard let process = try object.object("process"),
            let started = Timestamp.nanoseconds(try object.required("startedAt"))
        else { throw DocumentError("state", "has no process") }
        return Life(process: try ProcessIdentity.decode(process), startedAt: started)
    }

    private static func ending(_ object: JSONObject) throws(DocumentError) -> Ending {
        guard let status = try object.integer("exitStatus"), (0...255).contains(status),
            let verdict = object.value("verdict"), case .object = verdict
        else { throw DocumentError("state", "has no exit status and verdict") }
        return Ending(status: Int32(status), verdict: verdict)
    }
}

extension ProcessIdentity {
    var document: JSON {
        .members(["pid": .number(pid), "startTime": .number(startTime), "boot": .string(boot)])
    }

    static func decode(_ object: JSONObject) throws(DocumentError) -> ProcessIdentity {
        guard let pid = try object.unsigned("pid"), pid > 0, pid <= 4_194_304,
            let startTime = try object.unsigned("startTime")
        else { throw DocumentError(object.place, "is no process") }
        return ProcessIdentity(pid: Int32(pid), startTime: startTime, boot: try object.required("boot"))
    }
}

/// Names as Docker has them.
public enum ContainerName {
    public static func isValid(_ text: String) -> Bool {
        let bytes = text.utf8
        guard let first = bytes.first, bytes.count <= 128, isAlphanumeric(first) else { return false }
        return bytes.allSatisfy { isAlphanumeric($0) || $0 == 0x5f || $0 == 0x2d || $0 == 0x2e }
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
    }

    private static let qualities = [
        "able", "brave", "calm", "deft", "eager", "fair", "glad", "keen", "kind", "lucid", "merry", "neat", "quick",
        "quiet", "sound", "steady", "swift", "true", "warm", "wise",
    ]
    private static let birds = [
        "avocet", "bittern", "crane", "dipper", "egret", "finch", "grebe", "heron", "ibis", "jay", "kestrel", "lark",
        "martin", "osprey", "plover", "quail", "robin", "swift", "tern", "wren",
    ]

    /// An id for a container that was given no name, and a name from it that is free: of some thousand two are alike. After
    /// a hundred that are taken the last, so that whoever claims it says why it cannot be had.
    static func invented(from makeID: () -> String, isFree: (String) -> Bool) -> (id: String, name: String) {
        var id = makeID()
        for _ in 0..<100 where !isFree(invented(for: id)) { id = makeID() }
        return (id, invented(for: id))
    }

    private static func invented(for id: String) -> String {
        let number = Int(id.prefix(8), radix: 16) ?? 0
        return "\(qualities[number % 20])-\(birds[number / 20 % 20])-\(id.suffix(4))"
    }
}
