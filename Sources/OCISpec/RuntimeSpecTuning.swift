/// config.md, "Process": `scheduler`.
public struct SpecScheduler: Equatable, Sendable {
    /// As in "SCHED_FIFO".
    public let policy: String
    public let nice: Int32
    public let priority: UInt32
    /// As in "SCHED_FLAG_RESET_ON_FORK".
    public let flags: [String]
    /// Nanoseconds, of SCHED_DEADLINE.
    public let runtime: UInt64
    public let deadline: UInt64
    public let period: UInt64

    init(_ object: JSONObject) throws(DocumentError) {
        try object.allow(only: ["policy", "nice", "priority", "flags", "runtime", "deadline", "period"])
        policy = try object.required("policy")
        guard let nice = Int32(exactly: try object.integer("nice") ?? 0), (-20...19).contains(nice) else {
            throw DocumentError("\(object.place).nice", "must be from -20 to 19")
        }
        self.nice = nice
        guard let priority = UInt32(exactly: try object.unsigned("priority") ?? 0), priority <= 99 else {
            throw DocumentError("\(object.place).priority", "must be from 0 to 99")
        }
        self.priority = priority
        flags = try object.strings("flags")
        runtime = try object.unsigned("runtime") ?? 0
        deadline = try object.unsigned("deadline") ?? 0
        period = try object.unsigned("period") ?? 0
    }
}

/// config.md, "Process": `ioPriority`.
public struct SpecIOPriority: Equatable, Sendable {
    /// As in "IOPRIO_CLASS_BE".
    public let kind: String
    public let priority: UInt32

    init(_ object: JSONObject) throws(DocumentError) {
        try object.allow(only: ["class", "priority"])
        kind = try object.required("class")
        guard let priority = UInt32(exactly: try object.unsigned("priority") ?? 0), priority <= 7 else {
            throw DocumentError("\(object.place).priority", "must be from 0 to 7")
        }
        self.priority = priority
    }
}

/// config.md, "Process": `execCPUAffinity`, which is for programs that `exec` adds.
public struct SpecAffinity: Equatable, Sendable {
    /// While the process is being set up; nil: as the caller.
    public let initial: Set<Int>?
    /// Of the program.
    public let final: Set<Int>?

    init(_ object: JSONObject) throws(DocumentError) {
        try object.allow(only: ["initial", "final"])
        initial = try object.numberList("initial")
        final = try object.numberList("final")
    }
}

/// config-linux.md, "Personality".
public struct SpecPersonality: Equatable, Sendable {
    public let domain: String

    init(_ object: JSONObject) throws(DocumentError) {
        try object.allow(only: ["domain", "flags"])
        domain = try object.required("domain")
        // The specification has the member, and no value for it.
        guard try object.strings("flags").isEmpty else {
            throw DocumentError("\(object.place).flags", "is not supported")
        }
    }
}

/// config-linux.md, "Memory policy".
public struct SpecMemoryPolicy: Equatable, Sendable {
    public let mode: String
    public let nodes: Set<Int>?
    public let flags: [String]

    init(_ object: JSONObject) throws(DocumentError) {
        try object.allow(only: ["mode", "nodes", "flags"])
        mode = try object.required("mode")
        nodes = try object.numberList("nodes")
        flags = try object.strings("flags")
    }
}

/// config-linux.md, "Network Devices" (version 1.3).
public struct SpecNetworkDevice: Equatable, Sendable {
    /// In the runtime's own network namespace.
    public let name: String
    /// In the container's; with %d at its end the kernel puts a number there.
    public let target: String

    /// As many as a machine may well have.
    private static let most = 256

    static func list(_ object: JSONObject) throws(DocumentError) -> [SpecNetworkDevice] {
        var list: [SpecNetworkDevice] = []
        for (name, entry) in try object.objects() {
            try entry.allow(only: ["name"])
            guard isName(name[...]) else { throw DocumentError(entry.place, "is no name of a network device") }
            let target = try entry.string("name").flatMap { $0.isEmpty ? nil : $0 } ?? name
            guard isName(target.hasSuffix("%d") ? target.dropLast(2) + "0" : target[...]), target.utf8.count < 16 else {
                throw DocumentError("\(entry.place).name", "\(target) is no name of a network device")
            }
            guard target.hasSuffix("%d") || !list.contains(where: { $0.target == target }) else {
                throw DocumentError("\(entry.place).name", "\(target) stands twice")
            }
            guard list.count < most else { throw DocumentError(entry.place, "is one device too many") }
            list.append(SpecNetworkDevice(name: name, target: target))
        }
        return list
    }

    /// As the kernel takes it (dev_valid_name), without the signs of a template.
    private static func isName(_ name: Substring) -> Bool {
        (1...15).contains(name.utf8.count) && name != "." && name != ".."
            && name.utf8.allSatisfy { $0 > 0x20 && $0 != 0x7f && $0 != 0x2f && $0 != 0x3a && $0 != 0x25 }
    }
}

/// config-linux.md, "Devices".
public struct SpecDevice: Equatable, Sendable {
    /// "c", "u", "b" or "p".
    public let type: String
    public let path: String
    public let major: UInt64
    public let minor: UInt64
    public let mode: UInt32?
    public let uid: UInt32?
    public let gid: UInt32?
    public let place: String

    init(_ object: JSONObject) throws(DocumentError) {
        try object.allow(only: ["type", "path", "major", "minor", "fileMode", "uid", "gid"])
        place = object.place
        type = try object.required("type")
        guard ["c", "u", "b", "p"].contains(type) else { throw DocumentError("\(place).type", "must be c, u, b or p") }
        path = try object.filePath("path")
        let parts = path.split(separator: "/")
        guard path.hasPrefix("/"), !parts.isEmpty, !parts.contains(".."), !parts.contains(".") else {
            throw DocumentError("\(place).path", "must be an absolute path without ..")
        }
        // Twelve and twenty bits are what the kernel has.
        guard type == "p" || (object.value("major") != nil && object.value("minor") != nil) else {
            throw DocumentError(place, "needs major and minor")
        }
        major = try object.unsigned("major") ?? 0
        minor = try object.unsigned("minor") ?? 0
        guard major < 1 << 12, minor < 1 << 20 else { throw DocumentError(place, "has a number that no device has") }
        mode = try object.unsigned("fileMode").map { UInt32(truncatingIfNeeded: $0 & 0o7777) }
        uid = try object.identity("uid")
        gid = try object.identity("gid")
    }
}

extension JSONObject {
    /// Numbers as in "0-3,7" (cpuset(7), "List format"), of at most 4095; nil: it is not there or empty.
    func numberList(_ name: String) throws(DocumentError) -> Set<Int>? {
        guard let text = try text(name), !text.isEmpty else { return nil }
        var numbers: Set<Int> = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
            guard (1...2).contains(ends.count), let first = ends[0], let last = ends[ends.count - 1], first >= 0,
                first <= last, last <= 4095
            else { throw DocumentError(place.isEmpty ? name : "\(place).\(name)", "must be a list such as 0-3,7") }
            numbers.formUnion(first...last)
        }
        return numbers
    }
}
