import OCISpec
import Testing

@testable import LinuxKernel
@testable import Sandbox

/// `linux.resources` as cgroup v2 has it, and the program for devices, run here by a small interpreter.
@Suite struct BundleLimitTests {
    private func resources(_ text: String) throws -> SpecResources {
        try SpecResources(try JSONObject(try JSONReader.read(Array(text.utf8)), at: "linux.resources"))
    }

    private func files(_ text: String, now: [String: String] = [:]) throws -> [String] {
        try BundleLimits(try resources(text)) { now[$0] }.settings.map { "\($0.file)=\($0.value)" }
    }

    private func place(_ text: String) -> String? {
        do {
            _ = try files(text)
            return nil
        } catch { return (error as? DocumentError)?.place }
    }

    @Test func valuesOfV1AreConverted() throws {
        #expect(
            try files(#"{"memory":{"limit":100,"swap":300,"reservation":50},"pids":{"limit":-1}}"#) == [
                "memory.max=100", "memory.low=50", "memory.swap.max=200", "pids.max=max",
            ])
        #expect(try files(#"{"cpu":{"quota":-1,"shares":1024}}"#) == ["cpu.weight=100", "cpu.max=max 100000"])
        #expect(try files(#"{"cpu":{"period":5000}}"#, now: ["cpu.max": "70 100000"]) == ["cpu.max=70 5000"])
        #expect(try files(#"{"memory":{"swap":300}}"#, now: ["memory.max": "100"]) == ["memory.swap.max=200"])
        #expect(
            try files(#"{"memory":{"limit":-1}}"#, now: ["memory.swap.max": "5"]) == [
                "memory.max=max", "memory.swap.max=max",
            ])
        #expect(
            try files(#"{"blockIO":{"weight":10,"weightDevice":[{"major":8,"minor":0,"weight":1000}]}}"#) == [
                "io.weight=default 1", "io.weight=8:0 10000",
            ])
        #expect(
            try files(#"{"blockIO":{"weight":500}}"#, now: ["io.bfq.weight": ""]) == ["io.bfq.weight=default 500"])
        #expect(
            try files(
                #"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":7}],"throttleWriteBpsDevice":[{"major":8,"minor":0,"rate":0}]}}"#
            ) == ["io.max=8:0 rbps=7 wbps=max"])
        #expect(
            try files(#"{"rdma":{"m":{"hcaObjects":2}},"unified":{"io.max":"8:0 rbps=1\n8:16 wbps=2"}}"#) == [
                "rdma.max=m hca_object=2", "io.max=8:0 rbps=1", "io.max=8:16 wbps=2",
            ])
        // What asks for nothing is nothing.
        #expect(try files(#"{"memory":{"limit":0,"swap":0},"cpu":{"shares":0,"quota":0},"pids":{"limit":0}}"#) == [])
    }

    @Test func sharesFollowTheAgreedCurve() {
        // The ends, the defaults, and what runc 1.4 makes of 2000.
        for (shares, weight) in [(0, 1), (2, 1), (1024, 100), (2000, 170), (262144, 10000), (1 << 40, 10000)] {
            #expect(CgroupSetting.weight(shares: UInt64(shares)) == UInt64(weight))
        }
    }

    @Test func aBurstAndAQuotaPassEachOther() throws {
        let lower = try files(#"{"cpu":{"quota":50,"burst":40}}"#, now: ["cpu.max": "100 1000", "cpu.max.burst": "90"])
        #expect(lower == ["cpu.max.burst=40", "cpu.max=50 1000"])
        let higher = try files(
            #"{"cpu":{"quota":200,"burst":150}}"#, now: ["cpu.max": "100 1000", "cpu.max.burst": "0"])
        #expect(higher == ["cpu.max=200 1000", "cpu.max.burst=150"])
    }

    @Test func whatCannotHoldIsNamed() {
        #expect(place(#"{"memory":{"swap":5}}"#) == "linux.resources.memory.swap")
        #expect(place(#"{"memory":{"limit":10,"swap":5}}"#) == "linux.resources.memory.swap")
        #expect(place(#"{"memory":{"limit":-2}}"#) == "linux.resources.memory.limit")
        #expect(place(#"{"cpu":{"cpus":"3-1"}}"#) == "linux.resources.cpu.cpus")
        #expect(place(#"{"cpu":{"idle":2}}"#) == "linux.resources.cpu.idle")
        #expect(place(#"{"blockIO":{"weight":5}}"#) == "linux.resources.blockIO.weight")
        #expect(place(#"{"unified":{"cgroup.kill":"1"}}"#) == "linux.resources.unified.cgroup.kill")
        #expect(place(#"{"unified":{"hugetlb./../x.max":"1"}}"#) == "linux.resources.unified.hugetlb./../x.max")
        #expect(place(#"{"unified":{"memory.max":""}}"#) == "linux.resources.unified.memory.max")
        #expect(place(#"{"devices":[{"allow":true,"access":"x"}]}"#) == "linux.resources.devices[0].access")
        #expect(place(#"{"devices":[{}]}"#) == "linux.resources.devices[0]")
    }

    @Test func readBackMeansTheSame() {
        let same: [(file: String, asked: String, now: String)] = [
            ("memory.high", "48M", "50331648"), ("memory.low", "4097", "4096"), ("cpu.max", "5", "5 100000"),
            ("cpu.uclamp.max", "50", "50.00"), ("cpuset.cpus", "1,0", "0-1"), ("io.weight", "default 7", "default 7"),
            ("hugetlb.2MB.max", "4194305", "4194304"), ("rdma.max", "m hca_object=2", "m hca_handle=max hca_object=2"),
        ]
        for (file, asked, now) in same { #expect(CgroupSetting(file, asked).holds(now), "\(file) \(asked)") }
        let other: [(file: String, asked: String, now: String)] = [
            ("memory.high", "48M", "50331647"), ("memory.low", "4096", "max"), ("cpu.max", "5 7", "5 100000"),
            ("pids.max", "5", "50"), ("io.max", "8:0 rbps=5", "8:0 rbps=50 wbps=max"), ("cpuset.mems", "0", ""),
        ]
        for (file, asked, now) in other { #expect(!CgroupSetting(file, asked).holds(now), "\(file) \(asked)") }
    }

    // MARK: devices

    /// What the program answers. The verifier proves the rest: no loop, and nothing read but the context.
    private func answer(
        _ filter: DeviceFilter, _ kind: DeviceRule.Kind, _ number: (UInt32, UInt32), _ access: DeviceRule.Access
    )
        -> Bool?
    {
        var registers = [UInt64](repeating: 0, count: 11)
        var at = 0
        while filter.instructions.indices.contains(at) {
            let word = filter.instructions[at]
            let (to, from) = (Int(word >> 8 & 15), Int(word >> 12 & 15))
            let offset = Int(Int16(truncatingIfNeeded: word >> 16))
            let value = Int32(truncatingIfNeeded: word >> 32)
            at += 1
            switch word & 0xff {
            case 0x61:
                let context = [UInt32(access.rawValue) << 16 | UInt32(kind.rawValue), number.0, number.1]
                registers[to] = UInt64(context[offset / 4])
            case 0xbc: registers[to] = registers[from] & 0xffff_ffff
            case 0xb4: registers[to] = UInt64(UInt32(bitPattern: value))
            case 0x54: registers[to] &= UInt64(UInt32(bitPattern: value))
            case 0x74: registers[to] = (registers[to] & 0xffff_ffff) >> UInt64(value)
            case 0x05: at += offset
            case 0x55: if registers[to] != UInt64(bitPattern: Int64(value)) { at += offset }
            case 0x45: if registers[to] & UInt64(bitPattern: Int64(value)) != 0 { at += offset }
            case 0x95: return registers[0] == 1
            default: return nil
            }
        }
        return nil
    }

    /// The rules in words: the last that fits decides, for each access by itself.
    private func wanted(
        _ rules: [DeviceRule], _ kind: DeviceRule.Kind, _ number: (UInt32, UInt32), _ access: DeviceRule.Access
    )
        -> Bool
    {
        [DeviceRule.Access.make, .read, .write].filter { access.contains($0) }.allSatisfy { one in
            rules.last {
                $0.access.contains(one) && ($0.kind ?? kind) == kind && ($0.major ?? number.0) == number.0
                    && ($0.minor ?? number.1) == number.1
            }?.allow ?? false
        }
    }

    @Test func theProgramSaysWhatTheRulesSay() {
        var seed: UInt64 = 32
        let next = { (bound: UInt64) -> UInt64 in
            seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return (seed >> 33) % bound
        }
        for _ in 0..<400 {
            let rules = (0..<next(7)).map { _ in
                DeviceRule(
                    next(2) == 0, [nil, .block, .character][Int(next(3))], next(2) == 0 ? nil : UInt32(next(2)),
                    next(2) == 0 ? nil : UInt32(next(2)), DeviceRule.Access(rawValue: Int32(next(7) + 1)))
            }
            let filter = DeviceFilter(rules)
            for kind in [DeviceRule.Kind.block, .character] {
                for number in 0..<4 {
                    for access in 1...7 {
                        let device = (UInt32(number & 1), UInt32(number >> 1))
                        let access = DeviceRule.Access(rawValue: Int32(access))
                        #expect(
                            answer(filter, kind, device, access) == wanted(rules, kind, device, access),
                            "\(rules) \(kind) \(device) \(access)")
                    }
                }
            }
        }
    }

    @Test func nothingIsAllowedByDefaultButTheGivenDevices() throws {
        for text in ["{}", #"{"devices":[{"allow":false,"access":"rwm"}]}"#, #"{"devices":[{"allow":false}]}"#] {
            let filter = DeviceFilter(try resources(text).deviceRules)
            #expect(answer(filter, .character, (1, 3), .all) == true)
            #expect(answer(filter, .character, (136, 7), [.read, .write]) == true)
            #expect(answer(filter, .character, (1, 1), .read) == false)
            #expect(answer(filter, .block, (8, 0), .make) == false)
            #expect(answer(filter, .block, (1, 3), .read) == false)
        }
        // One that is taken away by name stays away.
        let less = try resources(
            #"{"devices":[{"allow":false},{"allow":false,"type":"c","major":1,"minor":8,"access":"r"}]}"#)
        #expect(answer(DeviceFilter(less.deviceRules), .character, (1, 8), .read) == false)
        #expect(answer(DeviceFilter(less.deviceRules), .character, (1, 9), .read) == true)
    }
}
