/// config-linux.md, as far as it is understood here.
public struct SpecLinux: Equatable, Sendable {
    /// config-linux.md, "Namespaces": the types by the names of the specification.
    public struct Space: Equatable, Sendable {
        public let type: String
        /// One that is there already; nil: a new one.
        public let path: String?
    }

    /// config-linux.md, "User namespace mappings".
    public struct Mapping: Equatable, Sendable {
        public let inside: UInt32
        public let outside: UInt32
        public let count: UInt32
    }

    public let namespaces: [Space]
    public let uidMappings: [Mapping]
    public let gidMappings: [Mapping]
    public let cgroupsPath: String?
    /// What needs a cgroup, and must be enforced or refused.
    public let resources: SpecResources
    public let seccomp: SeccompProfile?
    /// The same as text, for the cache of compiled filters.
    public let seccompText: [UInt8]
    public let sysctl: [(name: String, value: String)]
    public let maskedPaths: [String]
    public let readOnlyPaths: [String]
    /// "rshared" and so on; nil: private.
    public let rootPropagation: String?
    public let devices: [SpecDevice]
    public let personality: SpecPersonality?
    public let memoryPolicy: SpecMemoryPolicy?
    public let networkDevices: [SpecNetworkDevice]
    /// `intelRdt`.
    public let resctrl: SpecResctrl?
    /// SELinux's, for the container's own file systems.
    public let mountLabel: String?
    /// config-linux.md, "Offset for Time Namespace": as `/proc/PID/timens_offsets` takes them; empty: none.
    public let timeOffsets: String

    init(_ object: JSONObject) throws(DocumentError) {
        try object.allow(only: [
            "namespaces", "uidMappings", "gidMappings", "devices", "cgroupsPath", "resources", "seccomp", "sysctl",
            "maskedPaths", "readonlyPaths", "rootfsPropagation", "netDevices", "timeOffsets", "mountLabel",
            "personality", "memoryPolicy", "intelRdt",
        ])
        var namespaces: [Space] = []
        for entry in try object.objects("namespaces") {
            try entry.allow(only: ["type", "path"])
            let type = try entry.required("type")
            guard ["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"].contains(type) else {
                throw DocumentError("\(entry.place).type", "\(type) is not a namespace")
            }
            guard !namespaces.contains(where: { $0.type == type }) else {
                throw DocumentError(entry.place, "\(type) stands twice")
            }
            let path = try entry.text("path").flatMap { $0.isEmpty ? nil : $0 }
            namespaces.append(Space(type: type, path: path))
        }
        self.namespaces = namespaces
        uidMappings = try SpecLinux.mappings(object, "uidMappings")
        gidMappings = try SpecLinux.mappings(object, "gidMappings")
        cgroupsPath = try object.text("cgroupsPath").flatMap { $0.isEmpty ? nil : $0 }
        resources = try SpecResources(try object.part("resources"))
        if let seccomp = object.value("seccomp") {
            do throws(DocumentError) { self.seccomp = try SeccompProfile(seccomp) } catch {
                throw DocumentError("linux.seccomp.\(error.place)", error.why)
            }
            seccompText = Array(seccomp.text().utf8)
        } else {
            seccomp = nil
            seccompText = []
        }
        sysctl = try object.part("sysctl").pairs()
        for (name, value) in sysctl where name.utf8.contains(0) || value.utf8.contains(0) || name.hasPrefix(".") {
            throw DocumentError("linux.sysctl", "a name or value that no sysctl has")
        }
        maskedPaths = try object.texts("maskedPaths")
        readOnlyPaths = try object.texts("readonlyPaths")
        let propagation = try object.string("rootfsPropagation") ?? ""
        let kinds = ["shared", "slave", "private", "unbindable"]
        guard propagation.isEmpty || kinds.contains(propagation) || kinds.contains(where: { "r" + $0 == propagation })
        else { throw DocumentError("linux.rootfsPropagation", "must be shared, slave, private or unbindable") }
        rootPropagation = propagation.isEmpty ? nil : propagation
        var devices: [SpecDevice] = []
        for entry in try object.objects("devices") { devices.append(try SpecDevice(entry)) }
        self.devices = devices
        personality = if let given = try object.object("personality") { try SpecPersonality(given) } else { nil }
        mountLabel = try object.text("mountLabel").flatMap { $0.isEmpty ? nil : $0 }
        timeOffsets = try SpecLinux.offsets(try object.part("timeOffsets"))
        resctrl = if let given = try object.object("intelRdt") { try SpecResctrl(given) } else { nil }
        networkDevices = try SpecNetworkDevice.list(try object.part("netDevices"))
        memoryPolicy = if let given = try object.object("memoryPolicy") { try SpecMemoryPolicy(given) } else { nil }
    }

    private static func offsets(_ object: JSONObject) throws(DocumentError) -> String {
        try object.allow(only: ["monotonic", "boottime"])
        var lines = ""
        for clock in ["monotonic", "boottime"] {
            guard let given = try object.object(clock) else { continue }
            try given.allow(only: ["secs", "nanosecs"])
            let nanoseconds = try given.unsigned("nanosecs") ?? 0
            guard nanoseconds < 1_000_000_000 else {
                throw DocumentError("linux.timeOffsets.\(clock).nanosecs", "is a second or more")
            }
            lines += "\(clock) \(try given.integer("secs") ?? 0) \(nanoseconds)\n"
        }
        return lines
    }

    static func mappings(_ object: JSONObject, _ name: String) throws(DocumentError) -> [Mapping] {
        var list: [Mapping] = []
        for entry in try object.objects(name) {
            try entry.allow(only: ["containerID", "hostID", "size"])
            guard let inside = try entry.identity("containerID"), let outside = try entry.identity("hostID"),
                let count = try entry.identity("size"), count > 0,
                UInt64(inside) + UInt64(count) <= UInt64(UInt32.max),
                UInt64(outside) + UInt64(count) <= UInt64(UInt32.max), list.count < 340
            else { throw DocumentError(entry.place, "is no range of ids") }
            list.append(Mapping(inside: inside, outside: outside, count: count))
        }
        return list
    }

    public static func == (a: SpecLinux, b: SpecLinux) -> Bool {
        a.namespaces == b.namespaces && a.seccompText == b.seccompText && a.maskedPaths == b.maskedPaths
            && a.uidMappings == b.uidMappings
    }
}
