public import LinuxKernel
public import OCISpec

/// What `events --stats` prints, in the words of runc's own type, which containerd and Docker read: times in
/// nanoseconds, sizes in bytes.
extension BundleRuntime {
    public func stats(_ id: String) throws(Problem) -> JSON {
        let what = "cannot read the figures of \(id)"
        let (state, status) = try BundleRuntime.load(id, try open(id))
        guard status != .stopped, status != .creating else { throw Problem(what, "container not running") }
        guard let path = state.cgroup else {
            throw Problem(
                what, "the container has no cgroup of its own",
                hint: "create it with cgroup v2 there, and not with --cgroup-manager disabled")
        }
        let group = try explaining(what) { () throws(KernelError) in try Cgroup(existing: path) }
        return .members([
            "type": .string("stats"), "id": .string(id),
            "data": .members([
                "cpu": BundleStats.cpu(group), "cpuset": BundleStats.sets(group), "memory": BundleStats.memory(group),
                "pids": BundleStats.present(
                    ["current": group.number("pids.current"), "limit": group.number("pids.max")]),
                "blkio": BundleStats.blockIO(group), "hugetlb": BundleStats.hugepages(group),
                "intel_rdt": .object([]), "network_interfaces": .null,
            ]),
        ])
    }
}

private enum BundleStats {
    /// Members that are there; a figure that the kernel did not give is left out, and no limit is none.
    static func present(_ pairs: KeyValuePairs<String, UInt64?>) -> JSON {
        .object(pairs.compactMap { name, value in value.map { JSON.Member(name, .number($0)) } })
    }

    static func cpu(_ group: borrowing Cgroup) -> JSON {
        let figures = lines(try? group.read("cpu.stat"))
        let nanoseconds = { (key: String) in figures[key].map { $0 &* 1000 } }
        return .members([
            "usage": present([
                "total": nanoseconds("usage_usec"), "kernel": nanoseconds("system_usec"),
                "user": nanoseconds("user_usec"),
            ]),
            "throttling": present([
                "periods": figures["nr_periods"], "throttledPeriods": figures["nr_throttled"],
                "throttledTime": nanoseconds("throttled_usec"),
            ]),
        ])
    }

    static func sets(_ group: borrowing Cgroup) -> JSON {
        .object(
            [("cpus", "cpuset.cpus.effective"), ("mems", "cpuset.mems.effective")].compactMap { name, file in
                guard let text = try? group.read(file) else { return nil }
                // A list of numbers, as runc has it; a machine has not more than so many.
                let numbers = text.split(separator: ",").flatMap { part -> [JSON] in
                    let ends = part.split(separator: "-").compactMap { Int64($0) }
                    guard let first = ends.first, let last = ends.last, first <= last, last < 65536 else { return [] }
                    return (first...last).map { .integer($0) }
                }
                return JSON.Member(name, .array(numbers))
            })
    }

    static func memory(_ group: borrowing Cgroup) -> JSON {
        let raw = lines(try? group.read("memory.stat"))
        let (used, swapped) = (group.number("memory.current"), group.number("memory.swap.current"))
        let limit = group.number("memory.max")
        // Memory and swap together, as v1 counted them.
        let (both, most) = (
            swapped.flatMap { swap in used.map { $0 &+ swap } },
            group.number("memory.swap.max").flatMap { swap in limit.map { $0 &+ swap } }
        )
        let failures = group.number("memory.events", key: "max")
        return .members([
            "cache": .number(raw["file"] ?? 0),
            "usage": present([
                "limit": limit ?? UInt64.max, "usage": used, "max": group.number("memory.peak"),
                "failcnt": failures ?? 0,
            ]),
            "swap": present(["limit": most ?? UInt64.max, "usage": both, "failcnt": 0]),
            "kernel": present(["usage": raw["kernel"] ?? raw["kernel_stack"], "failcnt": 0]),
            "kernelTCP": present(["usage": raw["sock"], "failcnt": 0]),
            "raw": .object(raw.sorted { $0.key < $1.key }.map { JSON.Member($0.key, .number($0.value)) }),
        ])
    }

    static func blockIO(_ group: borrowing Cgroup) -> JSON {
        var (bytes, counts): ([JSON], [JSON]) = ([], [])
        for line in ((try? group.read("io.stat")) ?? "").split(separator: "\n") {
            let words = line.split(separator: " ")
            let device = words.first?.split(separator: ":").map { UInt64($0) } ?? []
            guard device.count == 2, let major = device[0], let minor = device[1] else { continue }
            for word in words.dropFirst() {
                let pair = word.split(separator: "=")
                guard pair.count == 2, let value = UInt64(pair[1]) else { continue }
                let entry = { (operation: String) in
                    JSON.members([
                        "major": .number(major), "minor": .number(minor), "op": .string(operation),
                        "value": .number(value),
                    ])
                }
                switch pair[0] {
                case "rbytes": bytes.append(entry("Read"))
                case "wbytes": bytes.append(entry("Write"))
                case "dbytes": bytes.append(entry("Discard"))
                case "rios": counts.append(entry("Read"))
                case "wios": counts.append(entry("Write"))
                case "dios": counts.append(entry("Discard"))
                default: break
                }
            }
        }
        return .members(["ioServiceBytesRecursive": .array(bytes), "ioServicedRecursive": .array(counts)])
    }

    static func hugepages(_ group: borrowing Cgroup) -> JSON {
        let names = (try? group.folder.entries()) ?? []
        var members: [JSON.Member] = []
        for name in names.sorted() where name.hasPrefix("hugetlb.") && name.hasSuffix(".current") {
            let size = name.dropFirst(8).dropLast(8)
            guard !size.utf8.contains(0x2e) else { continue }
            let figures: KeyValuePairs = [
                "usage": group.number(name), "failcnt": group.number("hugetlb.\(size).events", key: "max") ?? 0,
            ]
            members.append(JSON.Member(String(size), present(figures)))
        }
        return .object(members)
    }

    /// Lines of a name and a number.
    private static func lines(_ text: String?) -> [String: UInt64] {
        var figures: [String: UInt64] = [:]
        for line in (text ?? "").split(separator: "\n") {
            let words = line.split(separator: " ")
            if words.count == 2, let value = UInt64(words[1]) { figures[String(words[0])] = value }
        }
        return figures
    }
}
