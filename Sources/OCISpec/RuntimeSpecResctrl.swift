/// config-linux.md, "IntelRdt": a share of the processor's caches and of the way to the memory.
public struct SpecResctrl: Equatable, Sendable {
    /// `closID`: the group's name, "/" for the one that all others are in; nil: the container's id.
    public let group: String?
    /// The lines of its `schemata`, in the order in which they are written.
    public let schemata: [String]
    /// `enableMonitoring`: the container is counted apart. The older `enableCMT` and `enableMBM` ask for a part of that.
    public let monitors: Bool

    init(_ object: JSONObject) throws(DocumentError) {
        try object.allow(only: [
            "closID", "l3CacheSchema", "memBwSchema", "schemata", "enableMonitoring", "enableCMT", "enableMBM",
        ])
        group = try object.string("closID")
        if let group, group != "/" {
            let isTaken = ["", ".", "..", "info", "mon_groups", "mon_data"].contains(group)
            guard !isTaken, group.utf8.count <= 255, !group.utf8.contains(where: { $0 == 0x2f || $0 < 0x20 }) else {
                throw DocumentError("\(object.place).closID", "is not a name of a group")
            }
        }
        let bandwidth = try object.string("memBwSchema") ?? ""
        guard bandwidth.isEmpty || bandwidth.hasPrefix("MB:") && !bandwidth.utf8.contains(0x0a) else {
            throw DocumentError("\(object.place).memBwSchema", "must be one line that begins with MB:")
        }
        var lines = SpecResctrl.lines(try object.string("l3CacheSchema") ?? "")
        if !bandwidth.isEmpty {
            lines.removeAll { $0.hasPrefix("MB:") }
            lines.append(bandwidth)
        }
        // Version 1.3 has a list; a text of several lines is an older draft's.
        if case .string(let text)? = object.value("schemata") {
            lines += SpecResctrl.lines(text)
        } else {
            for line in try object.strings("schemata") {
                guard !line.utf8.contains(0x0a) else {
                    throw DocumentError("\(object.place).schemata", "must have one line in each of its texts")
                }
                lines.append(line)
            }
        }
        guard lines.reduce(0, { $0 + $1.utf8.count + 1 }) < 65536 else {
            throw DocumentError(object.place, "has more lines than a kernel takes")
        }
        schemata = lines
        let names = ["enableMonitoring", "enableCMT", "enableMBM"]
        var monitors = false
        for name in names where try object.bool(name) ?? false { monitors = true }
        self.monitors = monitors
    }

    private static func lines(_ text: String) -> [String] {
        text.split(separator: "\n").map(String.init)
    }
}
