public import LinuxKernel
public import OCISpec
internal import Sandbox

/// The verbs that change a container which is there: `pause`, `resume` and `update`. All of them need its cgroup.
extension BundleRuntime {
    /// The longest that the kernel may take to stop all processes: one that waits for a disk cannot be stopped.
    private static let patience = 10_000

    /// Stops all of its processes, or lets them go on (cgroup.freeze, Linux 5.2).
    public func pause(_ id: String, _ on: Bool) throws(Problem) {
        let what = on ? "cannot pause \(id)" : "cannot resume \(id)"
        try change(id, what) { (_, status, group, _) throws(Problem) in
            guard status == (on ? .running : .paused) else {
                throw Problem(
                    what,
                    status == .stopped
                        ? "container not running"
                        : "the container is \(status.rawValue), not \(on ? "running" : "paused")")
            }
            try explaining(what) { () throws(KernelError) in
                try group.freeze(on, milliseconds: BundleRuntime.patience)
            }
        }
    }

    /// Sets other limits while it runs: all of them, or none.
    ///
    /// - Parameter resources: an object as `linux.resources`. What it does not speak of stays as it is; rules for devices
    ///   take the place of all that there are.
    public func update(_ id: String, _ resources: JSON) throws(Problem) {
        let what = "cannot update \(id)"
        let wanted: SpecResources
        do throws(DocumentError) { wanted = try SpecResources(try JSONObject(resources, at: "linux.resources")) } catch
        {
            throw Problem(what, error.description)
        }
        try change(id, what) { (state, status, group, folder) throws(Problem) in
            guard status != .stopped, status != .creating else { throw Problem(what, "container not running") }
            let limits = try BundleCgroup.limits(wanted, group)
            if let most = limits.mostInUse, let used = group.number("memory.current"), used > most {
                throw Problem(
                    what, "linux.resources.memory.limit: \(used) bytes are in use, which is more than \(most)")
            }
            // systemd first: it knows the limits too, and what it is not told it would set back one day.
            try state.scope?.set(ScopeUnit.properties(limits.settings))
            var former: [CgroupSetting] = []
            for setting in limits.settings where !(setting.limitsNothing && !group.has(setting.file)) {
                let before = try? group.former(setting)
                do throws(Problem) { try BundleCgroup.set(setting, group) } catch {
                    throw BundleRuntime.putBack(former, group, state, error)
                }
                if let before { former.append(before) }
            }
            do throws(Problem) { try BundleRuntime.exchange(wanted, group, state, folder) } catch {
                throw BundleRuntime.putBack(former, group, state, error)
            }
        }
    }

    /// The same, with other shares of the processor's caches for its own group.
    ///
    /// - Parameter schemata: lines as of `linux.intelRdt`.
    public func update(_ id: String, _ resources: JSON?, schemata: [String]) throws(Problem) {
        guard !schemata.isEmpty else {
            return try resources.map { (limits) throws(Problem) in try update(id, limits) } ?? ()
        }
        let what = "cannot update \(id)"
        let (state, status) = try BundleRuntime.load(id, try open(id))
        guard status != .stopped, status != .creating else { throw Problem(what, "container not running") }
        guard let group = state.resctrl, group.isOwn else {
            throw Problem(
                what, "the container has no resctrl group of its own", hint: "create it with linux.intelRdt.schemata")
        }
        let former = try group.schemata()
        do throws(Problem) {
            try group.set(schemata)
            if let resources { try update(id, resources) }
        } catch {
            guard (try? group.set(former)) != nil else {
                throw Problem(error.what, error.why, hint: "\(group.path)/schemata could not be put back")
            }
            throw error
        }
    }

    private static func putBack(
        _ former: [CgroupSetting], _ group: borrowing Cgroup, _ state: BundleState, _ problem: Problem
    ) -> Problem {
        try? state.scope?.set(ScopeUnit.properties(former))
        var lost: [String] = []
        for setting in former.reversed() where (try? group.set(setting)) == nil { lost.append(setting.file) }
        return Problem(
            problem.what, problem.why,
            hint: problem.hint
                ?? (lost.isEmpty
                    ? "the other limits stay as they were" : "\(lost.joined(separator: ", ")) could not be put back"))
    }

    /// Puts other rules for devices in the place of those that it has; nothing is said by none.
    private static func exchange(
        _ wanted: SpecResources, _ group: borrowing Cgroup, _ state: BundleState, _ folder: borrowing Descriptor
    ) throws(Problem) {
        guard !wanted.devices.isEmpty else { return }
        let what = "cannot use linux.resources.devices"
        let isFirst = try digest(wanted) == state.devices
        if !isFirst, state.devices != nil {
            // Before: whatever happens from here on, nobody takes the first rules for those in force.
            var changed = state
            changed.devices = nil
            let text = changed.json.text()
            try explaining(what) { () throws(KernelError) in
                try folder.replace(BundleState.file, with: text, durable: false)
            }
        }
        do throws(KernelError) { try group.attach(DeviceFilter(wanted.deviceRules), replacing: true) } catch {
            // Callers send the rules that they began with beside every limit: a container that could do without a filter
            // from the start has them.
            guard isFirst, error.number == Errno.permission || error.number == Errno.missing else {
                throw Problem(
                    what, error.number == Errno.missing ? "the container has no filter for devices" : error.description,
                    hint: "it takes CAP_SYS_ADMIN outside of user namespaces, here and when it was made")
            }
        }
    }

    /// Says which rules for devices a container was made with.
    static func digest(_ resources: SpecResources) throws(Problem) -> String {
        let hash = try explaining("cannot use linux.resources.devices") { () throws(KernelError) in try SHA256() }
        hash.update(DeviceFilter(resources.deviceRules).instructions.withUnsafeBytes { Array($0) })
        return hash.finish()
    }

    private func change(
        _ id: String, _ what: String,
        _ body: (BundleState, BundleState.Status, borrowing Cgroup, borrowing Descriptor) throws(Problem) -> Void
    ) throws(Problem) {
        let folder = try open(id)
        let lock = try BundleRuntime.lock(folder, what)
        let (state, status) = try BundleRuntime.load(id, folder)
        guard let path = state.cgroup else {
            throw Problem(
                what, "the container has no cgroup of its own",
                hint: "create it with cgroup v2 there, and not with --cgroup-manager disabled")
        }
        // Gone with the container, where the caller cleared up itself.
        guard status != .stopped else { throw Problem(what, "container not running") }
        let group = try explaining(what) { () throws(KernelError) in try Cgroup(existing: path) }
        try body(state, status, group, folder)
        _ = consume lock
    }
}
