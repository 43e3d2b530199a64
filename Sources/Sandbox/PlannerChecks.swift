internal import LinuxKernel

/// What was asked and would change nothing, or something else than the sandbox, is an error: an option
/// that is accepted is in force.
extension Planner {
    func checkEffects() throws(Problem) {
        if request.root == .host { try checkHostTree() }
        if let workspace = request.workspace, targets.contains(where: { $0 == workspace.target }) {
            throw Problem(
                "cannot mount the workspace at \(workspace.target)", "something else is mounted there",
                hint: "--workspace DIR:/ELSEWHERE")
        }
        if request.shmSize != nil, targets.contains("/dev/shm") {
            throw Problem(
                "cannot use --shm-size", "something else is mounted at /dev/shm", hint: "give that mount its size")
        }
        try checkStorage()
        for sysctl in request.sysctls { try check(sysctl: sysctl.name) }
        if let volume = request.volumes.first(where: { $0.mapOwners == true }), !parentOpensSources {
            throw Problem(
                "cannot map the owners of \(volume.source.path)",
                offer.isRoot ? "root's minimal level has no user namespace" : "only root may make id-mapped mounts",
                hint: "leave idmap away: files are seen with the owners they have")
        }
        if request.explains, isWaived(.seccomp) {
            throw Problem(
                "cannot use --explain",
                "--waive seccomp says that no filter is loaded, and its refusals are what is told",
                hint: "leave one of them out")
        }
        if isWaived(.seccomp), request.observer != nil || request.learned != nil {
            let what = request.learned.map { "use the profile \($0.name)" } ?? "learn"
            throw Problem(
                "cannot \(what)", "--waive seccomp says that no filter is loaded, and a profile is what is left of one",
                hint: "leave --waive seccomp out")
        }
        if request.observer != nil, request.explains {
            throw Problem(
                "cannot use --explain with learn", "a program has one listener", hint: "codex32 run --explain")
        }
        if let profile = request.seccompProfile, isWaived(.seccomp) {
            throw Problem(
                "cannot use the seccomp profile \(profile.name)", "--waive seccomp says that no filter is loaded",
                hint: "leave one of the two away")
        }
    }

    /// Why ``SandboxRequest/explains`` cannot be: what the child still calls behind its filter must be let through,
    /// for until the program runs nobody answers for it.
    func unexplained(_ program: SeccompProgram) -> String? {
        guard request.explains else { return nil }
        let why = "--explain needs sendmsg, close_range and execve, and with --init a level's own profile"
        guard program.notifying != nil, request.seccompProfile == nil || !request.reaper else { return why }
        let isLetThrough = ["sendmsg", "close_range", "execve"].allSatisfy { name in
            guard let call = SystemCallNumber(name: name) else { return false }
            return program.allows(
                SystemCallData(
                    number: call.number, architecture: SeccompBuilder.nativeArchitecture,
                    arguments: [UInt64](repeating: 0, count: 6)))
        }
        return isLetThrough ? nil : why
    }

    private func checkStorage() throws(Problem) {
        guard request.storageLimit != nil else { return }
        let why: String
        switch request.root {
        case .host: why = "at minimal a script runs on the machine's own tree"
        default:
            guard request.readOnly else { return }
            why = "the root cannot be written at all"
        }
        throw Problem("cannot use --storage-limit", why, hint: "leave it out")
    }

    /// What is in memory ends there first: the program would be killed where it should be told that the disk is full.
    mutating func chooseStorage() throws(Problem) {
        plan.storageLimit = request.storageLimit
        plan.storageKind = request.storageKind
        guard request.storageKind == .memory, let limit = request.storageLimit,
            let memory = plan.cgroup?.limits.memoryMax, memory != CgroupLimits.none, memory <= limit
        else { return }
        throw Problem(
            "cannot use --storage-limit", "its \(limit) bytes are in memory, of which the sandbox has \(memory)",
            hint: "-m with more than that, or a smaller --storage-limit")
    }

    private var targets: [String] { request.volumes.map(\.target) + request.temporary.map(\.target) }

    /// The host's own /dev is seen there, and nothing is laid over it.
    private func checkHostTree() throws(Problem) {
        let why = "at minimal a script runs on the machine's own tree, with the machine's own /dev"
        let hint = "choose --isolation standard, or an image folder"
        if request.shmSize != nil { throw Problem("cannot use --shm-size", why, hint: hint) }
        if request.workspace != nil { throw Problem("cannot use --workspace", why, hint: hint) }
        if let device = request.devices.first { throw Problem("cannot use --device \(device.path)", why, hint: hint) }
    }

    /// Where the namespace is the machine's, so is the value.
    private func check(sysctl name: String) throws(Problem) {
        let network = name.hasPrefix("net.")
        guard !plan.namespaces.contains(network ? .network : .ipc) else { return }
        let whose = network ? "network" : "IPC"
        throw Problem(
            "cannot use --sysctl \(name)",
            "this sandbox has the machine's own \(whose) namespace, and would change the machine",
            hint: network ? "--network none" : "choose --isolation standard or strict")
    }

    /// Adds a limit, or makes the one that was asked for smaller: the lower of two holds.
    mutating func limit(_ limit: ResourceLimit) {
        guard let index = plan.resourceLimits.lastIndex(where: { $0.resource == limit.resource }) else {
            plan.resourceLimits.append(limit)
            return
        }
        let asked = plan.resourceLimits[index]
        plan.resourceLimits[index] = ResourceLimit(
            resource: limit.resource, soft: min(asked.soft, limit.soft), hard: min(asked.hard, limit.hard))
    }
}
