import LinuxKernel
import Testing

@testable import Engine
@testable import Sandbox

@Suite struct ExecTests {
    private let users = ExecUser(
        passwd:
            "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1001:A:/home/alice:/bin/sh\nbig:x:4294967296:0::/:/bin/sh\n",
        group: "root:x:0:\nstaff:x:50:bob,alice\naudio:x:29:alice\nbad:x:-1:alice\n")

    @Test(
        arguments: [
            ("0", 0, 0, [], "/root"), ("1000", 1000, 1001, [50, 29], "/home/alice"),
            ("1000:7", 1000, 7, [], "/home/alice"),
            ("alice", 1000, 1001, [50, 29], "/home/alice"), ("alice:staff", 1000, 50, [], "/home/alice"),
            ("4242", 4242, 0, [], "/"),
        ] as [(String, UInt32, UInt32, [UInt32], String)])
    func user(_ text: String, _ uid: UInt32, _ gid: UInt32, _ groups: [UInt32], _ home: String) throws {
        let user = try users.resolve(text)
        #expect(user.uid == uid && user.gid == gid && user.groups == groups && user.home == home && user.chosen)
    }

    @Test(arguments: ["", ":", "1:", ":1", "1:2:3", "-1", "+1", "4294967295", "4294967296", "big", "bob", "1:nobody"])
    func noUser(_ text: String) { #expect(throws: Problem.self) { try users.resolve(text) } }

    @Test func healthNeedsRetriesInARow() {
        var check = HealthCheck(command: ["true"])
        check.retries = 2
        var state = HealthState()
        state.take(passed: false, sinceStart: 1, by: check)
        #expect(state.status == .starting && state.failures == 1)
        state.take(passed: true, sinceStart: 2, by: check)
        #expect(state.status == .healthy && state.failures == 0)
        state.take(passed: false, sinceStart: 3, by: check)
        #expect(state.status == .healthy)
        state.take(passed: false, sinceStart: 4, by: check)
        #expect(state.status == .unhealthy && state.failures == 2)
        state.take(passed: true, sinceStart: 5, by: check)
        #expect(state.status == .healthy)
    }

    @Test func failuresDoNotCountWhileItStarts() {
        var check = HealthCheck(command: ["true"])
        (check.retries, check.startPeriod) = (1, 100)
        var state = HealthState()
        state.take(passed: false, sinceStart: 99, by: check)
        #expect(state.status == .starting && state.failures == 0)
        state.take(passed: false, sinceStart: 100, by: check)
        #expect(state.status == .unhealthy)
        // A check that passed ends the start, however early that was.
        var early = HealthState()
        early.take(passed: true, sinceStart: 1, by: check)
        early.take(passed: false, sinceStart: 2, by: check)
        #expect(early.status == .unhealthy)
    }

    @Test func reportIsBounded() {
        var report = HealthReport()
        for number in 0..<9 { report.add(.init(start: 0, end: 0, exitStatus: Int32(number), output: "")) }
        #expect(report.entries.map(\.exitStatus) == [4, 5, 6, 7, 8])
    }

    @Test func procFiles() {
        let map = ContainerProcess.ranges(
            "         0       1000          1\n         1     100000      65535\nnonsense\n")
        #expect(
            map == [
                IdentityRange(inside: 0, outside: 1000, count: 1),
                IdentityRange(inside: 1, outside: 100_000, count: 65535),
            ])
        let limits = ContainerProcess.limits(
            """
            Limit                     Soft Limit           Hard Limit           Units
            Max cpu time              unlimited            unlimited            seconds
            Max open files            1024                 1048576              files
            Max something             1                    2                    files
            """)
        #expect(
            limits == [
                ResourceLimit(resource: 0, soft: .max, hard: .max),
                ResourceLimit(resource: 7, soft: 1024, hard: 1_048_576),
            ])
    }

    private func plan(_ level: IsolationLevel, terminal: Bool = false, outlives: Bool = false) throws -> LaunchPlan {
        var request = SandboxRequest()
        request.level = level
        request.waived = [.cgroup]
        request.root = .assembled([])
        request.terminal = terminal
        request.command = ["true"]
        request.limits.pidsMax = 99
        request.resourceLimits = [ResourceLimit(resource: 7, soft: 8, hard: 8)]
        let offer = Offer(
            isRoot: true, uid: 0, gid: 0, kernel: KernelVersion(6, 18), architecture: Machine.architecture,
            landlockABI: 7,
            cgroup: .failure(.init("none", hint: "")), subordinateUIDs: nil, subordinateGIDs: nil,
            callerCapabilities: .all,
            ownProgramIsWritable: false)
        let range = IdentityRange(inside: 0, outside: 1 << 30, count: 65536)
        let target = JoinTarget(
            namespaces: [.user, .pid, .mount],
            identity: IdentityMap(uids: [range], gids: [range], byHelper: false, deniesGroups: false),
            inherited: [ResourceLimit(resource: 1, soft: 5, hard: 6)], outlives: outlives)
        return try Planner.join(request, offer: offer, cache: SeccompCache(folder: nil), target: target)
    }

    @Test func joinedProgramIsRestrictedAsTheFirst() throws {
        for level in [IsolationLevel.standard, .strict] {
            let steps = try plan(level).steps
            func place(_ matches: (LaunchStep) -> Bool) -> Int { steps.firstIndex(where: matches) ?? -1 }
            let join = place { if case .join = $0 { true } else { false } }
            let enter = place { $0 == .enter }
            // Limits of the supervisor's before, the container's own processes before the birth, its others after.
            #expect(place { $0 == .resourceLimit(1, soft: 5, hard: 6) } < join)
            #expect((join..<enter).contains(place { $0 == .resourceLimit(6, soft: 99, hard: 99) }))
            #expect(place { $0 == .resourceLimit(7, soft: 8, hard: 8) } > enter)
            let rest = steps[enter...].map { step in
                switch step {
                case .boundingSet: "bounding"
                case .capabilities: "capabilities"
                case .noNewPrivileges: "privileges"
                case .landlockEnforce: "landlock"
                case .seccomp: "seccomp"
                case .execute: "execute"
                default: ""
                }
            }
            let wanted = ["bounding", "capabilities", "privileges"] + (level == .strict ? ["landlock"] : [])
            #expect(rest.filter { !$0.isEmpty } == wanted + ["seccomp", "execute"])
            #expect(!steps.contains(.reaper) && !steps.contains(.hold) && !steps.contains(.outlive))
        }
    }

    @Test func joinedProgramMaySignalTheOthers() throws {
        // A Landlock scope would part it from the container's other programs.
        for step in try plan(.strict).steps {
            if case .landlockCreate(_, _, let scopes, _) = step { #expect(scopes == 0) }
        }
    }

    @Test func terminalAndDetachment() throws {
        let steps = try plan(.standard, terminal: true, outlives: true).steps
        let enter = try #require(steps.firstIndex(of: .enter))
        #expect(steps[..<enter].contains { if case .openTerminals("/dev/pts", _) = $0 { true } else { false } })
        if case .terminal(.some, nil, 0, 5) = steps[enter + 1] {} else { Issue.record("\(steps[enter + 1])") }
        #expect(try #require(steps.firstIndex(of: .outlive)) < #require(steps.firstIndex(of: .noNewPrivileges)))
    }
}
