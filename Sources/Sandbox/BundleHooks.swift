public import LinuxKernel
public import OCISpec

/// What a container's hooks get on their standard input, up to the pid, which comes last: see ``LaunchHook``.
public struct HookStates: Sendable {
    public var creating = ""
    public var created = ""

    public init(creating: String = "", created: String = "") {
        self.creating = creating
        self.created = created
    }
}

extension LaunchHook {
    public init(_ kind: String, _ hook: SpecHooks.Hook, _ state: String) {
        self.init(
            kind: kind, path: hook.path, arguments: hook.arguments, environment: hook.environment,
            seconds: hook.seconds ?? 0, stateBeforePid: state)
    }
}

/// The hooks that the container's process runs itself, in its namespaces (config.md, "POSIX-platform Hooks").
extension BundlePlan {
    func hookSteps(_ kind: String, _ hooks: [SpecHooks.Hook], _ state: String) -> [LaunchStep] {
        hooks.map { .hook(LaunchHook(kind, $0, state)) }
    }

    /// Those of `create`: first the runtime's own, for which the process waits, then those in the container's
    /// namespaces, whose paths are still the host's. All mounts are made, and pivot_root(2) comes next.
    mutating func hookSteps() throws(Problem) {
        guard spec.hooks.isInCreate || spec.hooks.isAtStart else { return }
        // Each of them gets a copy.
        guard hookStates.created.utf8.count < 1 << 20 else {
            throw BundlePlan.wrong("annotations", "are too long for hooks to be told of")
        }
        if !(spec.hooks.prestart.isEmpty && spec.hooks.createRuntime.isEmpty) { plan.steps.append(.ready) }
        plan.steps += hookSteps("createContainer", spec.hooks.createContainer, hookStates.creating)
    }
}
