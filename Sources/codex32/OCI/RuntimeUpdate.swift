internal import LinuxKernel
internal import OCISpec

/// The limits that `oci update` is given: by options, or as an object like `linux.resources`. Either way they are
/// understood in one place, where a configuration's are.
struct RuntimeUpdate: Sendable {
    /// A file's name, or "-" for standard input.
    var file: String?
    /// For its resctrl group.
    private(set) var schemata: [String] = []
    private var parts: [(part: String, name: String, value: JSON)] = []

    mutating func set(_ part: String, _ name: String, _ value: JSON) {
        parts.removeAll { $0.part == part && $0.name == name }
        parts.append((part, name, value))
    }

    /// - Returns: nil: there is nothing but ``schemata``.
    /// - Throws: where nothing was given, or both ways were used.
    func resources() throws(Problem) -> JSON? {
        guard let file else {
            guard !parts.isEmpty else {
                if !schemata.isEmpty { return nil }
                throw Problem("cannot update", "no limit is given", hint: "codex32 oci update --help lists them")
            }
            var members: [JSON.Member] = []
            for part in ["memory", "cpu", "pids", "blockIO"] {
                let values = parts.filter { $0.part == part }.map { JSON.Member($0.name, $0.value) }
                if !values.isEmpty { members.append(JSON.Member(part, .object(values))) }
            }
            return .object(members)
        }
        guard parts.isEmpty else {
            throw Problem(
                "cannot update", "--resources and other options were given", hint: "put all limits into the file")
        }
        let what = "cannot use --resources \(file)"
        let bytes = try explaining(what) { () throws(KernelError) in
            // By its number: another user's pipe cannot be opened by its name.
            let input =
                file == "-" ? Descriptor(owning: StandardStream.input.rawValue) : try Descriptor.open(file, [.read])
            return try input.readAll(limit: 1 << 20)
        }
        do throws(DocumentError) { return try JSONReader.read(bytes) } catch { throw Problem(what, error.description) }
    }

    static let options: [Option<RuntimeVerb.Draft>] = [
        .option("-r", "--resources", value: "FILE", help: "an object as linux.resources; -: standard input") {
            $0.update.file = $1
        },
        size("--memory", "limit", "bytes of memory, also as 512m; -1: no limit"),
        size("--memory-reservation", "reservation", "bytes that are kept for it"),
        size("--memory-swap", "swap", "bytes of memory and swap together; -1: no limit"),
        number("--cpu-share", "cpu", "shares", "its part of the CPUs, where 1024 is usual"),
        number("--cpu-quota", "cpu", "quota", "microseconds of CPU time in each period; -1: no limit"),
        number("--cpu-period", "cpu", "period", "microseconds"),
        number("--cpu-burst", "cpu", "burst", "microseconds that may be saved up"),
        number("--cpu-idle", "cpu", "idle", "1: only what nobody else wants"),
        number("--cpu-rt-period", "cpu", "realtimePeriod", "cgroup v2 has none: 0 only"),
        number("--cpu-rt-runtime", "cpu", "realtimeRuntime", "cgroup v2 has none: 0 only"),
        .option("--cpuset-cpus", value: "CPUS", help: "as in 0-3,7") { $0.update.set("cpu", "cpus", .string($1)) },
        .option("--cpuset-mems", value: "NODES", help: "as in 0-1") { $0.update.set("cpu", "mems", .string($1)) },
        number("--pids-limit", "pids", "limit", "processes; -1: no limit"),
        number("--blkio-weight", "blockIO", "weight", "10 to 1000"),
        schema("--l3-cache-schema", "L3", "LINE", "its share of the caches, as in L3:0=f;1=3"),
        schema("--mem-bw-schema", "MB", "LINE", "its share of the way to the memory, as in MB:0=20;1=70"),
        size("--kernel-memory", "kernel", "cgroup v2 has none of its own: -1 only"),
        size("--kernel-memory-tcp", "kernelTCP", "cgroup v2 has none of its own: -1 only"),
    ]

    private static func schema(
        _ name: String, _ resource: String, _ value: String, _ help: String
    ) -> Option<RuntimeVerb.Draft> {
        .option(name, value: value, help: help) { draft, text throws(Problem) in
            guard text.hasPrefix("\(resource):"), !text.utf8.contains(0x0a) else {
                throw Value.wrong(name, text, "a line that begins with \(resource):")
            }
            draft.update.schemata.append(text)
        }
    }

    private static func number(
        _ name: String, _ part: String, _ member: String, _ help: String
    ) -> Option<RuntimeVerb.Draft> {
        .option(name, value: "NUMBER", help: help) { draft, text throws(Problem) in
            guard let number = Int64(text) else { throw Value.wrong(name, text, "a whole number") }
            draft.update.set(part, member, .integer(number))
        }
    }

    private static func size(_ name: String, _ member: String, _ help: String) -> Option<RuntimeVerb.Draft> {
        .option(name, value: "BYTES", help: help) { draft, text throws(Problem) in
            let bytes = text == "-1" ? -1 : Int64(try Value.size(text, option: name))
            draft.update.set("memory", member, .integer(bytes))
        }
    }
}
