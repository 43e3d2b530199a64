/// A seccomp profile in Docker's format: the JSON that `--security-opt seccomp=` takes, whole.
///
/// Source: moby's `profiles/seccomp` types, and the runtime-spec's `linux.seccomp` for those fields
/// that the two share. What is not known here is an error, because a rule that is dropped silently
/// is a hole.
public struct SeccompProfile: Equatable, Sendable {
    public enum Action: String, Sendable, CaseIterable {
        case kill = "SCMP_ACT_KILL"
        case killProcess = "SCMP_ACT_KILL_PROCESS"
        case killThread = "SCMP_ACT_KILL_THREAD"
        case trap = "SCMP_ACT_TRAP"
        case error = "SCMP_ACT_ERRNO"
        case trace = "SCMP_ACT_TRACE"
        case allow = "SCMP_ACT_ALLOW"
        case log = "SCMP_ACT_LOG"
        case notify = "SCMP_ACT_NOTIFY"
    }

    public enum Operator: String, Sendable {
        case notEqual = "SCMP_CMP_NE"
        case less = "SCMP_CMP_LT"
        case lessOrEqual = "SCMP_CMP_LE"
        case equal = "SCMP_CMP_EQ"
        case greaterOrEqual = "SCMP_CMP_GE"
        case greater = "SCMP_CMP_GT"
        case maskedEqual = "SCMP_CMP_MASKED_EQ"
    }

    public struct Argument: Equatable, Sendable {
        public let index: UInt32
        public let value: UInt64
        public let valueTwo: UInt64
        public let comparison: Operator
    }

    /// When a rule counts. An empty filter always matches.
    public struct Filter: Equatable, Sendable {
        public let capabilities: [String]
        public let architectures: [String]
        /// As in "4.8": this kernel or newer.
        public let minimumKernel: String?
    }

    public struct Rule: Equatable, Sendable {
        public let names: [String]
        public let action: Action
        public let errnoRet: UInt32?
        public let arguments: [Argument]
        public let includes: Filter
        public let excludes: Filter
        public let place: String
    }

    public struct Architecture: Equatable, Sendable {
        /// As in "SCMP_ARCH_X86_64".
        public let name: String
        public let subArchitectures: [String]
    }

    public let defaultAction: Action
    public let defaultErrnoRet: UInt32?
    /// From `archMap`; those of `architectures` stand alone.
    public let architectures: [Architecture]
    /// Whether `archMap` was used: then only the entry of the native architecture counts.
    public let mapsArchitectures: Bool
    /// SECCOMP_FILTER_FLAG_* by name.
    public let flags: [String]
    public let rules: [Rule]

    public init(_ json: JSON) throws(DocumentError) {
        let top = try JSONObject(json, at: "")
        try top.allow(only: [
            "defaultAction", "defaultErrnoRet", "architectures", "archMap", "syscalls", "flags", "listenerPath",
            "listenerMetadata",
        ])
        for name in ["listenerPath", "listenerMetadata"] where top.value(name) != nil {
            throw DocumentError(name, "is not supported by run: a profile that asks an agent needs one")
        }
        defaultAction = try SeccompProfile.action(top, "defaultAction")
        defaultErrnoRet = try SeccompProfile.errno(top, "defaultErrnoRet")
        flags = try top.strings("flags")
        for flag in flags
        where !["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"].contains(flag)
        {
            throw DocumentError("flags", "\(flag) is not known")
        }
        let plain = try top.strings("architectures")
        let mapped = try top.objects("archMap")
        if !plain.isEmpty && !mapped.isEmpty { throw DocumentError("archMap", "cannot stand beside architectures") }
        mapsArchitectures = !mapped.isEmpty
        var architectures = plain.map { Architecture(name: $0, subArchitectures: []) }
        for entry in mapped {
            try entry.allow(only: ["architecture", "subArchitectures"])
            architectures.append(
                Architecture(
                    name: try entry.required("architecture"), subArchitectures: try entry.strings("subArchitectures")))
        }
        self.architectures = architectures
        var rules: [Rule] = []
        for entry in try top.objects("syscalls") { rules.append(try SeccompProfile.rule(entry)) }
        self.rules = rules
    }

    private static func action(_ object: JSONObject, _ name: String) throws(DocumentError) -> Action {
        let text = try object.required(name)
        guard let action = Action(rawValue: text) else {
            throw DocumentError(join(object.place, name), "\(text) is not an action")
        }
        if action == .notify {
            throw DocumentError(join(object.place, name), "SCMP_ACT_NOTIFY needs an agent, and run has none")
        }
        return action
    }

    private static func join(_ place: String, _ name: String) -> String { place.isEmpty ? name : "\(place).\(name)" }

    private static func errno(_ object: JSONObject, _ name: String) throws(DocumentError) -> UInt32? {
        guard let value = try object.unsigned(name) else { return nil }
        // seccomp(2): the low 16 bits; errno values end at 4095.
        guard value <= 4095 else { throw DocumentError(join(object.place, name), "must be at most 4095") }
        return UInt32(value)
    }

    private static func rule(_ entry: JSONObject) throws(DocumentError) -> Rule {
        try entry.allow(only: ["name", "names", "action", "errnoRet", "args", "comment", "includes", "excludes"])
        var names = try entry.strings("names")
        if let name = try entry.string("name") {
            guard names.isEmpty else { throw DocumentError(entry.place, "has both name and names") }
            names = [name]
        }
        guard !names.isEmpty else { throw DocumentError(entry.place, "names no system call") }
        _ = try entry.string("comment")
        var arguments: [Argument] = []
        for argument in try entry.objects("args") {
            try argument.allow(only: ["index", "value", "valueTwo", "op"])
            let text = try argument.required("op")
            guard let comparison = Operator(rawValue: text) else {
                throw DocumentError("\(argument.place).op", "\(text) is not an operator")
            }
            let index = try argument.unsigned("index") ?? 0
            guard index < 6 else { throw DocumentError("\(argument.place).index", "a system call has 6 arguments") }
            arguments.append(
                Argument(
                    index: UInt32(index), value: try argument.unsigned("value") ?? 0,
                    valueTwo: try argument.unsigned("valueTwo") ?? 0, comparison: comparison))
        }
        return Rule(
            names: names, action: try action(entry, "action"), errnoRet: try errno(entry, "errnoRet"),
            arguments: arguments,
            includes: try filter(entry.object("includes")), excludes: try filter(entry.object("excludes")),
            place: entry.place)
    }

    private static func filter(_ object: JSONObject?) throws(DocumentError) -> Filter {
        guard let object else { return Filter(capabilities: [], architectures: [], minimumKernel: nil) }
        try object.allow(only: ["caps", "arches", "minKernel"])
        return Filter(
            capabilities: try object.strings("caps"), architectures: try object.strings("arches"),
            minimumKernel: try object.string("minKernel"))
    }
}
