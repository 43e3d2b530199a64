public import LinuxKernel
internal import OCISpec

/// The last steps of a bundle's plan: who the program is and what it may do (config.md, "Process").
extension BundlePlan {
    mutating func programSteps(keyring: Bool) throws(Problem) {
        let process = spec.process
        plan.arguments = process.arguments
        plan.environment = process.environment
        let program = process.arguments[0]
        let path = process.environment.last { $0.hasPrefix("PATH=") }?.dropFirst(5) ?? ""
        plan.candidates =
            program.utf8.contains(0x2f) ? [program] : path.split(separator: ":").map { "\($0)/\(program)" }

        for limit in process.limits {
            guard limit.type.hasPrefix("RLIMIT_"),
                let number = ResourceLimit.number(limit.type.dropFirst(7).lowercased())
            else { throw BundlePlan.wrong("process.rlimits", "\(limit.type) is not known") }
            plan.steps.append(.resourceLimit(number, soft: limit.soft, hard: limit.hard))
        }
        plan.steps += try tuningSteps()
        // After what it asks of the scheduler, which may take what these take away.
        plan.steps += quotaLimits()
        plan.steps.append(.umask(process.umask ?? 0o022))
        plan.steps.append(.changeFolder(process.folder, make: true))
        if keyring { plan.steps.append(.sessionKeyring) }
        let wall = wallSteps()

        let sets = try sets()
        let filter = try filter(sets.effective)
        // Without no_new_privs a filter takes CAP_SYS_ADMIN, which the program may not have: it is then loaded
        // before the ids and capabilities change. Otherwise it comes last, so that it must allow nothing of ours.
        if let filter, !process.noNewPrivileges { plan.steps += [.closeOthers, .seccomp(filter)] }
        plan.steps.append(.boundingSet(try set("bounding")))
        if let map = plan.identity {
            guard map.hostUID(process.uid) != nil, map.hostGID(process.gid) != nil else {
                throw BundlePlan.wrong("process.user", "\(process.uid):\(process.gid) is not in the maps")
            }
        }
        let denied = plan.identity?.deniesGroups ?? false
        if denied, !process.groups.isEmpty {
            throw BundlePlan.wrong("process.user.additionalGids", "this user namespace has no such groups")
        }
        plan.steps.append(.identity(uid: process.uid, gid: process.gid, groups: denied ? nil : process.groups))
        plan.steps.append(.capabilitySets(sets))
        if process.noNewPrivileges { plan.steps.append(.noNewPrivileges) }
        if let wall { plan.steps.append(.landlockEnforce(wall)) }
        plan.steps.append(.awaitStart(pipe, outcome: outcome))
        plan.steps += hookSteps("startContainer", spec.hooks.startContainer, hookStates.created)
        // This one knows seccomp(2), which the other need not.
        if let filter = try strictFilter() { plan.steps.append(.seccomp(filter)) }
        if let filter, process.noNewPrivileges { plan.steps += [.closeOthers, .seccomp(filter)] }
        plan.steps.append(.execute)
    }

    /// What no program of the container's can ever have more than.
    public func bounding() throws(Problem) -> CapabilitySet { try set("bounding") }

    func set(_ name: String) throws(Problem) -> CapabilitySet {
        var set: CapabilitySet = []
        for text in spec.process.capabilities[name] ?? [] {
            guard let one = CapabilitySet(name: text), CapabilitySet.all.isSuperset(of: one) else {
                throw BundlePlan.wrong("process.capabilities.\(name)", "\(text) is not a capability of this kernel")
            }
            set.formUnion(one)
        }
        return set
    }

    private func sets() throws(Problem) -> CapabilitySets {
        let sets = CapabilitySets(
            permitted: try set("permitted"), effective: try set("effective"), inheritable: try set("inheritable"),
            ambient: try set("ambient"))
        guard sets.permitted.isSuperset(of: sets.effective),
            sets.permitted.intersection(sets.inheritable).isSuperset(of: sets.ambient)
        else { throw BundlePlan.wrong("process.capabilities", "the effective or ambient set has more than it may") }
        return sets
    }

    private func filter(_ capabilities: CapabilitySet) throws(Problem) -> SeccompProgram? {
        guard let profile = spec.linux.seccomp else { return nil }
        guard let kernel = KernelVersion(Machine.kernelRelease) else {
            throw Problem("cannot use linux.seccomp", "this kernel's version is not understood")
        }
        do {
            return try filters.program(
                profile, text: spec.linux.seccompText,
                for: .init(capabilities: capabilities, architecture: Machine.architecture, kernel: kernel))
        } catch { throw Problem("cannot use linux.seccomp", error.description, hint: error.hint) }
    }
}
