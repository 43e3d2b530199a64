internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// The cgroup of a container by the systemd driver: a delegated scope, around the process that waits for its plan.
enum BundleScope {
    /// What `linux.cgroupsPath` names, in the form that runtimes have for systemd: SLICE:PREFIX:NAME, which is
    /// PREFIX-NAME.scope in SLICE. Without one it is codex32-ID.scope in the system's or the user's slice.
    static func unit(_ spec: SpecLinux, id: String) throws(Problem) -> ScopeUnit {
        guard !Descriptor.isMissing("/sys/fs/cgroup/cgroup.controllers") else {
            throw Problem(
                "cannot use --systemd-cgroup", "this machine mounts its cgroup controllers the v1 way, or none",
                hint: "boot with systemd.unified_cgroup_hierarchy=1")
        }
        let isMachine = Machine.isRoot && !Machine.isRootOfNamespace
        let text = spec.cgroupsPath ?? ":codex32:\(id)"
        let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 3, !parts[2].isEmpty else {
            throw wrong(text, "with --systemd-cgroup it must be SLICE:PREFIX:NAME")
        }
        let slice = parts[0].isEmpty ? (isMachine ? "system.slice" : "user.slice") : parts[0]
        let name = (parts[1].isEmpty ? parts[2] : "\(parts[1])-\(parts[2])") + ".scope"
        // Names of units (systemd.unit(5)): 255 characters of these.
        for unit in [slice, name] {
            let isGood = unit.utf8.allSatisfy {
                switch $0 {
                case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2e, 0x5f, 0x2d, 0x3a, 0x40, 0x5c: true
                default: false
                }
            }
            guard isGood, unit.utf8.count <= 255 else { throw wrong(text, "\(unit) is not a name of a unit") }
        }
        guard slice.hasSuffix(".slice"), slice.utf8.count > 6 else { throw wrong(text, "\(slice) is not a slice") }
        return ScopeUnit(name: name, slice: slice, manager: isMachine ? .system : .user)
    }

    private static func wrong(_ path: String, _ why: String) -> Problem {
        Problem("cannot use linux.cgroupsPath \(path)", why)
    }

    /// Makes the scope around the child, which does nothing yet, and sets its limits, each read back.
    /// - Returns: the host path of its cgroup.
    static func start(
        _ unit: ScopeUnit, around pid: Int32, _ id: String, _ resources: SpecResources
    ) throws(Problem) -> String {
        // Nothing is known of the cgroup's files before it is there.
        let limits: BundleLimits
        do throws(DocumentError) { limits = try BundleLimits(resources) { _ in nil } } catch {
            throw Problem("cannot use \(error.place)", error.why)
        }
        let path = try unit.start(pid, description: "codex32 container \(id)", ScopeUnit.properties(limits.settings))
        let group = try explaining("cannot use the scope \(unit.name)") { () throws(KernelError) in
            try Cgroup(existing: path)
        }
        try BundleCgroup.limit(group, resources)
        return path
    }

    /// Ends and removes whatever cgroup a container has, by its driver.
    ///
    /// A scope of which no cgroup is known was never this container's, or is empty since its `create` was killed:
    /// systemd forgets it by itself, and another one of that name is not touched.
    static func remove(_ state: BundleState, _ what: String) throws(Problem) {
        guard let path = state.cgroup else { return }
        if let unit = state.scope {
            if let group = try? Cgroup(existing: path) { group.kill() }
            try unit.stop()
        }
        try BundleCgroup.remove(path, what)
    }
}
