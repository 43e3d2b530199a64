public import LinuxKernel
public import OCISpec
internal import Sandbox

extension BundleRuntime {
    /// The level of bundles that say nothing of it: what `run` takes from the same variables.
    static var usualLevel: String? {
        Machine.environment("CODEX32_ISOLATION_LEVEL") ?? Machine.environment("CONTAINER_ISOLATION_LEVEL")
    }

    /// What is in force for a container's process, read back now (design.md, "receipt").
    public func receipt(_ id: String) throws(Problem) -> JSON {
        let folder = try open(id)
        let (state, status) = try BundleRuntime.load(id, folder)
        let what = "cannot read what is in force for \(id)"
        guard status != .creating, status != .stopped, let identity = state.process,
            let process = ContainerProcess(identity)
        else { throw Problem(what, "container not running") }
        var plan = LaunchPlan(level: .strict)
        plan.landlockABI = state.tightening?.landlockABI
        var notices: [Notice] = []
        if state.tightening != nil {
            let others = try explaining(what) { () throws(KernelError) in try process.otherNamespaces() }
            if !others.contains(.user) {
                notices.append(
                    Notice(.userNamespace, "the bundle asks for none", hint: "podman run --userns=auto", waived: false))
            }
            if state.cgroup == nil {
                notices.append(Notice(.cgroup, "the container has none of its own", hint: nil, waived: false))
            }
            if plan.landlockABI == nil { notices.append(Notice(.landlock, "it was waived", hint: nil, waived: true)) }
        }
        var group: Cgroup?
        if let path = state.cgroup { group = try? Cgroup(existing: path) }
        var receipt = Receipt(plan: plan, id: id)
        try explaining(what) { () throws(KernelError) in
            try receipt.readHeld(pid: identity.pid, namespaces: process.namespaces, cgroup: group)
        }
        var document = receipt.document(pid: identity.pid, notices: notices)
            .replacing("isolation", JSON.text(state.tightening == nil ? nil : "strict"))
        if let path = state.cgroup { document = document.replacing("cgroup", receipt.cgroup(at: path)) }
        // All of it was its own, and not another's that has its number by now.
        guard identity.isAlive else { throw Problem(what, "container not running") }
        return document
    }
}
