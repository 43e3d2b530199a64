/// config-linux.md, "Control groups": what `linux.resources` asks for, in the words of the specification.
///
/// Numbers are as they stand there; -1 is "no limit" where the specification has it so. What 0 means is the
/// business of whoever translates them, for most of the specification's limits take it for "nothing asked".
public struct SpecResources: Equatable, Sendable {
    /// "Allowed device list": one rule, of which the last that fits decides.
    public struct Device: Equatable, Sendable {
        public enum Kind: Equatable, Sendable { case all, block, character }
        public let allow: Bool
        public let kind: Kind
        /// Nil: every number.
        public let major: UInt32?
        public let minor: UInt32?
        /// Which of reading, writing and mknod(2) the rule is about.
        public let read: Bool
        public let write: Bool
        public let make: Bool

        public init(
            allow: Bool, kind: Kind, major: UInt32?, minor: UInt32?, read: Bool = true, write: Bool = true,
            make: Bool = true
        ) {
            (self.allow, self.kind, self.major, self.minor) = (allow, kind, major, minor)
            (self.read, self.write, self.make) = (read, write, make)
        }
    }

    public struct Memory: Equatable, Sendable {
        /// Bytes.
        public var limit: Int64?
        public var reservation: Int64?
        /// Bytes of memory and swap together.
        public var swap: Int64?
        public var checkBeforeUpdate = false
        public init() {}
    }

    public struct CPU: Equatable, Sendable {
        public var shares: UInt64?
        /// Microseconds.
        public var quota: Int64?
        public var burst: UInt64?
        public var period: UInt64?
        public var cpus: String?
        public var mems: String?
        /// 1: run only where nobody else wants to.
        public var idle: Int64?
        public init() {}
    }

    /// A device by its number, with a weight, or with bytes or operations a second.
    public struct Rate: Equatable, Sendable {
        public let major: UInt32
        public let minor: UInt32
        public let value: UInt64
    }

    public struct BlockIO: Equatable, Sendable {
        public var weight: UInt64?
        public var weights: [Rate] = []
        /// By the keys of `io.max`: rbps, wbps, riops, wiops.
        public var throttles: [(key: String, rates: [Rate])] = []
        public init() {}

        public static func == (a: BlockIO, b: BlockIO) -> Bool {
            a.weight == b.weight && a.weights == b.weights
                && a.throttles.elementsEqual(b.throttles) { $0.key == $1.key && $0.rates == $1.rates }
        }
    }

    public var devices: [Device] = []
    public var memory = Memory()
    public var cpu = CPU()
    public var pids: Int64?
    public var blockIO = BlockIO()
    /// Page size as in "2MB", and bytes.
    public var hugepages: [(size: String, limit: UInt64)] = []
    /// By the device's name.
    public var rdma: [(device: String, handles: UInt64?, objects: UInt64?)] = []
    /// Files of cgroup v2 and what is written to them.
    public var unified: [(file: String, value: String)] = []
    /// The members that ask for something, by name: for whoever cannot give it.
    public private(set) var names: [String] = []

    public init() {}

