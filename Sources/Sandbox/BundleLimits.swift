public import LinuxKernel
public import OCISpec

/// `linux.resources` in the words of cgroup v2. Values of v1 are converted as the runtimes have agreed
/// (opencontainers/cgroups and crun; runtime-spec, config-linux.md).
public struct BundleLimits: Equatable, Sendable {
    /// In an order that the kernel takes.
    public private(set) var settings: [CgroupSetting] = []
    /// Bytes that must be more than what is in use now, where the caller wants that looked at.
    public private(set) var mostInUse: UInt64?

    /// - Parameter now: what a file of the cgroup says; nil: it has no such file. A limit that is made of two numbers
    ///   takes the one that is not given from there, and the kernel's choice of files decides between two forms.
    public init(_ resources: SpecResources, now: (String) -> String?) throws(DocumentError) {
        try memory(resources.memory, now)
        cpu(resources.cpu, now)
        if let pids = resources.pids, pids != 0 { add("pids.max", BundleLimits.text(pids)) }
        blockIO(resources.blockIO, now)
        for (size, limit) in resources.hugepages {
            add("hugetlb.\(size).max", String(limit))
            // The pages that are set aside for a mapping before they are used, since Linux 5.7.
            if now("hugetlb.\(size).rsvd.max") != nil { add("hugetlb.\(size).rsvd.max", String(limit)) }
        }
        for (device, handles, objects) in resources.rdma {
            let words = [handles.map { "hca_handle=\($0)" }, objects.map { "hca_object=\($0)" }].compactMap { $0 }
            if !words.isEmpty { add("rdma.max", ([device] + words).joined(separator: " ")) }
        }
        for (file, value) in resources.unified { try unified(file, value) }
    }

    private mutating func add(_ file: String, _ value: String) { settings.append(CgroupSetting(file, value)) }

    /// -1: no limit.
    private static func text(_ number: Int64) -> String { number < 0 ? "max" : String(number) }

    private mutating func memory(_ memory: SpecResources.Memory, _ now: (String) -> String?) throws(DocumentError) {
        let place = "linux.resources.memory"
        if let limit = memory.limit, limit != 0 {
            add("memory.max", BundleLimits.text(limit))
            if memory.checkBeforeUpdate, limit > 0 { mostInUse = UInt64(limit) }
        }
        if let reservation = memory.reservation, reservation != 0 {
            add("memory.low", BundleLimits.text(reservation))
        }
        // v1 counts memory and swap together, v2 the swap alone.
        let given = memory.swap ?? 0
        if given == 0 {
            if memory.limit == -1, now("memory.swap.max") != nil { add("memory.swap.max", "max") }
        } else if given == -1 {
            add("memory.swap.max", "max")
        } else {
            var limit = memory.limit ?? 0
            if limit == 0, let text = now("memory.max"), let inForce = Int64(text) { limit = inForce }
            guard limit > 0 else { throw DocumentError("\(place).swap", "needs a limit of memory beside it") }
            guard given >= limit else {
                throw DocumentError("\(place).swap", "counts memory too, and must not be less than its limit")
            }
            add("memory.swap.max", String(given - limit))
        }
    }

    private mutating func cpu(_ cpu: SpecResources.CPU, _ now: (String) -> String?) {
        // An idle group has no weight, so that it is told it is none first, and that it is one last.
        if cpu.idle == 0 { add("cpu.idle", "0") }
        if let shares = cpu.shares, shares != 0 { add("cpu.weight", String(CgroupSetting.weight(shares: shares))) }
        let burst = cpu.burst.map { CgroupSetting("cpu.max.burst", String($0)) }
        // A burst may not be more than the quota, whichever is changed first.
        let lowersBurst = (cpu.burst ?? 0) < now("cpu.max.burst").flatMap { UInt64($0) } ?? 0
        if let burst, lowersBurst { settings.append(burst) }
        let quota = cpu.quota.flatMap { $0 == 0 ? nil : BundleLimits.text($0) }
        let period = cpu.period.flatMap { $0 == 0 ? nil : String($0) }
        if quota != nil || period != nil {
            let before = now("cpu.max")?.split(separator: " ").map(String.init) ?? []
            add(
                "cpu.max",
                "\(quota ?? before.first ?? "max") \(period ?? (before.count > 1 ? before[1] : "100000"))")
        }
        if let burst, !lowersBurst { settings.append(burst) }
        if cpu.idle == 1 { add("cpu.idle", "1") }
        if let cpus = cpu.cpus { add("cpuset.cpus", cpus) }
        if let mems = cpu.mems { add("cpuset.mems", mems) }
    }

