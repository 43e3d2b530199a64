/// A bundle's `config.json` (runtime-spec 1.3, config.md), as far as it is understood here.
///
/// What is not known is an error, and so is what is known and cannot be done yet: nothing that a part of this file says of
/// a container is left out silently. Only `annotations` may hold anything, and beside the parts that the specification
/// has there may be others of somebody's own, which it wants passed over (config.md, "Extensibility").
public struct RuntimeSpec: Equatable, Sendable {
    /// config.md, "Specification version".
    public let version: String
    public var process: SpecProcess
    /// config.md, "Root".
    public let rootPath: String
    public let rootReadOnly: Bool
    public let hostname: String?
    public let domainName: String?
    public let mounts: [SpecMount]
    public let hooks: SpecHooks
    public let annotations: [JSON.Member]
    public let linux: SpecLinux

    public init(_ json: JSON) throws(DocumentError) {
        let top = try JSONObject(json, at: "")
        try top.refuse(["solaris", "windows", "vm", "zos", "freebsd"])
        try top.refuse(alike: [
            "ociVersion", "process", "root", "hostname", "mounts", "annotations", "linux", "hooks", "domainname",
        ])
        version = try top.required("ociVersion")
        guard version.hasPrefix("1.") else { throw DocumentError("ociVersion", "\(version) is not a version 1") }
        guard let process = try top.object("process") else { throw DocumentError("process", "is missing") }
        self.process = try SpecProcess(process)
        guard let root = try top.object("root") else { throw DocumentError("root", "is missing") }
        try root.allow(only: ["path", "readonly"])
        rootPath = try root.filePath("path")
        rootReadOnly = try root.bool("readonly") ?? false
        hostname = try top.text("hostname")
        domainName = try top.text("domainname").flatMap { $0.isEmpty ? nil : $0 }
        var mounts: [SpecMount] = []
        for mount in try top.objects("mounts") { mounts.append(try SpecMount(mount)) }
        self.mounts = mounts
        hooks = if let given = try top.object("hooks") { try SpecHooks(given) } else { SpecHooks() }
        var annotations: [JSON.Member] = []
        if let given = try top.object("annotations") {
            for pair in try given.pairs() { annotations.append(JSON.Member(pair.name, .string(pair.value))) }
        }
        self.annotations = annotations
        linux = try SpecLinux(try top.part("linux"))
    }
}

/// config.md, "Process".
public struct SpecProcess: Equatable, Sendable {
    public struct Limit: Equatable, Sendable {
        /// As in "RLIMIT_NOFILE".
        public let type: String
        public let soft: UInt64
        public let hard: UInt64
    }

    public var terminal: Bool
    /// Rows and columns; nil: as the kernel makes it.
    public let consoleSize: (rows: UInt16, columns: UInt16)?
    public var uid: UInt32
    public var gid: UInt32
    public let umask: UInt32?
    public var groups: [UInt32]
    public var arguments: [String]
    public var environment: [String]
    public var folder: String
    /// By the names of the five sets, "bounding" and so on; nil: none were given.
    public var capabilities: [String: [String]]
    public let limits: [Limit]
    public var noNewPrivileges: Bool
    public let oomScoreAdjustment: Int64?
    public let scheduler: SpecScheduler?
    public let ioPriority: SpecIOPriority?
    public let affinity: SpecAffinity?
    /// The program's AppArmor profile; nil: none is asked for.
    public let appArmor: String?
    /// The program's SELinux label.
    public let seLinux: String?

    /// Whether, and to what, the environment sets HOME.
    public var home: String? { environment.last { $0.hasPrefix("HOME=") } }

