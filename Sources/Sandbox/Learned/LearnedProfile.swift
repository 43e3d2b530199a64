internal import LinuxKernel
public import OCISpec

/// What a program was seen to need, as `codex32 learn` writes it and `--profile` takes it: a file of schema 1.
///
/// Its calls and limits only ever take away: those are what is left of the level's filter, these are the level's or
/// less. Its volumes are what somebody gave to the run that was learned from, and are mounted as with `-v`: whoever
/// takes a profile from somebody else gives the program what that one wrote into it.
public struct LearnedProfile: Equatable, Sendable {
    /// A folder or file of the host's, or, without a source, a new volume of the container's own.
    public struct Mount: Equatable, Sendable {
        public let source: String?
        public let target: String
        public var readOnly: Bool
        public let noExecute: Bool
        public let mapOwners: Bool?

        public init(source: String?, target: String, readOnly: Bool, noExecute: Bool, mapOwners: Bool?) {
            self.source = source
            self.target = target
            self.readOnly = readOnly
            self.noExecute = noExecute
            self.mapOwners = mapOwners
        }
    }

    public static let schema: Int64 = 1
    /// Bytes of a file; ten times what a program with every call and a hundred volumes comes to.
    public static let largest = 1 << 18
    private static let most = (calls: 1024, mounts: 256, missing: 64)

    /// As uname(2) has it: numbers and names of calls are an architecture's own.
    public let architecture: String
    public let level: IsolationLevel
    /// What was run; for people alone.
    public let image: String
    public private(set) var runs: UInt64
    /// Percent by which a limit is above what was seen, before it is rounded up.
    public private(set) var headroom: UInt64
    /// Names of system calls, in order.
    public private(set) var calls: [String]
    public private(set) var volumes: [Mount]
    public private(set) var limits: LearnedLimits
    public private(set) var observed: LearnedLimits
    /// Paths that were looked for and that no volume gave; for people alone.
    public private(set) var missing: [String]

    public init(
        architecture: String, level: IsolationLevel, image: String, headroom: UInt64, calls: Set<String>,
        volumes: [Mount], observed: LearnedLimits, missing: [String]
    ) {
        (self.architecture, self.level, self.image) = (architecture, level, image)
        (runs, self.headroom) = (1, headroom)
        self.calls = calls.sorted()
        self.volumes = volumes
        self.observed = observed
        limits = observed.limits(headroom: headroom, most: .most(level))
        self.missing = Array(missing.prefix(LearnedProfile.most.missing))
    }

    /// Widens this one by what another run was seen to need, of the same kind.
    ///
    /// - Throws: why the two are none.
    public mutating func widen(by other: LearnedProfile) throws(DocumentError) {
        guard architecture == other.architecture else {
            throw DocumentError("architecture", "it is of \(architecture), and this run was on \(other.architecture)")
        }
        guard level == other.level else {
            throw DocumentError(
                "isolation", "it is of \(level.rawValue), and this run was at \(other.level.rawValue)")
        }
        for mount in other.volumes {
            guard let index = volumes.firstIndex(where: { $0.target == mount.target }) else {
                volumes.append(mount)
                continue
            }
            let own = volumes[index]
            guard own.source == mount.source, own.noExecute == mount.noExecute, own.mapOwners == mount.mapOwners else {
                throw DocumentError("volumes", "this run had something else at \(mount.target)")
            }
            volumes[index].readOnly = own.readOnly && mount.readOnly
        }
        calls = Set(calls).union(other.calls).sorted()
        observed = observed.union(other.observed)
        headroom = other.headroom
        let computed = observed.limits(headroom: headroom, most: .most(level))
        // A person may have raised one by hand.
        limits = limits.union(computed)
        let known = Set(missing)
        missing = Array((missing + other.missing.filter { !known.contains($0) }).prefix(LearnedProfile.most.missing))
        runs += other.runs
    }