    /// `blkio.weight` (10 to 1000) as `io.weight` (1 to 10000).
    static func weight(blockIO weight: UInt64) -> UInt64 { 1 + (weight - 10) * 9999 / 990 }

    private mutating func blockIO(_ io: SpecResources.BlockIO, _ now: (String) -> String?) {
        // BFQ's weights are those of v1, where that scheduler is at work.
        let bfq = now("io.bfq.weight") != nil
        let form = { (weight: UInt64) in String(bfq ? weight : BundleLimits.weight(blockIO: weight)) }
        let file = bfq ? "io.bfq.weight" : "io.weight"
        if let weight = io.weight { add(file, "default \(form(weight))") }
        for device in io.weights { add(file, "\(device.major):\(device.minor) \(form(device.value))") }
        // One write a device, with all of its limits.
        var devices: [(device: String, words: [String])] = []
        for (key, rates) in io.throttles {
            for rate in rates {
                let device = "\(rate.major):\(rate.minor)"
                // As in v1: a rate of 0 is none.
                let word = "\(key)=\(rate.value == 0 ? "max" : String(rate.value))"
                if let index = devices.firstIndex(where: { $0.device == device }) {
                    devices[index].words.append(word)
                } else {
                    devices.append((device, [word]))
                }
            }
        }
        for (device, words) in devices { add("io.max", "\(device) \(words.joined(separator: " "))") }
    }

    /// The files that limit or weigh something. Others move processes, reclaim memory, delegate or report.
    private static let files: Set<String> = [
        "cgroup.max.depth", "cgroup.max.descendants", "cpu.idle", "cpu.max", "cpu.max.burst", "cpu.uclamp.max",
        "cpu.uclamp.min", "cpu.weight", "cpu.weight.nice", "cpuset.cpus", "cpuset.mems", "io.bfq.weight", "io.latency",
        "io.max", "io.prio.class", "io.weight", "memory.high", "memory.low", "memory.max", "memory.min",
        "memory.oom.group", "memory.swap.high", "memory.swap.max", "memory.zswap.max", "memory.zswap.writeback",
        "misc.max", "pids.max", "rdma.max",
    ]

    /// "unified": a line of the value is one write.
    private mutating func unified(_ file: String, _ value: String) throws(DocumentError) {
        let place = "linux.resources.unified.\(file)"
        let isHugetlb = file.hasPrefix("hugetlb.") && file.hasSuffix(".max") && !file.utf8.contains(0x2f)
        guard BundleLimits.files.contains(file) || isHugetlb, file.utf8.count < 128 else {
            throw DocumentError(place, "is not a limit of cgroup v2")
        }
        guard value.utf8.count < 4096, value.utf8.allSatisfy({ (0x20..<0x7f).contains($0) || $0 == 0x0a }) else {
            throw DocumentError(place, "is too long, or no text for a limit")
        }
        let lines = value.split(separator: "\n")
        guard !lines.isEmpty else { throw DocumentError(place, "is empty") }
        for line in lines { add(file, String(line)) }
    }
}

extension SpecResources.Device {
    fileprivate var rule: DeviceRule {
        var access: DeviceRule.Access = []
        if read { access.insert(.read) }
        if write { access.insert(.write) }
        if make { access.insert(.make) }
        switch kind {
        // As in v1, a rule for all kinds is for all numbers.
        case .all: return DeviceRule(allow, nil, major, minor, access)
        case .block: return DeviceRule(allow, .block, major, minor, access)
        case .character: return DeviceRule(allow, .character, major, minor, access)
        }
    }
}

extension SpecResources {
    /// What the container's processes may do with devices. What no rule speaks of is refused, and that is so where no
    /// rules are given, too: an empty list is not a way to the machine's disks.
    ///
    /// The devices that every container is given (config-linux.md, "Default devices") can be used, unless a rule that
    /// comes after the last one about everything says otherwise.
    public var deviceRules: [DeviceRule] {
        var rules = devices.map(\.rule)
        let whole = rules.lastIndex { $0.isWhole }
        rules.insert(contentsOf: SpecResources.given, at: whole.map { $0 + 1 } ?? 0)
        return rules
    }

    /// null, zero, full, random, urandom; tty, console, ptmx; and the terminals of its own devpts.
    private static let given: [DeviceRule] =
        [3, 5, 7, 8, 9].map { DeviceRule(true, .character, 1, $0) }
        + [0, 1, 2].map { DeviceRule(true, .character, 5, $0) } + [DeviceRule(true, .character, 136, nil)]
}
