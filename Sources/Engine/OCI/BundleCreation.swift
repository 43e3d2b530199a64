public import LinuxKernel
internal import OCISpec
internal import Sandbox

/// `create`: from a bundle to a process that has done everything but execve(2).
extension BundleRuntime {
    /// Makes the container; its process has done everything but execve(2).
    public func create(_ id: String, _ creation: Creation) throws(Problem) { _ = try make(id, creation) }

    /// The same, with its process as this one's child.
    /// - Parameter foreground: its terminal is this process's to serve, where no socket was named.
    func make(_ id: String, _ creation: Creation, foreground: Bool = false) throws(Problem) -> Exec {
        try BundleRuntime.check(id)
        let preserved = try PreservedDescriptors(asked: creation.preserved, activated: true)
        try BundleRuntime.protectProgram()
        let bundle = creation.bundle.hasPrefix("/") ? creation.bundle : "\(Machine.workingFolder)/\(creation.bundle)"
        var (spec, text) = try BundleRuntime.spec(in: bundle)
        // Each part needs a few pages of the program, and the largest of them counts: see ``Machine/forgetProgram()``.
        Machine.forgetProgram()
        spec.process.environment += preserved.environment
        if spec.process.home == nil { spec.process.environment.append(BundleHome.variable(spec, bundle: bundle)) }
        if spec.process.terminal != (creation.consoleSocket != nil), !(foreground && spec.process.terminal) {
            throw Problem(
                "cannot make the terminal",
                spec.process.terminal ? "--console-socket is missing" : "--console-socket without process.terminal",
                hint: "process.terminal and --console-socket go together")
        }
        var state = BundleState(spec: spec, id: id, bundle: bundle)
        if creation.systemd {
            state.scope = try BundleScope.unit(spec.linux, id: id)
        } else if creation.cgroups {
            state.cgroup = try BundleCgroup.path(spec.linux, id: id)
        }
        state.resctrl = try ResctrlGroup(spec.linux.resctrl, id: id)
        if Machine.isRoot { state.streams = BundleStreams.own }
        let hasCgroup = state.cgroup != nil || state.scope != nil
        if hasCgroup { state.devices = try BundleRuntime.digest(spec.linux.resources) }
        state.tightening = try BundleTightening(
            spec, usual: creation.isolation ?? BundleRuntime.usualLevel, abi: Machine.landlockABI)
        Machine.forgetProgram()
        let plan = try BundlePlan(
            spec, bundle: bundle, rights: .effective, cgroups: hasCgroup, isMoved: state.scope != nil,
            keyring: creation.keyring, preserved: preserved.count, hookStates: state.hookStates,
            tightening: state.tightening, filters: filters)
        let states = try explaining("cannot use \(root)") { () throws(KernelError) in try makeFolders(root) }
        do throws(KernelError) { try states.makeFolder(id) } catch {
            guard error.number == Errno.exists else { throw Problem("cannot make the container \(id)", error) }
            throw Problem("cannot make the container \(id)", "container with id exists already: \(id)")
        }
        do throws(Problem) {
            let folder = try explaining("cannot make the container \(id)") { () throws(KernelError) in
                try states.open(id, [.read, .folder, .noFollow])
            }
            try explaining("cannot make the container \(id)") { () throws(KernelError) in
                try folder.open(BundleState.configuration, [.write, .create, .exclusive]).write(bytes: text)
            }
            return try launch(plan, state, spec, creation, folder)
        } catch {
            // Mounts that cannot be taken away, as somebody's lie on top of them, keep their owner.
            do throws(Problem) { try plan.shared?.detach("cannot take its mounts away") } catch let left {
                throw Problem(
                    error.what, "\(error.why); \(left.what): \(left.why)", hint: "codex32 oci delete --force \(id)")
            }
            try? states.removeTree(id)
            // A hook that fails ends the container, and its life goes on as after any end (runtime.md, "Lifecycle").
            if spec.hooks.isInCreate { _ = BundleHooks.poststop(spec.hooks, state) }
            throw error
        }
    }