    /// - Parameter place: where the object stands, for errors.
    public init(_ object: JSONObject) throws(DocumentError) {
        let known = ["memory", "cpu", "pids", "blockIO", "hugepageLimits", "network", "rdma", "unified", "devices"]
        try object.allow(only: Set(known))
        // network is net_cls and net_prio, of which cgroup v2 has no successor.
        try object.refuse(["network"])
        names = known.filter {
            switch object.value($0) {
            case nil, .object([]), .array([]): false
            default: true
            }
        }
        for entry in try object.objects("devices") {
            guard devices.count < 4096 else { throw DocumentError(entry.place, "is one rule too many") }
            devices.append(try Device(entry))
        }
        memory = try Memory(try object.part("memory"))
        cpu = try CPU(try object.part("cpu"))
        let pids = try object.part("pids")
        try pids.allow(only: ["limit"])
        self.pids = try pids.amount("limit")
        blockIO = try BlockIO(try object.part("blockIO"))
        for entry in try object.objects("hugepageLimits") {
            try entry.allow(only: ["pageSize", "limit"])
            let size = try entry.required("pageSize")
            guard size.utf8.count < 16,
                size.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) })
            else { throw DocumentError("\(entry.place).pageSize", "is no size such as 2MB") }
            guard let limit = try entry.unsigned("limit") else { throw DocumentError(entry.place, "needs a limit") }
            hugepages.append((size, limit))
        }
        for (device, limits) in try object.part("rdma").objects() {
            try limits.allow(only: ["hcaHandles", "hcaObjects"])
            guard !device.isEmpty, device.utf8.count < 64, device.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
                throw DocumentError(limits.place, "is not a device's name")
            }
            rdma.append((device, try limits.unsigned("hcaHandles"), try limits.unsigned("hcaObjects")))
        }
        unified = try object.part("unified").pairs().map { (file: $0.name, value: $0.value) }
    }

    public static func == (a: SpecResources, b: SpecResources) -> Bool {
        a.devices == b.devices && a.memory == b.memory && a.cpu == b.cpu && a.pids == b.pids && a.blockIO == b.blockIO
            && a.names == b.names && a.hugepages.elementsEqual(b.hugepages) { $0 == $1 }
            && a.rdma.elementsEqual(b.rdma) { $0 == $1 } && a.unified.elementsEqual(b.unified) { $0 == $1 }
    }
}

extension SpecResources.Device {
    init(_ object: JSONObject) throws(DocumentError) {
        try object.allow(only: ["allow", "type", "major", "minor", "access"])
        guard let allow = try object.bool("allow") else { throw DocumentError(object.place, "needs allow") }
        self.allow = allow
        switch try object.string("type") ?? "a" {
        case "a", "": kind = .all
        case "b": kind = .block
        case "c", "u": kind = .character
        default: throw DocumentError("\(object.place).type", "is none of a, b, c and u")
        }
        // The kernel's own device numbers have 12 and 20 bits (kdev_t.h).
        major = try SpecResources.number(object, "major", most: 0xfff)
        minor = try SpecResources.number(object, "minor", most: 0xfffff)
        let access = try object.string("access") ?? "rwm"
        guard access.utf8.allSatisfy({ [0x72, 0x77, 0x6d].contains($0) }), access.utf8.count <= 3 else {
            throw DocumentError("\(object.place).access", "is of the letters r, w and m")
        }
        let letters = Set(access.isEmpty ? "rwm" : access)
        (read, write, make) = (letters.contains("r"), letters.contains("w"), letters.contains("m"))
    }
}

extension SpecResources {
    /// A part of a device's number; nil: it is missing, or -1, and means every one.
    fileprivate static func number(_ object: JSONObject, _ name: String, most: UInt32) throws(DocumentError) -> UInt32?
    {
        guard let number = try object.integer(name), number != -1 else { return nil }
        guard (0...Int64(most)).contains(number) else {
            throw DocumentError("\(object.place).\(name)", "must be from 0 to \(most), or -1")
        }
        return UInt32(number)
    }
}

extension SpecResources.Memory {
    init(_ object: JSONObject) throws(DocumentError) {
        try object.allow(only: [
            "limit", "reservation", "swap", "kernel", "kernelTCP", "swappiness", "disableOOMKiller", "useHierarchy",
            "checkBeforeUpdate",
        ])
        limit = try object.amount("limit")
        reservation = try object.amount("reservation")
        swap = try object.amount("swap")
        checkBeforeUpdate = try object.bool("checkBeforeUpdate") ?? false
        // cgroup v2 counts the kernel's memory with the rest, and always does so for those below.
        for name in ["kernel", "kernelTCP"] where (try object.amount(name) ?? 0) > 0 {
            throw DocumentError("\(object.place).\(name)", "cgroup v2 has no limit of its own for it")
        }
        if try object.unsigned("swappiness") != nil {
            throw DocumentError("\(object.place).swappiness", "cgroup v2 has none")
        }
        if try object.bool("disableOOMKiller") ?? false {
            throw DocumentError("\(object.place).disableOOMKiller", "cgroup v2 cannot do without it")
        }
        _ = try object.bool("useHierarchy")
    }
}

