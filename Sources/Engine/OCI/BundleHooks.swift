internal import LinuxKernel
internal import OCISpec
internal import Sandbox

extension BundleState {
    /// The state as hooks get it, without the pid and what comes behind it.
    private func textBeforePid(_ status: Status) -> String {
        guard case .object(let members) = shown(status) else { return "" }
        return JSON.object(members.filter { $0.name != "pid" }).text().dropLast() + ",\"pid\":"
    }

    var hookStates: HookStates {
        HookStates(creating: textBeforePid(.creating), created: textBeforePid(.created))
    }

    fileprivate func run(
        _ kind: String, _ hooks: [SpecHooks.Hook], _ status: Status, pid: Int32
    ) throws(Problem) {
        let text = textBeforePid(status)
        for hook in hooks { try LaunchHook(kind, hook, text).run(pid: pid) }
    }
}

/// The hooks that this process runs, in its own namespaces (runtime.md, "Lifecycle"). What the process of the container
/// runs is in its plan.
enum BundleHooks {
    /// Its namespaces and mounts are there, its root is not yet entered. A failure ends it.
    static func create(_ hooks: SpecHooks, _ state: BundleState, pid: Int32) throws(Problem) {
        try state.run("prestart", hooks.prestart, .creating, pid: pid)
        try state.run("createRuntime", hooks.createRuntime, .creating, pid: pid)
    }

    /// Waits until the container's own hooks have run and its program has begun, then runs those that come after. A
    /// failure ends the container.
    static func started(
        _ outcome: borrowing Descriptor, _ state: BundleState, _ folder: borrowing Descriptor
    ) throws(Problem) {
        let what = "cannot start \(state.id)"
        let end = try explaining(what) { () throws(KernelError) in
            try outcome.setNonblocking(false)
            let end = try LaunchOutcome(on: outcome)
            try folder.remove(BundleState.outcome)
            return end
        }
        switch end {
        case .executed: break
        case .hookFailed(let error, let detail):
            throw Problem(
                "a startContainer hook of \(state.id) failed",
                !detail.isEmpty ? detail : error.number == Errno.loop ? LaunchFailure.circle : error.reason)
        case .notRun(let error):
            if error.number == Errno.loop {
                throw Problem(what, "its program: \(LaunchFailure.circle)", hint: LaunchFailure.circleHint)
            }
            throw Problem(
                what, "its program cannot be executed: \(error.reason)",
                hint: error.number == Errno.tooBig ? "arguments and environment have a limit: RLIMIT_STACK" : nil)
        case .failed(let error, _): throw Problem(what, error.reason)
        }
        guard state.hasPoststart else { return }
        let hooks = try BundleRuntime.configuration(state.id, folder).hooks
        do throws(Problem) {
            try state.run("poststart", hooks.poststart, .running, pid: state.process?.pid ?? 0)
        } catch {
            if let process = state.process?.open() {
                try? process.signal(Signal.kill)
                _ = process.waitReadable(milliseconds: 10_000)
            }
            throw error
        }
    }

    /// Each of them, whatever the others do; what failed is a warning.
    static func poststop(_ hooks: SpecHooks, _ state: BundleState) -> [Problem] {
        hooks.poststop.compactMap { hook in
            do throws(Problem) {
                try state.run("poststop", [hook], .stopped, pid: 0)
                return nil
            } catch { return error }
        }
    }
}
