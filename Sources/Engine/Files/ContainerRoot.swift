internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// A container's root file system, open: the tree that its program sees, with all that is mounted in it.
///
/// Of a running container it is the program's own; of one that does not run it is brought up for as long as this
/// value lives, by the steps of a start up to the one before the program, and the container's lock is held so that
/// nobody starts it meanwhile. The process that stands for it dies with this one (PR_SET_PDEATHSIG), and with it all
/// that was mounted.
struct ContainerRoot: ~Copyable {
    /// O_PATH: only a place to walk from, by openat2(2) with RESOLVE_IN_ROOT.
    let root: Descriptor
    /// The user namespace of the container; nil: it has the machine's own.
    let namespace: Owned<Descriptor>?
    let isRunning: Bool
    private let held: HeldRoot?

    private init(
        root: consuming Descriptor, namespace: Owned<Descriptor>?, isRunning: Bool, held: HeldRoot?
    ) {
        self.root = root
        self.namespace = namespace
        self.isRunning = isRunning
        self.held = held
    }

    /// - Parameter verb: for messages: "copy from", "export".
    static func open(
        _ containers: Containers, _ container: borrowing ContainerFolder, to verb: String
    ) throws(Problem) -> ContainerRoot {
        switch try containers.hold(container) {
        case .supervisor:
            let record = try container.written()
            guard let process = record.state.life?.process else {
                throw Problem(
                    "cannot \(verb) \(record.name)", "it is \(record.state.kind.rawValue)",
                    hint: "try again in a moment")
            }
            try refuseHost(record, verb)
            return try running(process, record, verb)
        case .mine(let lock):
            let record = try Recovery.mend(container, try container.written(), holding: lock)
            try refuseHost(record, verb)
            let held = try HeldRoot.bringUp(container, record, lock: lock)
            let root = try explaining("cannot \(verb) \(record.name)") { () throws(KernelError) in
                try held.root.value.duplicate()
            }
            return ContainerRoot(root: root, namespace: held.namespace, isRunning: false, held: held)
        }
    }

    /// By a folder of procfs that belongs to this very process: a number that is used again leads nowhere (ESRCH).
    private static func running(
        _ process: ProcessIdentity, _ record: ContainerRecord, _ verb: String
    ) throws(Problem) -> ContainerRoot {
        let gone = Problem(
            "cannot \(verb) \(record.name)", "it ended a moment ago", hint: "try again: its files are still there")
        guard let pidfd = process.open() else { throw gone }
        let opened: (root: Owned<Descriptor>, namespace: Owned<Descriptor>)
        do throws(KernelError) {
            let folder = try Descriptor.open("/proc/\(process.pid)", [.pathOnly, .folder])
            opened.root = Owned(try folder.open("root", [.pathOnly, .folder]))
            opened.namespace = Owned(try folder.open("ns/user", [.read]))
        } catch {
            if !process.isAlive { throw gone }
            throw Problem("cannot \(verb) \(record.name)", error)
        }
        // Held by pidfd all the while, so what was opened in between was this process's.
        guard process.isAlive else { throw gone }
        _ = consume pidfd
        let isOwn = (try? opened.namespace.value.status().inode) == Namespace.current(.user)
        let root = try explaining("cannot \(verb) \(record.name)") { () throws(KernelError) in
            try opened.root.value.duplicate()
        }
        return ContainerRoot(root: root, namespace: isOwn ? nil : opened.namespace, isRunning: true, held: nil)
    }

    /// At minimal a script runs on the machine's own tree: nothing of that is the container's.
    private static func refuseHost(_ record: ContainerRecord, _ verb: String) throws(Problem) {
        guard record.isolation == IsolationLevel.minimal.rawValue else { return }
        if record.image == "template:host" || (try? Descriptor.status(ofPath: record.image).kind) == .file {
            throw Problem(
                "cannot \(verb) \(record.name)", "at minimal it runs on the machine's own tree and has none of its own",
                hint: "its files are the machine's: use cp")
        }
    }
}

/// The root of a container that does not run, with the process that has it.
final class HeldRoot {
    let root: Owned<Descriptor>
    let namespace: Owned<Descriptor>?
    private let child: Child
    private let lock: ContainerLock

