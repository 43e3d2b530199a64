import OCISpec
import Testing

@testable import Engine
@testable import LinuxKernel
@testable import Sandbox
@testable import codex32

/// A cgroup's limits: what is written, and what counts as the same when it is read back.
@Suite struct LimitTests {
    private func files(_ limits: CgroupLimits) -> [String] { limits.files.map { "\($0.file)=\($0.value)" } }

    @Test func noneIsWrittenAsTheKernelSaysIt() throws {
        var limits = CgroupLimits()
        limits.memoryMax = try Value.limit("none") { text throws(Problem) in try Value.memory(text, option: "-m") }
        limits.swapMax = CgroupLimits.none
        limits.cpuQuota = CgroupLimits.none
        limits.pidsMax = CgroupLimits.none
        limits.cpus = try Value.cpus("none")
        limits.io = ["8:0": ["rbps": CgroupLimits.none, "wiops": 100], "8:16": ["riops": CgroupLimits.none]]
        #expect(
            files(limits) == [
                "memory.max=max", "memory.oom.group=1", "memory.swap.max=max", "cpu.max=max 100000", "pids.max=max",
                "cpuset.cpus=\n", "io.max=8:0 rbps=max wiops=100", "io.max=8:16 riops=max",
            ])
        // A new cgroup has no limits: what it need not be told it need not have a controller for.
        #expect(files(limits.limiting) == ["io.max=8:0 wiops=100"])
        #expect(limits.limiting.controllers == [.io])
        // And it is the same after it was written down.
        #expect(
            try CgroupLimits(try JSONObject(try JSONReader.read(Array(limits.document.text().utf8)), at: "")) == limits)
    }

    @Test func noneTakesTheLevelsDefaultAway() {
        var limits = IsolationLevel.strict.defaultLimits()
        #expect(limits.memoryMax != nil && limits.pidsMax != nil)
        (limits.memoryMax, limits.pidsMax) = (CgroupLimits.none, CgroupLimits.none)
        #expect(limits.limiting.memoryMax == nil && limits.limiting.pidsMax == nil)
        #expect(limits.limiting.cpuQuota == limits.cpuQuota)
    }

    @Test func noneStillHasACgroup() throws {
        var request = SandboxRequest()
        request.root = .assembled([])
        request.command = ["/bin/true"]
        let none = CgroupLimits.none
        (request.limits.memoryMax, request.limits.swapMax, request.limits.cpuQuota) = (none, none, none)
        request.limits.pidsMax = none
        let place = CgroupPlace(path: "/sys/fs/cgroup/codex32", controllers: [])
        let offer = Offer(
            isRoot: true, uid: 0, gid: 0, kernel: KernelVersion(6, 1), architecture: Machine.architecture,
            landlockABI: nil, cgroup: .success(place), subordinateUIDs: nil, subordinateGIDs: nil,
            callerCapabilities: .all, ownProgramIsWritable: false)
        let plan = try Planner.plan(
            request, offer: offer, cache: SeccompCache(folder: nil), identityBase: 1_073_741_824)
        #expect(plan.cgroup?.limits == CgroupLimits())
        #expect(!plan.notices.contains { $0.item == .cgroupMemory || $0.item == .cgroupPids })
    }

    @Test func readBackMeansTheSame() {
        let same: [(file: String, asked: String, now: String)] = [
            ("cpuset.cpus", "0-3,7", "0-3,7"), ("cpuset.cpus", "3,1,2,0", "0-3"), ("cpuset.cpus", "0-1,1-2", "0-2"),
            ("cpuset.cpus", "\n", ""), ("memory.max", "max", "max"), ("memory.max", "4097", "4096"),
            ("io.max", "8:0 rbps=max wiops=max", ""),
            ("io.max", "8:0 rbps=max", "8:0 rbps=max wbps=5 riops=max wiops=max"),
            ("io.max", "8:0 rbps=7", "8:16 rbps=1\n8:0 rbps=7 wbps=max"), ("pids.max", "max", "max"),
        ]
        for (file, asked, now) in same { #expect(Cgroup.holds(file: file, asked: asked, now: now), "\(file) \(asked)") }
        let other: [(file: String, asked: String, now: String)] = [
            ("cpuset.cpus", "0-3", "0-2"), ("cpuset.cpus", "0", ""), ("cpuset.cpus", "\n", "0"),
            ("cpuset.cpus", "1", "0-1"), ("cpuset.cpus", "0", "x"), ("memory.max", "max", "4096"),
            ("io.max", "8:0 rbps=5", ""), ("io.max", "8:0 rbps=max", "8:0 rbps=5 wbps=max"), ("pids.max", "5", "max"),
        ]
        for (file, asked, now) in other {
            #expect(!Cgroup.holds(file: file, asked: asked, now: now), "\(file) \(asked)")
        }
    }
}
