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
        try change(id, what) { (_, status, group) throws(Problem) in
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
    /// - Parameter resources: an object as `linux.resources`. What it does not speak of stays as it is.
    public func update(_ id: String, _ resources: JSON) throws(Problem) {
        let what = "cannot update \(id)"
        let wanted: SpecResources
        do throws(DocumentError) { wanted = try SpecResources(try JSONObject(resources, at: "linux.resources")) } catch
        {
            throw Problem(what, error.description)
        }
        try change(id, what) { (state, status, group) throws(Problem) in
            guard status != .stopped, status != .creating else { throw Problem(what, "container not running") }
            // Callers send the rules that they began with; they cannot be exchanged, only added to.
            let rules = wanted.devices.isEmpty ? state.devices : try BundleRuntime.digest(wanted)
            guard rules == state.devices else {
                throw Problem(what, "linux.resources.devices: other rules for devices cannot be set while it runs")
            }
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
                    try? state.scope?.set(ScopeUnit.properties(former))
                    let lost = former.reversed().filter { (try? group.set($0)) == nil }.map(\.file)
                    throw Problem(
                        error.what, error.why,
                        hint: error.hint
                            ?? (lost.isEmpty
                                ? "the other limits stay as they were"
                                : "\(lost.joined(separator: ", ")) could not be put back"))
                }
                if let before { former.append(before) }
            }
        }
    }

    /// Says which rules for devices a container has.
    static func digest(_ resources: SpecResources) throws(Problem) -> String {
        let hash = try explaining("cannot use linux.resources.devices") { () throws(KernelError) in try SHA256() }
        hash.update(DeviceFilter(resources.deviceRules).instructions.withUnsafeBytes { Array($0) })
        return hash.finish()
    }

    private func change(
        _ id: String, _ what: String,
        _ body: (BundleState, BundleState.Status, borrowing Cgroup) throws(Problem) -> Void
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
        try body(state, status, group)
        _ = consume lock
    }
}