    private init(
        root: Owned<Descriptor>, namespace: Owned<Descriptor>?, child: consuming Child,
        lock: consuming ContainerLock
    ) {
        self.root = root
        self.namespace = namespace
        self.child = child
        self.lock = lock
    }

    deinit { child.kill() }

    static func bringUp(
        _ container: borrowing ContainerFolder, _ record: ContainerRecord, lock: consuming ContainerLock
    ) throws(Problem) -> HeldRoot {
        var plan = try prepare(container, record)
        let sources = try OpenedSources(plan)
        let null = try explaining("cannot open /dev/null") { () throws(KernelError) in
            try Descriptor.open("/dev/null", [.readWrite])
        }
        let input = LaunchInput(
            namespaces: plan.namespaces, steps: plan.steps, slotCount: plan.slotCount,
            standard: (null.number, null.number, null.number), terminal: false, candidates: plan.candidates,
            arguments: plan.arguments, environment: plan.environment)
        let what = "cannot bring up the root of \(record.name)"
        let child = try Start.bear(plan.identity) { () throws(Problem) in
            try explaining(what) { () throws(KernelError) in
                try Child.launch(input, sources: sources.numbers, cgroup: nil)
            }
        }
        var namespace: Owned<Descriptor>?
        let root: Owned<Descriptor>
        do {
            if plan.identity != nil {
                plan.notices += try sources.mapOwners(plan, child: child.pid)
                namespace = Owned(
                    try explaining(what) { () throws(KernelError) in
                        try Descriptor.open("/proc/\(child.pid)/ns/user", [.read])
                    })
            }
            try Start.tell { () throws(KernelError) in try child.go() }
            root = try receive(child, plan, what)
        } catch {
            child.kill()
            throw error
        }
        return HeldRoot(root: root, namespace: namespace, child: child, lock: lock)
    }

    /// The steps of a start that make its root, and the one that hands it out in the place of the rest.
    private static func prepare(
        _ container: borrowing ContainerFolder, _ record: ContainerRecord
    ) throws(Problem) -> LaunchPlan {
        let configuration: ContainerConfiguration
        do {
            configuration = try ContainerConfiguration(
                record.configuration, name: record.name, labels: record.labels, storage: container.storage)
        } catch {
            throw Problem(
                "cannot use \(record.name)", error.description, hint: "codex32 inspect \(record.name) shows its record")
        }
        // A look makes none.
        var run = configuration.run
        if let (_, target) = run.workspace, let workspace = try Workspace.kept(container.id, container.storage) {
            run.request.workspace = try workspace.mount(at: target)
        }
        var (request, _) = try Preparation.request(run) { _ in }
        guard !request.isKeptInMemory else {
            throw Problem(
                "cannot open the files of \(record.name)", "what it changes is in memory, and only while it runs",
                hint: "codex32 start \(record.name) first")
        }
        request.hold = true
        request.terminal = false
        // Nothing runs, so nothing has to be kept from it.
        request.waived = Item.waivable
        request.required = []
        let offer = try Offer.current(cgroup: false, subordinateIDs: Planner.needsSubordinateIDs(request))
        let layer = LayerStore(id: container.id, storage: container.storage)
        let kept = try layer.open(for: request)
        var plan = try Planner.plan(
            request, offer: offer, cache: SeccompCache(folder: nil), layer: kept,
            identityBase: ContainerID.identityBase(container.id))
        if let kept { try layer.give(kept, to: plan.identity, request.root) }
        var steps: [LaunchStep] = []
        for step in plan.steps {
            if case .hold = step { break }
            // A start makes the working folder; a look must not.
            if case .changeFolder = step { continue }
            if case .resourceLimit = step { continue }
            steps.append(step)
        }
        plan.steps = steps + [.lendRoot]
        return plan
    }

    private static func receive(
        _ child: borrowing Child, _ plan: LaunchPlan, _ what: String
    ) throws(Problem) -> Owned<Descriptor> {
        let message = try explaining(what) { () throws(KernelError) in try child.receive() }
        switch consume message {
        case .root(let root): return Owned(root)
        case .unborn(let error): throw Start.unborn(error)
        case .failed(let step, let error, let detail):
            throw LaunchFailure.problem(plan, step: step, error, detail: detail)
        default: throw Problem(what, "the process that was to hold it ended")
        }
    }
}