extension SpecResources.CPU {
    init(_ object: JSONObject) throws(DocumentError) {
        try object.allow(only: [
            "shares", "quota", "burst", "period", "realtimeRuntime", "realtimePeriod", "cpus", "mems", "idle",
        ])
        shares = try object.unsigned("shares")
        quota = try object.amount("quota")
        burst = try object.unsigned("burst")
        period = try object.unsigned("period")
        cpus = try SpecResources.CPU.set(object, "cpus")
        mems = try SpecResources.CPU.set(object, "mems")
        idle = try object.amount("idle")
        if let idle, idle != 0, idle != 1 { throw DocumentError("\(object.place).idle", "must be 0 or 1") }
        for name in ["realtimeRuntime", "realtimePeriod"] where (try object.integer(name) ?? 0) != 0 {
            throw DocumentError("\(object.place).\(name)", "cgroup v2 has none")
        }
    }

    /// Numbers and ranges of them, as in "0-3,7".
    private static func set(_ object: JSONObject, _ name: String) throws(DocumentError) -> String? {
        guard let text = try object.string(name), !text.isEmpty else { return nil }
        let isGood = text.split(separator: ",", omittingEmptySubsequences: false).allSatisfy { part in
            let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { UInt16($0) }
            return ends.count <= 2 && ends.allSatisfy { $0 != nil } && ends[0]! <= ends[ends.count - 1]!
        }
        guard text.utf8.count < 4096, isGood else {
            throw DocumentError("\(object.place).\(name)", "must be numbers such as 0-3,7")
        }
        return text
    }
}

extension SpecResources.BlockIO {
    /// The specification's names beside those of `io.max`.
    private static let keys = [
        "throttleReadBpsDevice": "rbps", "throttleWriteBpsDevice": "wbps", "throttleReadIOPSDevice": "riops",
        "throttleWriteIOPSDevice": "wiops",
    ]

    init(_ object: JSONObject) throws(DocumentError) {
        let keys = SpecResources.BlockIO.keys
        try object.allow(only: Set(keys.keys).union(["weight", "leafWeight", "weightDevice"]))
        weight = try SpecResources.BlockIO.weight(object)
        for entry in try object.objects("weightDevice") {
            try entry.allow(only: ["major", "minor", "weight", "leafWeight"])
            guard let weight = try SpecResources.BlockIO.weight(entry) else { continue }
            weights.append(try SpecResources.BlockIO.rate(entry, weight))
        }
        for (name, key) in keys.sorted(by: { $0.value < $1.value }) {
            var rates: [SpecResources.Rate] = []
            for entry in try object.objects(name) {
                try entry.allow(only: ["major", "minor", "rate"])
                guard let rate = try entry.unsigned("rate") else { throw DocumentError(entry.place, "needs a rate") }
                rates.append(try SpecResources.BlockIO.rate(entry, rate))
            }
            if !rates.isEmpty { throttles.append((key, rates)) }
        }
    }

    /// 10 to 1000; nil: none is given, or 0.
    private static func weight(_ object: JSONObject) throws(DocumentError) -> UInt64? {
        guard try object.unsigned("leafWeight") ?? 0 == 0 else {
            throw DocumentError("\(object.place).leafWeight", "cgroup v2 has none")
        }
        guard let weight = try object.unsigned("weight"), weight != 0 else { return nil }
        guard (10...1000).contains(weight) else {
            throw DocumentError("\(object.place).weight", "must be from 10 to 1000")
        }
        return weight
    }

    private static func rate(_ object: JSONObject, _ value: UInt64) throws(DocumentError) -> SpecResources.Rate {
        guard let major = try SpecResources.number(object, "major", most: 0xfff),
            let minor = try SpecResources.number(object, "minor", most: 0xfffff)
        else { throw DocumentError(object.place, "needs a device's major and minor number") }
        return SpecResources.Rate(major: major, minor: minor, value: value)
    }
}

extension JSONObject {
    /// A number of which -1 means that there is no limit.
    fileprivate func amount(_ name: String) throws(DocumentError) -> Int64? {
        guard let number = try integer(name) else { return nil }
        guard number >= -1 else {
            throw DocumentError("\(place).\(name)", "must be a whole number, or -1 for no limit")
        }
        return number
    }
}