    // MARK: The file

    public var document: JSON {
        .members([
            "codex32Profile": .integer(LearnedProfile.schema), "architecture": .string(architecture),
            "isolation": .string(level.rawValue), "image": .string(image), "runs": .number(runs),
            "headroomPercent": .number(headroom), "systemCalls": .list(calls),
            "volumes": .array(volumes.map(\.document)), "limits": limits.document, "observed": observed.document,
            "missing": .list(missing),
        ])
    }

    /// Reads a profile from anybody: whatever is not wholly understood is an error.
    public init(text: [UInt8]) throws(DocumentError) {
        guard text.count <= LearnedProfile.largest else {
            throw DocumentError("", "it has more than \(LearnedProfile.largest >> 10) KiB")
        }
        let top = try JSONObject(try JSONReader.read(text), at: "")
        guard let schema = try top.integer("codex32Profile") else {
            throw DocumentError("codex32Profile", "is missing: codex32 learn writes such files")
        }
        guard schema == LearnedProfile.schema else {
            throw DocumentError("codex32Profile", "is \(schema), and this codex32 knows \(LearnedProfile.schema)")
        }
        try top.allow(only: [
            "codex32Profile", "architecture", "isolation", "image", "runs", "headroomPercent", "systemCalls", "volumes",
            "limits", "observed", "missing",
        ])
        architecture = try top.required("architecture")
        let name = try top.required("isolation")
        guard let level = IsolationLevel(rawValue: name) else {
            throw DocumentError("isolation", "\(name) is no level")
        }
        self.level = level
        image = try top.string("image") ?? ""
        runs = try top.unsigned("runs") ?? 1
        headroom = try top.unsigned("headroomPercent") ?? 0
        guard runs < 1 << 32 else { throw DocumentError("runs", "is out of bounds") }
        guard headroom <= LearnedProfile.mostHeadroom else {
            throw DocumentError("headroomPercent", "is out of bounds")
        }
        calls = try top.strings("systemCalls")
        guard !calls.isEmpty, calls.count <= LearnedProfile.most.calls else {
            throw DocumentError("systemCalls", calls.isEmpty ? "names no call" : "has too many")
        }
        volumes = []
        for object in try top.objects("volumes") { volumes.append(try Mount(object)) }
        guard volumes.count <= LearnedProfile.most.mounts else { throw DocumentError("volumes", "has too many") }
        var targets: Set<String> = []
        for mount in volumes where !targets.insert(mount.target).inserted {
            throw DocumentError("volumes", "has two at \(mount.target)")
        }
        limits = try LearnedLimits(try top.object("limits"))
        observed = try LearnedLimits(try top.object("observed"))
        missing = try top.strings("missing")
        guard missing.count <= LearnedProfile.most.missing else { throw DocumentError("missing", "has too many") }
    }

    public static let mostHeadroom: UInt64 = 10_000
}

extension LearnedProfile.Mount {
    fileprivate var document: JSON {
        .members([
            "source": .text(source), "target": .string(target), "readOnly": .bool(readOnly),
            "noExecute": .bool(noExecute), "mapOwners": mapOwners.map { .bool($0) } ?? .null,
        ])
    }

    fileprivate init(_ object: JSONObject) throws(DocumentError) {
        try object.allow(only: ["source", "target", "readOnly", "noExecute", "mapOwners"])
        self.init(
            source: try object.string("source"), target: try object.required("target"),
            readOnly: try object.bool("readOnly") ?? false, noExecute: try object.bool("noExecute") ?? false,
            mapOwners: try object.bool("mapOwners"))
        for (name, path) in [("source", source ?? "/"), ("target", target)] {
            guard path.utf8.first == UInt8(ascii: "/"), path.utf8.count < 4096, !path.utf8.contains(0) else {
                throw DocumentError("\(object.place).\(name)", "must be a path that begins with /")
            }
        }
    }
}
