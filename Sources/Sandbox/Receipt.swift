public import LinuxKernel
public import OCISpec

/// What is really in force, read from the kernel's own files. Never what was planned: where the
/// kernel tells nothing (Landlock), the receipt says by which call it was put in force.
public struct Receipt: Sendable {
    private var held: Held?
    private let plan: LaunchPlan
    private let id: String

    /// Read while the child waits: what is gone as soon as a short program has ended.
    private struct Held {
        let namespaces: [Namespace: UInt64]
        let uidMap: String
        let gidMap: String
        let mounts: [MountRecord]
        let limits: String
        let cgroup: [(file: String, value: String)]
        /// Bytes of what takes the root's changes.
        let storage: UInt64?
    }

    public init(plan: LaunchPlan, id: String) {
        self.plan = plan
        self.id = id
    }

    /// Reads what the waiting child has, and its cgroup.
    public mutating func readHeld(pid: Int32, namespaces: [Namespace: UInt64], cgroup: borrowing Cgroup?)
        throws(KernelError)
    {
        var values: [(String, String)] = []
        switch cgroup {
        case .some(let group):
            for file in Receipt.cgroupFiles { if let value = try? group.read(file) { values.append((file, value)) } }
        case .none: break
        }
        held = Held(
            namespaces: namespaces, uidMap: try Descriptor.contents(of: "/proc/\(pid)/uid_map"),
            gidMap: try Descriptor.contents(of: "/proc/\(pid)/gid_map"),
            mounts: MountRecord.parse(try Descriptor.contents(of: "/proc/\(pid)/mountinfo", limit: 8 << 20)),
            limits: try Descriptor.contents(of: "/proc/\(pid)/limits"), cgroup: values,
            storage: plan.storageLimit == nil ? nil : try? Descriptor.open("/proc/\(pid)/root", [.pathOnly]).capacity())
    }

    private static let cgroupFiles = [
        "memory.max", "memory.swap.max", "memory.oom.group", "cpu.max", "cpu.weight", "pids.max", "io.max", "io.weight",
        "cpuset.cpus",
    ]

    /// The items that were required and that the waiting child turns out not to have, with why.
    public func missingRequired() -> [(item: Item, why: String)] {
        guard let held else { return [] }
        var missing: [(Item, String)] = []
        for item in plan.required {
            for namespace in Namespace.allCases where Item.of(namespace) == item {
                if held.namespaces[namespace] == Namespace.current(namespace) {
                    missing.append((item, "it is the host's"))
                }
            }
            let files: [Item: String] = [
                .cgroupMemory: "memory.max", .cgroupSwap: "memory.swap.max", .cgroupPids: "pids.max",
                .cgroupCPU: "cpu.max",
            ]
            if let file = files[item] {
                let value = held.cgroup.first { $0.file == file }?.value
                if value == nil || value!.hasPrefix("max") {
                    missing.append((item, "\(file) reads \(value ?? "nothing")"))
                }
            }
            if item == .readOnlyRoot, held.mounts.last(where: { $0.target == "/" })?.options.contains("ro") != true {
                missing.append((item, "the root is mounted read-write"))
            }
        }
        return missing
    }

    /// The whole receipt, once the program runs or has just ended and is not reaped yet.
    ///
    /// `notices` are the plan's with what the start added to them.
    public func document(pid: Int32, notices: [Notice]) -> JSON {
        let status = try? ProcessStatus(pid: pid)
        var members: [JSON.Member] = [
            .init("schema", .integer(1)), .init("id", .string(id)), .init("isolation", .string(plan.level.rawValue)),
        ]
        members.append(.init("namespaces", namespaces()))
        members.append(.init("uidMap", map(held?.uidMap)))
        members.append(.init("gidMap", map(held?.gidMap)))
        members.append(.init("capabilities", capabilities(status)))
        members.append(.init("noNewPrivileges", status?.number("NoNewPrivs").map { .bool($0 == 1) } ?? .null))
        members.append(
            .init(
                "seccomp",
                .members([
                    "mode": .number(status?.number("Seccomp")), "filters": .number(status?.number("Seccomp_filters")),
                    "profile": .text(plan.seccomp?.profile), "instructions": .number(plan.seccomp?.instructions),
                ])))
        if let learned = plan.learned { members.append(.init("profile", learned.document)) }
        members.append(.init("landlock", landlock()))
        members.append(.init("mounts", mounts()))
        members.append(.init("resourceLimits", resourceLimits()))
        members.append(.init("cgroup", cgroup()))
        if plan.storageKind == .copy {
            members.append(.init("storage", .members(["kind": .string(plan.storageKind.rawValue)])))
        }
        if let limit = plan.storageLimit {
            members.append(
                .init(
                    "storage",
                    .members([
                        "kind": .string(plan.storageKind.rawValue), "limitBytes": .number(limit),
                        "capacityBytes": .number(held?.storage),
                    ])))
        }
        members.append(
            .init(
                "substitutes",
                .object(
                    plan.substitutes.map { .init($0.item.name, .string($0.by)) })))
        members.append(.init("notInForce", Receipt.notices(notices)))
        return .object(members)
    }

