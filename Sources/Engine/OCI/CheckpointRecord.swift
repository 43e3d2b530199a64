internal import LinuxKernel
internal import OCISpec

/// What codex32 keeps beside CRIU's images: what held for the container's first process, to compare a restored one with.
///
/// CRIU 3.17 forgets no_new_privs, and whatever another version forgets is to be noticed too: what comes back less closed
/// than it went is ended before it runs.
struct CheckpointRecord: Equatable {
    static let file = "codex32.json"
    /// What `/proc/PID/status` says of rights, and must say again (proc_pid_status(5)).
    private static let lines: Set<String> = [
        "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp",
        "Seccomp_filters",
    ]

    /// By the name of the line.
    let rights: [String: String]
    let mounts: [String]
    /// The kinds that are not codex32's own.
    let namespaces: [String]
    /// Its label by a security module; empty: it has none.
    let label: String
    /// What its streams are outside of it (``BundleStreams/names``).
    var streams: [String?] = []

    /// What holds for a process now.
    init(of pid: Int32) throws(Problem) {
        let read = { (name: String) throws(Problem) -> String in
            try explaining("cannot read /proc/\(pid)/\(name)") { () throws(KernelError) in
                try Descriptor.contents(of: "/proc/\(pid)/\(name)", limit: 8 << 20)
            }
        }
        rights = CheckpointRecord.rights(try read("status"))
        mounts = try read("mountinfo").split(separator: "\n").compactMap { CheckpointRecord.mount($0) }.sorted()
        namespaces = Namespace.allCases.filter { kind in
            Namespace.of(pid, kind).map { $0 != Namespace.current(kind) } ?? false
        }.map(\.file)
        label = (try? Descriptor.contents(of: "/proc/\(pid)/attr/current")) ?? ""
    }

    static func rights(_ status: String) -> [String: String] {
        var rights: [String: String] = [:]
        for line in status.split(separator: "\n") {
            let parts = line.split(separator: ":", maxSplits: 1)
            if parts.count == 2, lines.contains(String(parts[0])) {
                rights[String(parts[0])] = parts[1].split(whereSeparator: { $0 == "\t" || $0 == " " })
                    .joined(separator: " ")
            }
        }
        return rights
    }

    /// What a mount shows, where, and with which options; not its numbers, which are the kernel's to choose, nor where
    /// the host has the root (proc_pid_mountinfo(5)).
    static func mount(_ line: Substring) -> String? {
        let words = line.split(separator: " ")
        guard let end = words.firstIndex(of: "-"), end >= 6, words.count > end + 1 else { return nil }
        let peers = words[6..<end].map { $0.prefix { $0 != ":" } }.joined(separator: ",")
        return "\(words[4]) \(words[5]) \(words[end + 1]) \(words[4] == "/" ? "/" : words[3]) \(peers)"
    }

    var json: JSON {
        .members([
            "schema": .integer(1), "mounts": .list(mounts), "namespaces": .list(namespaces), "label": .string(label),
            "rights": .object(rights.sorted { $0.key < $1.key }.map { JSON.Member($0.key, .string($0.value)) }),
            "streams": .list(streams.map { $0 ?? "" }),
        ])
    }

    init(_ text: String) throws(DocumentError) {
        let top = try JSONObject(try JSONReader.read(Array(text.utf8)), at: "")
        try top.allow(only: ["schema", "mounts", "namespaces", "label", "rights", "streams"])
        guard try top.integer("schema") == 1 else { throw DocumentError("schema", "is not known") }
        mounts = try top.strings("mounts")
        namespaces = try top.strings("namespaces")
        label = try top.required("label")
        var rights: [String: String] = [:]
        for pair in try top.object("rights")?.pairs() ?? [] { rights[pair.name] = pair.value }
        self.rights = rights
        streams = try BundleStreams(try top.strings("streams")).names
        guard Set(rights.keys) == CheckpointRecord.lines else { throw DocumentError("rights", "are not all there") }
    }

    /// What of this is not so for another; nil: all is.
    func difference(to now: CheckpointRecord) -> String? {
        for (name, value) in rights.sorted(by: { $0.key < $1.key }) where now.rights[name] != value {
            return "\(name) was \(value), and is \(now.rights[name] ?? "missing")"
        }
        if let kind = namespaces.first(where: { !now.namespaces.contains($0) }) {
            return "it has no \(kind) namespace of its own"
        }
        if label != now.label { return "its label was \(label), and is \(now.label)" }
        if mounts != now.mounts {
            let other = Set(mounts).symmetricDifference(now.mounts).sorted().first ?? "one stands twice"
            return "its mounts are others: \(other)"
        }
        return nil
    }

    /// What the bundle that it is restored for asks for, and it had not; nil: nothing. It may have been another one then.
    func lacks(_ process: SpecProcess, bounding: CapabilitySet, hasFilter: Bool) -> String? {
        if process.noNewPrivileges, rights["NoNewPrivs"] != "1" { return "process.noNewPrivileges" }
        if hasFilter, rights["Seccomp"] != "2" { return "linux.seccomp" }
        guard let had = rights["CapBnd"].flatMap({ UInt64($0, radix: 16) }), had & ~bounding.rawValue == 0 else {
            return "process.capabilities.bounding"
        }
        return nil
    }

    /// Whether a process beside the first one is at least as closed, as far as both have it for ever.
    func closes(_ status: String) -> Bool {
        let its = CheckpointRecord.rights(status)
        let number = { (text: String?, radix: Int) in text.flatMap { UInt64($0, radix: radix) } }
        guard let mine = number(rights["CapBnd"], 16), let theirs = number(its["CapBnd"], 16), theirs & ~mine == 0,
            let filters = number(rights["Seccomp_filters"], 10), let others = number(its["Seccomp_filters"], 10)
        else { return false }
        return others >= filters && (rights["NoNewPrivs"] != "1" || its["NoNewPrivs"] == "1")
    }
}