    private func launch(
        _ bundle: BundlePlan, _ state: BundleState, _ spec: RuntimeSpec, _ creation: Creation,
        _ folder: borrowing Descriptor
    ) throws(Problem) -> Exec {
        Machine.forgetProgram()
        var state = state
        state.shared = bundle.shared
        let what = "cannot make the container \(state.id)"
        var sources = try BundleSources(bundle)
        let lock = try BundleRuntime.lock(folder, what)
        try explaining(what) { () throws(KernelError) in
            try folder.replace(BundleState.file, with: state.json.text(), durable: false)
            try folder.makePipe(BundleState.pipe)
            sources.take(try folder.open(BundleState.pipe, [.readWrite, .noFollow]), in: bundle.pipe)
            try folder.makePipe(BundleState.outcome)
            sources.take(try folder.open(BundleState.outcome, [.readWrite, .noFollow]), in: bundle.outcome)
        }
        let plan = bundle.plan
        let input = LaunchInput(
            namespaces: plan.namespaces, steps: plan.steps, slotCount: plan.slotCount, standard: (0, 1, 2),
            terminal: plan.terminal, candidates: plan.candidates, arguments: plan.arguments,
            environment: plan.environment)
        try BundleRuntime.adjustOOMScore(spec.process)
        Machine.setDumpable(true)  // As in ``Start``: its maps could not be written else.
        // The state names it already: whoever deletes what a killed `create` left finds it.
        var group: Cgroup?
        if let path = state.cgroup { group = try BundleCgroup.make(path, spec.linux.resources) }
        var hasShare = false
        do throws(Problem) {
            try state.resctrl?.make(spec.linux.resctrl?.schemata ?? [])
            hasShare = true
            var child = try BundleRuntime.clone(input, sources, group)
            do throws(Problem) {
                if let identity = plan.identity, !bundle.joinsUser { try Start.map(child, identity) }
                if let scope = state.scope {
                    let path = try BundleScope.start(scope, around: child.pid, state.id, spec.linux.resources)
                    state.cgroup = path
                    group = try explaining(what) { () throws(KernelError) in try Cgroup(existing: path) }
                }
                try state.resctrl?.join(child.pid)
                try Start.tell { () throws(KernelError) in try child.go() }
                let terminal = try BundleRuntime.converse(&child, bundle, &state, spec, creation, folder, group)
                _ = consume lock
                return Exec(child: child, terminal: terminal)
            } catch {
                child.kill()
                throw error
            }
        } catch {
            try? BundleScope.remove(state, what)
            if hasShare { try? state.resctrl?.remove(what) }
            throw error
        }
    }

    private static func clone(
        _ input: LaunchInput, _ sources: borrowing BundleSources, _ cgroup: borrowing Cgroup?
    ) throws(Problem) -> Child {
        do throws(KernelError) {
            switch cgroup {
            case .some(let group):
                let folder: Descriptor? = try group.folder.duplicate()
                return try sources.born { () throws(KernelError) in
                    try Child.launch(input, sources: sources.numbers, cgroup: folder)
                }
            case .none:
                return try sources.born { () throws(KernelError) in
                    try Child.launch(input, sources: sources.numbers, cgroup: nil)
                }
            }
        } catch { throw Start.unborn(error) }
    }

    /// Answers the child until it waits for `start` and needs this process no longer.
    private static func converse(
        _ child: inout Child, _ bundle: BundlePlan, _ state: inout BundleState, _ spec: RuntimeSpec,
        _ creation: Creation, _ folder: borrowing Descriptor, _ cgroup: borrowing Cgroup?
    ) throws(Problem) -> Descriptor? {
        let plan = bundle.plan
        var terminal: Descriptor?
        let what = "cannot make the container \(state.id)"
        while true {
            // While the child is busy, so that nobody waits for it.
            Machine.forgetProgram()
            let message = try explaining(what) { () throws(KernelError) in try child.receive() }
            switch consume message {
            case .failed(let step, let error, let detail): throw failure(plan, step, error, detail)
            case .unborn(let error): throw Start.unborn(error)
            case .terminal(let master):
                if let socket = creation.consoleSocket {
                    try hand(master, to: socket, spec.process.consoleSize)
                } else {
                    size(master, spec.process.consoleSize)
                    terminal = consume master
                }
            case .network(let namespace):
                let devices = spec.linux.networkDevices.map { NetworkDevice($0.name, target: $0.target) }
                try NetworkDevice.move(devices, to: namespace)
            case .ready: try BundleHooks.create(spec.hooks, state, pid: child.pid)
            case .held:
                // Not before: its own device nodes are made by now, and nothing of the container's has run.
                switch cgroup {
                case .some(let group): try BundleCgroup.attach(bundle, to: group)
                case .none: break
                }
                state.process = ProcessIdentity(of: child.pid)
                Machine.forgetProgram()
                let text = state.json.text()
                try explaining(what) { () throws(KernelError) in
                    try folder.replace(BundleState.file, with: text, durable: false)
                }
                if let file = creation.pidFile {
                    Machine.forgetProgram()
                    try write(child.pid, to: file)
                }
            case .finished:
                guard state.process?.isAlive ?? false else { throw Problem(what, "its process has ended") }
                return terminal
            case .entered(let pid, let pidfd):
                do throws(KernelError) { try child.become(pid: pid, pidfd) } catch { throw Problem(what, error) }
            case .listener: break
            case .root: break
            }
            try explaining(what) { () throws(KernelError) in try child.go() }
        }
    }

