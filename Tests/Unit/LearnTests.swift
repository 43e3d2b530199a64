import LinuxKernel
import OCISpec
import Testing

@testable import Engine
@testable import Sandbox

/// What was learned of a program: the file, what it takes away, and that it never gives.
@Suite struct LearnTests {
    private static let native = SeccompBuilder.nativeArchitecture

    private func program(_ level: IsolationLevel) throws -> SeccompProgram {
        let there = SeccompCompiler.Circumstances(
            capabilities: level == .standard ? level.usualCapabilities : [], architecture: Machine.architecture,
            kernel: KernelVersion(6, 1))
        return try SeccompCache(folder: nil).program(profile: level.seccompProfile, for: there)
    }

    private func number(_ name: String) throws -> Int32 { try #require(SystemCallNumber(name: name)).number }

    private func call(_ number: Int32, _ first: UInt64 = 0, on architecture: UInt32 = native) -> SystemCallData {
        SystemCallData(number: number, architecture: architecture, arguments: [first, first, first, first, 0, 0])
    }

    // MARK: The filter

    /// Of every call, with arguments of several kinds: the answer is the old one, or EPERM in the place of a yes.
    @Test(arguments: IsolationLevel.allCases) func whatIsLeftOfAFilter(level: IsolationLevel) throws {
        let whole = try program(level)
        let learned: Set<Int32> = [
            try number("read"), try number("openat"), try number("ioctl"), try number("clone"), try number("socket"),
            try number("unshare"), try number("clone3"), 0, 1, 2, 447,
        ]
        let left = try #require(whole.restricted(to: learned, on: LearnTests.native))
        for number in Int32(0)..<600 {
            for first: UInt64 in [0, 2, 38, 0x5412, 0x1000_0000, 0x7e02_0000, UInt64.max] {
                let call = call(number, first)
                let (before, after) = (try #require(whole.answer(to: call)), try #require(left.answer(to: call)))
                if learned.contains(number) {
                    #expect(before == after, "\(call.name) \(first)")
                } else if whole.allows(call) {
                    #expect(after == 0x0005_0001, "\(call.name) \(first)")
                } else {
                    #expect(before == after, "\(call.name) \(first)")
                }
            }
        }
    }

    /// No architecture but the machine's own has anything left, and what ended a program still does.
    @Test(arguments: IsolationLevel.allCases) func otherArchitectures(level: IsolationLevel) throws {
        let whole = try program(level)
        let left = try #require(whole.restricted(to: Set(0..<450), on: LearnTests.native))
        for architecture: UInt32 in [0x4000_0003, 0xc000_00b7, 0x4000_0028, 0xc000_003e, 1]
        where architecture != LearnTests.native {
            for number: Int32 in [0, 1, 3, 59, 0x4000_0000, 0x4000_003b] {
                let call = call(number, on: architecture)
                #expect(!left.allows(call))
                if !whole.allows(call) { #expect(left.answer(to: call) == whole.answer(to: call)) }
            }
        }
        // x32 has x86_64's architecture, and a bit in the number.
        #expect(!left.allows(call(0x4000_0001)))
    }

    /// An allowance is more than SECCOMP_RET_ALLOW: what logs, traces or tells lets through as well.
    @Test func everyKindOfYes() throws {
        let text = """
            {"defaultAction":"SCMP_ACT_LOG","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO","errnoRet":28},
            {"names":["read"],"action":"SCMP_ACT_ALLOW"},{"names":["write"],"action":"SCMP_ACT_TRACE","errnoRet":7},
            {"names":["rmdir"],"action":"SCMP_ACT_KILL_PROCESS"},{"names":["unlink"],"action":"SCMP_ACT_TRAP"}]}
            """
        let there = SeccompCompiler.Circumstances(
            capabilities: [], architecture: Machine.architecture, kernel: KernelVersion(6, 1))
        let whole = try SeccompCompiler.compile(try SeccompProfile(try JSONReader.read(Array(text.utf8))), for: there)
        let left = try #require(whole.restricted(to: [try number("read")], on: LearnTests.native))
        #expect(left.allows(call(try number("read"))))
        for name in ["write", "getpid", "openat"] {
            #expect(left.refusal(of: call(try number(name))) == Errno.permission, "\(name)")
        }
        for name in ["mkdir", "rmdir", "unlink"] where try number(name) >= 0 {
            #expect(left.answer(to: call(try number(name))) == whole.answer(to: call(try number(name))), "\(name)")
        }
    }

    @Test func aFilterThatGrowsTooLongIsNone() throws {
        let load: [UInt8] = [0x20, 0, 0, 0, 0, 0, 0, 0]
        let long = try #require(
            SeccompProgram(bytes: (0..<2100).flatMap { _ in load } + [6, 0, 0, 0, 0, 0, 0xff, 0x7f]))
        #expect(long.restricted(to: [0], on: LearnTests.native) == nil)
    }

    // MARK: Limits

    @Test func limitsHaveHeadroomAndBounds() {
        var seen = LearnedLimits()
        seen.memoryBytes = 100 << 20
        seen.processes = 40
        seen.openFiles = 512
        seen.wallSeconds = 100
        seen.cpuSeconds = 1
        let limits = seen.limits(headroom: 50, most: .most(.strict))
        #expect(limits.memoryBytes == 160 << 20)
        #expect(limits.processes == 64)
        #expect(limits.openFiles == 832)
        #expect(limits.wallSeconds == 180)
        #expect(limits.cpuSeconds == 30)
        #expect(limits.fileBytes == nil)
        // Never above the level's, and none at all where it was above that already.
        #expect(seen.limits(headroom: 10_000, most: .most(.strict)).memoryBytes == 512 << 20)
        seen.memoryBytes = 513 << 20
        #expect(seen.limits(headroom: 50, most: .most(.strict)).memoryBytes == nil)
        #expect(seen.limits(headroom: 50, most: .most(.minimal)).memoryBytes == 784 << 20)
        // No number is too large to be thought of.
        seen.memoryBytes = UInt64.max
        seen.processes = UInt64.max / 151
        #expect(seen.limits(headroom: 50, most: LearnedLimits()).memoryBytes == nil)
        #expect(seen.limits(headroom: 50, most: LearnedLimits()).processes != 0)
    }

    // MARK: The file

    private func profile(
        calls: Set<String> = ["read", "write"], readOnly: Bool = true, memory: UInt64? = 40 << 20,
        level: IsolationLevel = .strict, missing: [String] = []
    ) -> LearnedProfile {
        var observed = LearnedLimits()
        observed.memoryBytes = memory
        observed.processes = 3
        return LearnedProfile(
            architecture: Machine.architecture, level: level, image: "./bot.py", headroom: 50, calls: calls,
            volumes: [.init(source: "/srv/data", target: "/data", readOnly: readOnly, noExecute: true, mapOwners: nil)],
            observed: observed, missing: missing)
    }

    private func bytes(_ json: JSON) -> [UInt8] { Array(json.text(pretty: true).utf8) }

    @Test func aProfileComesBackAsItWasWritten() throws {
        let written = profile(missing: ["/data2/x"])
        #expect(try LearnedProfile(text: bytes(written.document)) == written)
    }

    @Test(arguments: [
        ("codex32Profile", JSON.integer(2)), ("codex32Profile", .null), ("codex32Profile", .string("1")),
        ("architecture", .null), ("isolation", .string("none")), ("isolation", .null), ("systemCalls", .array([])),
        ("systemCalls", .null), ("systemCalls", .array([.integer(1)])), ("systemCalls", .string("read")),
        ("runs", .integer(-1)), ("headroomPercent", .integer(10_001)), ("limits", .members(["memory": .integer(1)])),
        ("limits", .members(["memoryBytes": .integer(0)])), ("limits", .members(["memoryBytes": .integer(-5)])),
        ("limits", .members(["processes": .unsigned(1 << 63)])), ("limits", .array([])), ("extra", .bool(true)),
        ("volumes", .array([.members(["target": .string("data")])])), ("volumes", .array([.members([:])])),
        ("volumes", .array([.members(["target": .string("/a")]), .members(["target": .string("/a")])])),
        ("volumes", .array([.members(["target": .string("/a"), "source": .string("x")])])),
        ("volumes", .array([.members(["target": .string("/a"), "mode": .string("rw")])])),
        ("missing", .array((0..<65).map { .string("/x\($0)") })),
        ("systemCalls", .array((0..<1025).map { .string("call\($0)") })),
    ])
    func hostileProfiles(name: String, value: JSON) {
        #expect(throws: DocumentError.self) {
            try LearnedProfile(text: bytes(profile().document.replacing(name, value)))
        }
    }

    @Test func textsThatAreNoProfile() {
        let good = bytes(profile().document)
        for length in stride(from: 0, to: good.count - 1, by: 7) {
            #expect(throws: DocumentError.self) { try LearnedProfile(text: Array(good[..<length])) }
        }
        for text in ["", "[]", "null", "{}", "read", String(repeating: "[", count: 100_000)] {
            #expect(throws: DocumentError.self) { try LearnedProfile(text: Array(text.utf8)) }
        }
        let blanks = [UInt8](repeating: 0x20, count: LearnedProfile.largest)
        #expect(throws: DocumentError.self) { try LearnedProfile(text: good + blanks) }
    }

    @Test func callsThatNobodyKnows() {
        #expect(throws: DocumentError.self) { try LearnedCalls(name: "p", digest: "", calls: ["read", "launch"]) }
        #expect(throws: DocumentError.self) { try LearnedCalls(name: "p", digest: "", calls: ["call 5000"]) }
    }

    // MARK: Several runs

    @Test func anotherRunWidens() throws {
        var both = profile(calls: ["read", "write"], missing: ["/a", "/b"])
        try both.widen(
            by: profile(calls: ["write", "socket"], readOnly: false, memory: 90 << 20, missing: ["/b", "/c"]))
        #expect(both.calls == ["read", "socket", "write"])
        #expect(both.volumes.map(\.readOnly) == [false])
        #expect(both.observed.memoryBytes == 90 << 20)
        #expect(both.limits.memoryBytes == 144 << 20)
        #expect(both.missing == ["/a", "/b", "/c"])
        #expect(both.runs == 2)
        // What one of them did not know of is not known of both, and so not limited.
        try both.widen(by: profile(memory: nil))
        #expect((both.observed.memoryBytes, both.limits.memoryBytes, both.runs) == (nil, nil, 3))
        #expect(both.limits.processes == 16)
    }

    @Test func whatOneRunNeverNarrowsAnother() throws {
        let wide = profile(calls: ["read", "write", "socket"], readOnly: false, memory: 90 << 20)
        var both = wide
        try both.widen(by: profile(calls: ["read"]))
        #expect((both.calls, both.limits, both.volumes) == (wide.calls, wide.limits, wide.volumes))
    }

    @Test func differentThingsAreNotMixed() {
        var one = profile()
        #expect(throws: DocumentError.self) { try one.widen(by: profile(level: .standard)) }
        let elsewhere = LearnedProfile(
            architecture: Machine.architecture, level: .strict, image: "", headroom: 50, calls: ["read"],
            volumes: [.init(source: "/etc", target: "/data", readOnly: true, noExecute: true, mapOwners: nil)],
            observed: LearnedLimits(), missing: [])
        #expect(throws: DocumentError.self) { try one.widen(by: elsewhere) }
    }

    // MARK: The plan

    private func plan(_ change: (inout SandboxRequest) -> Void) throws -> LaunchPlan {
        var request = SandboxRequest()
        request.level = .strict
        request.root = .assembled([])
        request.command = ["/bin/true"]
        change(&request)
        let place = CgroupPlace(path: "/sys/fs/cgroup/codex32", controllers: .all)
        let offer = Offer(
            isRoot: true, uid: 0, gid: 0, kernel: KernelVersion(6, 1), architecture: Machine.architecture,
            landlockABI: 7,
            cgroup: .success(place), subordinateUIDs: nil, subordinateGIDs: nil, callerCapabilities: .all,
            ownProgramIsWritable: false)
        return try Planner.plan(request, offer: offer, cache: SeccompCache(folder: nil), identityBase: 1_073_741_824)
    }

    private func filter(_ plan: LaunchPlan) -> SeccompProgram? {
        for case .seccomp(let program) in plan.steps { return program }
        return nil
    }

    /// The observer stands below the level's own filter, which is the same as ever.
    @Test func theWallStandsWhileLearning() throws {
        let plain = try plan { _ in }
        let seen = try plan { $0.observer = CallObserver.Filter(token: 7) }
        #expect(filter(seen) == filter(plain))
        let texts = seen.stepTexts
        #expect(texts.firstIndex(of: "observe every call").map { texts[$0 + 1].hasPrefix("seccomp") } == true)
        #expect(throws: Problem.self) {
            try plan {
                $0.observer = CallObserver.Filter(token: 7)
                $0.waived = [.seccomp]
            }
        }
        #expect(throws: Problem.self) {
            try plan {
                $0.observer = CallObserver.Filter(token: 7)
                $0.explains = true
            }
        }
    }

    @Test func aProfileIsInThePlan() throws {
        let learned = try LearnedCalls(
            name: "p.json", digest: String(repeating: "a", count: 64), calls: ["read", "socket"])
        let made = try plan { $0.learned = learned }
        let (left, whole) = (try #require(filter(made)), try #require(filter(try plan { _ in })))
        #expect(left.allows(call(try number("read"))))
        #expect(left.allows(call(try number("execve"))), "the start itself")
        let open = call(try number("openat"))
        #expect(!left.allows(open) && whole.allows(open))
        #expect(!left.allows(call(try number("wait4"))))
        let reaped = try plan { ($0.learned, $0.reaper) = (learned, true) }
        #expect(try #require(filter(reaped)).allows(call(try number("wait4"))), "pid 1 waits behind the filter")
        #expect(made.document.text().holds("sha256:aaaa"))
        #expect(throws: Problem.self) { try plan { ($0.learned, $0.waived) = (learned, [.seccomp]) } }
        #expect(try LearnedCalls(JSONObject(learned.document, at: "")) == learned)
    }
}