    /// - Parameter object: `process` of a configuration, or what `exec --process` names, which has the same form.
    public init(_ object: JSONObject) throws(DocumentError) {
        try object.refuse(["commandLine"])
        // "unconfined" asks for no profile, as Docker spells it; the program has codex32's own then, if that has one.
        appArmor = try object.text("apparmorProfile").flatMap { $0.isEmpty || $0 == "unconfined" ? nil : $0 }
        seLinux = try object.text("selinuxLabel").flatMap { $0.isEmpty ? nil : $0 }
        try object.allow(only: [
            "terminal", "consoleSize", "user", "args", "env", "cwd", "capabilities", "rlimits", "noNewPrivileges",
            "oomScoreAdj", "apparmorProfile", "selinuxLabel", "scheduler", "ioPriority", "execCPUAffinity",
            "commandLine",
        ])
        terminal = try object.bool("terminal") ?? false
        if let size = try object.object("consoleSize") {
            try size.allow(only: ["height", "width"])
            guard let rows = UInt16(exactly: try size.unsigned("height") ?? 0),
                let columns = UInt16(exactly: try size.unsigned("width") ?? 0)
            else { throw DocumentError("process.consoleSize", "is too large") }
            consoleSize = rows > 0 && columns > 0 ? (rows, columns) : nil
        } else {
            consoleSize = nil
        }
        let user = try object.part("user")
        try user.allow(only: ["uid", "gid", "umask", "additionalGids"])
        uid = try user.identity("uid") ?? 0
        gid = try user.identity("gid") ?? 0
        umask = try user.unsigned("umask").map { UInt32(truncatingIfNeeded: $0 & 0o7777) }
        var groups: [UInt32] = []
        for number in try user.numbers("additionalGids") {
            guard number < UInt64(UInt32.max), groups.count < 65536 else {
                throw DocumentError("process.user.additionalGids", "has a number that is no id, or too many")
            }
            groups.append(UInt32(number))
        }
        self.groups = groups
        arguments = try object.texts("args")
        guard arguments.first.map({ !$0.isEmpty }) ?? false else {
            throw DocumentError("process.args", "names no program")
        }
        environment = try object.texts("env")
        folder = try object.filePath("cwd")
        guard folder.hasPrefix("/") else { throw DocumentError("process.cwd", "must be an absolute path") }
        var capabilities: [String: [String]] = [:]
        if let given = try object.object("capabilities") {
            let names = ["bounding", "effective", "inheritable", "permitted", "ambient"]
            try given.allow(only: Set(names))
            for name in names { capabilities[name] = try given.strings(name) }
        }
        self.capabilities = capabilities
        var limits: [Limit] = []
        for entry in try object.objects("rlimits") {
            try entry.allow(only: ["type", "soft", "hard"])
            guard let soft = try entry.unsigned("soft"), let hard = try entry.unsigned("hard") else {
                throw DocumentError(entry.place, "needs soft and hard")
            }
            let type = try entry.required("type")
            guard !limits.contains(where: { $0.type == type }) else {
                throw DocumentError(entry.place, "\(type) stands twice")
            }
            limits.append(Limit(type: type, soft: soft, hard: hard))
        }
        self.limits = limits
        scheduler = if let given = try object.object("scheduler") { try SpecScheduler(given) } else { nil }
        ioPriority = if let given = try object.object("ioPriority") { try SpecIOPriority(given) } else { nil }
        affinity = if let given = try object.object("execCPUAffinity") { try SpecAffinity(given) } else { nil }
        noNewPrivileges = try object.bool("noNewPrivileges") ?? false
        oomScoreAdjustment = try object.integer("oomScoreAdj")
        if let value = oomScoreAdjustment, !(-1000...1000).contains(value) {
            throw DocumentError("process.oomScoreAdj", "must be from -1000 to 1000")
        }
    }

    public static func == (a: SpecProcess, b: SpecProcess) -> Bool {
        a.arguments == b.arguments && a.environment == b.environment && a.uid == b.uid && a.gid == b.gid
            && a.folder == b.folder && a.capabilities == b.capabilities && a.limits == b.limits
            && a.terminal == b.terminal && a.noNewPrivileges == b.noNewPrivileges
    }
}

/// config.md, "Mounts".
public struct SpecMount: Equatable, Sendable {
    public let destination: String
    public let type: String
    public let source: String
    public let options: [String]
    /// Of its own, for the owners of its files; empty: none were given.
    public let uidMappings: [SpecLinux.Mapping]
    public let gidMappings: [SpecLinux.Mapping]
    public let place: String

    init(_ object: JSONObject) throws(DocumentError) {
        try object.allow(only: ["destination", "type", "source", "options", "uidMappings", "gidMappings"])
        place = object.place
        destination = try object.filePath("destination")
        guard destination.hasPrefix("/"), !destination.split(separator: "/").contains("..") else {
            throw DocumentError("\(place).destination", "must be an absolute path without ..")
        }
        type = try object.text("type") ?? ""
        source = try object.text("source") ?? ""
        options = try object.texts("options")
        uidMappings = try SpecLinux.mappings(object, "uidMappings")
        gidMappings = try SpecLinux.mappings(object, "gidMappings")
        guard uidMappings.isEmpty == gidMappings.isEmpty else {
            throw DocumentError(place, "needs both uidMappings and gidMappings, or neither")
        }
    }
}

extension JSONObject {
    /// Members that the specification has and codex32 does not, yet: null and empty ones ask for nothing.
    func refuse(_ names: [String]) throws(DocumentError) {
        for name in names {
            switch value(name) {
            case nil, .object([]), .array([]), .string(""): break
            default: throw DocumentError(place.isEmpty ? name : "\(place).\(name)", "is not supported yet")
            }
        }
    }

    /// An object that may be missing: then it is empty.
    func part(_ name: String) throws(DocumentError) -> JSONObject {
        if let object = try object(name) { return object }
        return try JSONObject(.object([]), at: place.isEmpty ? name : "\(place).\(name)")
    }

    /// A string that the kernel will see: without NUL.
    func text(_ name: String) throws(DocumentError) -> String? {
        guard let text = try string(name) else { return nil }
        try JSONObject.check(text, at: place.isEmpty ? name : "\(place).\(name)")
        return text
    }

    func texts(_ name: String) throws(DocumentError) -> [String] {
        let list = try strings(name)
        for text in list { try JSONObject.check(text, at: place.isEmpty ? name : "\(place).\(name)") }
        return list
    }

    /// A path of at most 4095 bytes (PATH_MAX), which is there and not empty.
    func filePath(_ name: String) throws(DocumentError) -> String {
        guard let path = try text(name), !path.isEmpty, path.utf8.count < 4096 else {
            throw DocumentError(place.isEmpty ? name : "\(place).\(name)", "must be a path of 1 to 4095 bytes")
        }
        return path
    }

    private static func check(_ text: String, at place: String) throws(DocumentError) {
        if text.utf8.contains(0) { throw DocumentError(place, "holds a NUL") }
    }
}