    /// The callers know some failures by their words.
    static func failure(_ plan: LaunchPlan, _ step: Int?, _ error: KernelError, _ detail: String) -> Problem {
        guard let step, plan.steps.indices.contains(step) else {
            return LaunchFailure.problem(plan, step: step, error, detail: detail)
        }
        if case .hook = plan.steps[step] {
            return Problem(plan.steps[step].purpose, detail.isEmpty ? error.reason : detail)
        }
        guard case .awaitStart = plan.steps[step] else {
            return LaunchFailure.problem(plan, step: step, error, detail: detail)
        }
        return notRun(plan, error) ?? LaunchFailure.problem(plan, step: step, error, detail: detail)
    }

    static func notRun(_ plan: LaunchPlan, _ error: KernelError) -> Problem? {
        let program = plan.arguments[0]
        switch error.number {
        case Errno.missing:
            return Problem(
                "cannot run \(program)",
                program.utf8.contains(0x2f)
                    ? "no such file or directory" : "executable file not found in $PATH: no such file or directory",
                status: 127)
        case Errno.denied: return Problem("cannot run \(program)", "permission denied", status: 126)
        case Errno.loop:
            return Problem("cannot run \(program)", LaunchFailure.circle, hint: LaunchFailure.circleHint, status: 126)
        default: return nil
        }
    }

    /// Of a terminal that this process serves.
    static func size(_ master: borrowing Descriptor, _ given: (rows: UInt16, columns: UInt16)?) {
        if let given {
            TerminalSize(rows: given.rows, columns: given.columns).apply(to: master)
        } else {
            StandardStream.input.copySize(to: master)
        }
    }

    static func hand(
        _ master: consuming Descriptor, to path: String, _ given: (rows: UInt16, columns: UInt16)?
    ) throws(Problem) {
        if let given { TerminalSize(rows: given.rows, columns: given.columns).apply(to: master) }
        let (folder, name) = split(path)
        try explaining("cannot use the console socket \(path)") { () throws(KernelError) in
            try Descriptor.open(folder, [.pathOnly, .folder]).sendConsole(master, to: name)
        }
    }

    /// Whole before anybody sees it: the callers read it when `create` ends, and some before.
    static func write(_ pid: Int32, to path: String) throws(Problem) {
        let (folder, name) = split(path)
        try explaining("cannot write \(path)") { () throws(KernelError) in
            try Descriptor.open(folder, [.read, .folder]).put(name, with: String(pid), mode: 0o644, durable: false)
        }
    }

    private static func split(_ path: String) -> (folder: String, name: String) {
        guard let slash = path.lastIndex(of: "/") else { return (".", path) }
        return (slash == path.startIndex ? "/" : String(path[..<slash]), String(path[path.index(after: slash)...]))
    }

    /// With its text: the bundle's file may be another one later.
    static func spec(in bundle: String) throws(Problem) -> (RuntimeSpec, [UInt8]) {
        let path = "\(bundle)/config.json"
        let bytes: [UInt8]
        do throws(KernelError) {
            // Regular, before it is read: a pipe would never end.
            let file = try Descriptor.open(path, [.read, .nonblocking])
            guard try file.status().kind == .file else { throw KernelError("open", path, number: Errno.invalid) }
            bytes = try file.readAll(limit: 16 << 20)
        } catch {
            guard error.number == Errno.tooBig else { throw Problem("cannot read \(path)", error) }
            throw Problem("cannot use \(path)", "it has more than 16 MiB")
        }
        do {
            let document = try JSONReader.read(bytes)
            Machine.forgetProgram()
            return (try RuntimeSpec(document), bytes)
        } catch {
            throw Problem("cannot use \(path)", error.description)
        }
    }
}