    public static func notices(_ notices: [Notice]) -> JSON {
        .array(
            notices.map {
                .members([
                    "item": .string($0.item.name), "why": .string($0.why), "hint": .text($0.hint),
                    "waived": .bool($0.waived),
                ])
            })
    }

    private func namespaces() -> JSON {
        .object(
            Namespace.allCases.map { namespace in
                let inside = held?.namespaces[namespace]
                let host = Namespace.current(namespace)
                return .init(
                    namespace.file,
                    .members([
                        "inode": .number(inside), "host": .number(host),
                        "separate": .bool(inside != nil && inside != host),
                    ]))
            })
    }

    private func map(_ text: String?) -> JSON {
        guard let text else { return .null }
        return .array(
            text.split(separator: "\n").map { line in
                let numbers = line.split(separator: " ").map { UInt32($0) }
                guard numbers.count == 3 else { return .null }
                return .members([
                    "inside": .number(numbers[0]), "outside": .number(numbers[1]), "count": .number(numbers[2]),
                ])
            })
    }

    private func capabilities(_ status: ProcessStatus?) -> JSON {
        let sets: KeyValuePairs = [
            "effective": "CapEff", "permitted": "CapPrm", "inheritable": "CapInh", "bounding": "CapBnd",
            "ambient": "CapAmb",
        ]
        return .object(
            sets.map { name, field in
                .init(name, status?.mask(field).map { .list(CapabilitySet(rawValue: $0).names) } ?? .null)
            })
    }

    private func landlock() -> JSON {
        guard let abi = plan.landlockABI else { return .null }
        return .members([
            "abi": .number(abi), "purpose": .string(plan.level == .strict ? "files" : "own-program"),
            "tcp": .bool(plan.landlockNetwork), "by": .string("landlock_restrict_self(2) returned 0"),
        ])
    }

    private func mounts() -> JSON {
        guard let held else { return .null }
        return .array(
            held.mounts.map {
                .members([
                    "target": .string($0.target), "type": .string($0.type), "source": .string($0.source),
                    "options": .list($0.options), "superOptions": .list($0.superOptions),
                ])
            })
    }

    /// `/proc/PID/limits`: a title of fixed width, then the soft and the hard limit.
    private func resourceLimits() -> JSON {
        guard let held else { return .null }
        return .object(
            ResourceLimit.known.compactMap { known in
                guard let line = held.limits.split(separator: "\n").first(where: { $0.hasPrefix(known.title) }) else {
                    return nil
                }
                let words = line.dropFirst(known.title.count).split(separator: " ")
                guard words.count >= 2 else { return nil }
                return .init(
                    known.name, .members(["soft": .string(String(words[0])), "hard": .string(String(words[1]))]))
            })
    }

    private func cgroup() -> JSON {
        plan.cgroup.map { cgroup(at: "\($0.place.path)/\(id)") } ?? .null
    }

    /// The files of a cgroup as they were read.
    public func cgroup(at path: String) -> JSON {
        var members: [JSON.Member] = [.init("path", .string(path))]
        for (file, value) in held?.cgroup ?? [] { members.append(.init(file, .string(value))) }
        return .object(members)
    }
}
