import Foundation
import LinuxKernel
import OCISpec
import Testing

@testable import Sandbox

/// Plans are values: they are made here without root, for machines that this one is not.
@Suite struct PlannerTests {
    private func offer(
        root: Bool = true, landlock: Int? = 7, cgroup: CaseSet<CgroupController>? = .all
    ) -> Offer {
        let place: Result<CgroupPlace, CgroupPlace.Missing> =
            cgroup.map { .success(CgroupPlace(path: "/sys/fs/cgroup/codex32", controllers: $0)) }
            ?? .failure(CgroupPlace.Missing("v1", hint: "boot v2"))
        return Offer(
            isRoot: root, uid: root ? 0 : 1000, gid: root ? 0 : 1000, kernel: KernelVersion(6, 1),
            architecture: Machine.architecture,
            landlockABI: landlock, cgroup: place, subordinateUIDs: nil, subordinateGIDs: nil, callerCapabilities: .all,
            ownProgramIsWritable: !root)
    }

    private func request(_ level: IsolationLevel) -> SandboxRequest {
        var request = SandboxRequest()
        request.level = level
        request.root = .assembled([])
        request.readOnly = level == .strict
        request.command = ["/bin/true"]
        request.environment = ["PATH=/usr/bin:/bin"]
        return request
    }

    private func plan(_ request: SandboxRequest, _ offer: Offer) throws(Problem) -> LaunchPlan {
        try Planner.plan(request, offer: offer, cache: SeccompCache(folder: nil), identityBase: 1_073_741_824)
    }

    @Test func strictHasEveryNamespaceAndNoCapability() throws {
        let plan = try plan(request(.strict), offer())
        #expect(plan.namespaceNames == ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"])
        #expect(plan.capabilities.isEmpty)
        #expect(plan.cgroup?.limits.memoryMax == 512 << 20)
        #expect(plan.cgroup?.limits.pidsMax == 512)
        #expect(plan.notices.isEmpty)
    }

    @Test func restrictionsComeLastAndSeccompLastOfAll() throws {
        let steps = try plan(request(.strict), offer()).stepTexts
        #expect(steps.last == "execve")
        #expect(steps[steps.count - 2].hasPrefix("seccomp"))
        #expect(steps[steps.count - 3] == "landlock enforce")
        #expect(steps[steps.count - 4] == "no_new_privs")
    }

    /// What a caller may do about priorities, as for audio, no sandbox inherits; what is asked for by name it has.
    @Test(arguments: [IsolationLevel.standard, .strict], [true, false])
    func prioritiesAreNotInherited(level: IsolationLevel, root: Bool) throws {
        var asked = request(level)
        #expect(try plan(asked, offer(root: root)).stepTexts.contains("rlimit rtprio at most 0"))
        #expect(try plan(asked, offer(root: root)).stepTexts.contains("rlimit nice at most 0"))
        asked.resourceLimits = [ResourceLimit(resource: 14, soft: 5, hard: 5)]
        let texts = try plan(asked, offer(root: root)).stepTexts
        #expect(texts.contains("rlimit rtprio 5:5") && !texts.contains("rlimit rtprio at most 0"))
    }

    /// The set-up ends with codex32 up to the last steps, and a filter that knows no prctl(2) is no hindrance.
    @Test func aProgramOutlivesItsSupervisorFromItsLastStepsOn() throws {
        for reaper in [false, true] {
            var outliving = request(.strict)
            (outliving.outlives, outliving.reaper) = (true, reaper)
            let steps = try plan(outliving, offer()).stepTexts.filter { !$0.hasPrefix("landlock") }
            let place = try #require(steps.firstIndex(of: "outlive codex32"))
            #expect(steps[place - 1] == "no_new_privs")
            #expect(steps[place + 1].hasPrefix("seccomp"))
            #expect(steps.count - place == (reaper ? 4 : 3))
        }
        #expect(try !plan(request(.strict), offer()).stepTexts.contains("outlive codex32"))
    }

    @Test func strictRefusesAMachineWithoutCgroupsUnlessItIsWaivedByName() throws {
        #expect(throws: Problem.self) { try plan(request(.strict), offer(cgroup: nil)) }
        var waiving = request(.strict)
        waiving.waived = [.cgroup]
        let made = try plan(waiving, offer(cgroup: nil))
        #expect(made.notices.map(\.item) == [.cgroupMemory, .cgroupSwap, .cgroupCPU])
        #expect(made.notices.allSatisfy { $0.waived })
        #expect(made.substitutes.map(\.item) == [.cgroupPids])
    }

    @Test func strictRefusesOneMissingController() {
        #expect(throws: Problem.self) { try plan(request(.strict), offer(cgroup: [.cpu, .pids])) }
    }

    @Test func standardNamesWhatItLacks() throws {
        let made = try plan(request(.standard), offer(cgroup: nil))
        #expect(made.notices.map(\.item) == [.cgroupMemory, .cgroupSwap, .cgroupCPU])
        #expect(made.notices.allSatisfy { !$0.waived })
    }

    @Test func strictNeedsLandlock() throws {
        #expect(throws: Problem.self) { try plan(request(.strict), offer(landlock: nil)) }
        var waiving = request(.strict)
        waiving.waived = [.landlock]
        #expect(try plan(waiving, offer(landlock: nil)).landlockABI == nil)
    }

    @Test func namespacesCannotBeWaived() {
        var waiving = request(.strict)
        waiving.waived = [.userNamespace]
        #expect(throws: Problem.self) { try plan(waiving, offer()) }
    }

    @Test func whatIsRequiredAndMissingIsAnError() {
        var requiring = request(.minimal)
        requiring.required = [.landlock]
        #expect(throws: Problem.self) { try plan(requiring, offer()) }
    }

    @Test func subordinateIdsMustExist() {
        var asking = request(.standard)
        asking.userNamespace = .subordinate
        #expect(throws: Problem.self) { try plan(asking, offer(root: false)) }
    }

    @Test func aMapThatRootsMinimalLevelCannotHaveIsAnError() {
        var asking = request(.minimal)
        asking.userNamespace = .single
        #expect(throws: Problem.self) { try plan(asking, offer()) }
    }

    @Test func anOrdinaryUserIsOneIdInside() throws {
        let made = try plan(request(.strict), offer(root: false))
        #expect(made.identity?.uids == [IdentityRange(inside: 0, outside: 1000, count: 1)])
        #expect(made.identity?.deniesGroups == true)
    }

    /// CVE-2019-5736: a container with the caller's ids must not reach the caller's codex32.
    @Test func anOrdinaryUsersStandardContainerIsWalledFromCodex32() throws {
        let steps = try plan(request(.standard), offer(root: false)).stepTexts
        #expect(steps.contains("landlock enforce"))
    }

    @Test func everyStepHasAPurposeAndAText() throws {
        let made = try plan(request(.standard), offer())
        #expect(made.steps.allSatisfy { !$0.purpose.isEmpty })
        #expect(made.stepTexts.allSatisfy { !$0.isEmpty })
        #expect(made.document.text().contains("\"isolation\":\"standard\""))
    }
}

/// What a /dev is made with is one text, as every start has it; it must say what the lists say.
@Suite struct DefaultPathsTests {
    @Test func fixturesAreTheDevicesAndLinks() {
        let files = DefaultPaths.devices.map { "\($0.name)\0\0" }
        let links = DefaultPaths.deviceLinks.map { "\($0.name)\0\($0.target)\0" }
        #expect(DefaultPaths.fixtures == (files + links).joined() + "pts\0/\0" + DefaultPaths.sharedMemory)
    }
}
