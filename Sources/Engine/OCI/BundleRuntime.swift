public import LinuxKernel
public import OCISpec
internal import Sandbox

/// The verbs of an OCI runtime (runtime.md, "Operations") over one folder of states.
///
/// Each container has a folder with its state, a lock that every verb that changes something takes, and, until
/// `start`, the pipe on which its process waits. No process of codex32's stays.
public struct BundleRuntime: Sendable {
    public struct Creation: Sendable {
        public var bundle = ""
        public var pidFile: String?
        public var consoleSocket: String?
        public var keyring = true
        public var cgroups = true
        /// `--preserve-fds`.
        public var preserved = 0
        /// The cgroup is a scope of systemd's (`--systemd-cgroup`).
        public var systemd = false
        public init() {}
    }

    let root: String

    /// - Throws: where an ordinary user has no private folder; one in `/tmp` could be another's.
    public init(root: String?) throws(Problem) {
        if let root {
            self.root = root
        } else if Machine.isRoot && !Machine.isRootOfNamespace {
            self.root = "/run/codex32-oci"
        } else if let own = Machine.environment("XDG_RUNTIME_DIR"), own.hasPrefix("/") {
            self.root = own + "/codex32-oci"
        } else {
            throw Problem("no folder for states", "XDG_RUNTIME_DIR is not set", hint: "--root chooses one")
        }
    }

    // MARK: create

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
        spec.process.environment += preserved.environment
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
        let hasCgroup = state.cgroup != nil || state.scope != nil
        if hasCgroup { state.devices = try BundleRuntime.digest(spec.linux.resources) }
        state.tightening = try BundleTightening(spec, usual: BundleRuntime.usualLevel, abi: Machine.landlockABI)
        let plan = try BundlePlan(
            spec, bundle: bundle, rights: .effective, cgroups: hasCgroup, isMoved: state.scope != nil,
            keyring: creation.keyring, preserved: preserved.count, hookStates: state.hookStates,
            tightening: state.tightening)
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
        var state = state
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
        do throws(Problem) {
            let child = try BundleRuntime.clone(input, sources, group)
            do throws(Problem) {
                if let identity = plan.identity { try Start.map(child, identity) }
                if let scope = state.scope {
                    let path = try BundleScope.start(scope, around: child.pid, state.id, spec.linux.resources)
                    state.cgroup = path
                    group = try explaining(what) { () throws(KernelError) in try Cgroup(existing: path) }
                }
                try Start.tell { () throws(KernelError) in try child.go() }
                let terminal = try BundleRuntime.converse(child, bundle, &state, spec, creation, folder, group)
                _ = consume lock
                return Exec(child: child, terminal: terminal)
            } catch {
                child.kill()
                throw error
            }
        } catch {
            try? BundleScope.remove(state, what)
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
                return try Child.launch(input, sources: sources.numbers, cgroup: folder)
            case .none: return try Child.launch(input, sources: sources.numbers, cgroup: nil)
            }
        } catch { throw Start.unborn(error) }
    }

    /// Answers the child until it waits for `start` and needs this process no longer.
    private static func converse(
        _ child: borrowing Child, _ bundle: BundlePlan, _ state: inout BundleState, _ spec: RuntimeSpec,
        _ creation: Creation, _ folder: borrowing Descriptor, _ cgroup: borrowing Cgroup?
    ) throws(Problem) -> Descriptor? {
        let plan = bundle.plan
        var terminal: Descriptor?
        let what = "cannot make the container \(state.id)"
        while true {
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
            case .ready: try BundleHooks.create(spec.hooks, state, pid: child.pid)
            case .held:
                // Not before: its own device nodes are made by now, and nothing of the container's has run.
                switch cgroup {
                case .some(let group): try BundleCgroup.attach(bundle, to: group)
                case .none: break
                }
                state.process = ProcessIdentity(of: child.pid)
                let text = state.json.text()
                try explaining(what) { () throws(KernelError) in
                    try folder.replace(BundleState.file, with: text, durable: false)
                }
                if let file = creation.pidFile { try write(child.pid, to: file) }
            case .finished:
                guard state.process?.isAlive ?? false else { throw Problem(what, "its process has ended") }
                return terminal
            case .entered: break
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
            try Descriptor.open(folder, [.read, .folder]).replace(name, with: String(pid), mode: 0o644, durable: false)
        }
    }

    private static func split(_ path: String) -> (folder: String, name: String) {
        guard let slash = path.lastIndex(of: "/") else { return (".", path) }
        return (slash == path.startIndex ? "/" : String(path[..<slash]), String(path[path.index(after: slash)...]))
    }

    /// With its text: the bundle's file may be another one later.
    private static func spec(in bundle: String) throws(Problem) -> (RuntimeSpec, [UInt8]) {
        let path = "\(bundle)/config.json"
        let bytes = try explaining("cannot read \(path)") { () throws(KernelError) in
            // Regular, before it is read: a pipe would never end.
            let file = try Descriptor.open(path, [.read, .nonblocking])
            guard try file.status().kind == .file else { throw KernelError("open", path, number: Errno.invalid) }
            return try file.readAll(limit: 16 << 20)
        }
        do { return (try RuntimeSpec(try JSONReader.read(bytes)), bytes) } catch {
            throw Problem("cannot use \(path)", error.description)
        }
    }

    /// 1 to 255 of the characters that runc takes: a name is a folder's name too.
    private static func check(_ id: String) throws(Problem) {
        let isGood = id.utf8.allSatisfy {
            switch $0 {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2e, 0x5f, 0x2b, 0x2d: true
            default: false
            }
        }
        guard isGood, (1...255).contains(id.utf8.count), id != ".", id != ".." else {
            throw Problem("cannot use the id \(id)", "an id is of letters, digits and _+-. , at most 255")
        }
    }

    // MARK: the others

    func open(_ id: String) throws(Problem) -> Descriptor {
        try BundleRuntime.check(id)
        do throws(KernelError) { return try Descriptor.open("\(root)/\(id)", [.read, .folder, .noFollow]) } catch {
            throw Problem(
                "no container \(id)", error.number == Errno.missing ? "container does not exist" : error.reason)
        }
    }

    static func lock(_ folder: borrowing Descriptor, _ what: String) throws(Problem) -> Descriptor {
        try explaining(what) { () throws(KernelError) in
            let file = try folder.open("lock", [.readWrite, .create, .noFollow])
            _ = try file.takeLock(wait: true)
            return file
        }
    }

    static func load(_ id: String, _ folder: borrowing Descriptor) throws(Problem) -> (
        BundleState, BundleState.Status
    ) {
        let text = try explaining("cannot read the state of \(id)") { () throws(KernelError) in
            try folder.contents(of: BundleState.file)
        }
        do {
            let state = try BundleState(text)
            // Whoever wrote to the pipe may have been killed before it took the name away: what counts is whether
            // its process still has it open (fifo(7): ENXIO without a reader).
            return (
                state,
                state.status(waits: (try? folder.open(BundleState.pipe, [.write, .nonblocking, .noFollow])) != nil)
            )
        } catch { throw Problem("cannot read the state of \(id)", error.description) }
    }

    public func state(_ id: String) throws(Problem) -> JSON {
        let folder = try open(id)
        let (state, status) = try BundleRuntime.load(id, folder)
        return state.shown(status)
    }

    /// All of them; one whose state cannot be read is left out, as it may be going away.
    public func list() throws(Problem) -> [JSON] {
        guard Descriptor.exists(root) else { return [] }
        let names = try explaining("cannot read \(root)") { () throws(KernelError) in
            try Descriptor.open(root, [.read, .folder]).entries()
        }
        return names.sorted().compactMap { try? state($0) }
    }

    /// Lets the process go. Of two callers one wins: the pipe is gone for the second.
    public func start(_ id: String) throws(Problem) {
        let folder = try open(id)
        let what = "cannot start \(id)"
        let lock = try BundleRuntime.lock(folder, what)
        let (state, status) = try BundleRuntime.load(id, folder)
        guard status == .created else {
            throw Problem(what, "the container is \(status.rawValue), and only a created one can be started")
        }
        let outcome = try explaining(what) { () throws(KernelError) in
            let outcome = try folder.open(BundleState.outcome, [.read, .nonblocking, .noFollow])
            try folder.open(BundleState.pipe, [.write, .nonblocking, .noFollow]).write("g")
            try folder.remove(BundleState.pipe)
            return outcome
        }
        try BundleHooks.started(outcome, state, folder)
        _ = consume lock
    }

    public func kill(_ id: String, signal: Int32, all: Bool) throws(Problem) {
        let folder = try open(id)
        let (state, status) = try BundleRuntime.load(id, folder)
        guard status != .creating, status != .stopped, let process = state.process?.open() else {
            throw Problem("cannot signal \(id)", "container not running")
        }
        if all, signal != Signal.kill || !BundleProcesses.endWithFirst(state) {
            return try BundleProcesses.signal(state, signal)
        }
        if all, let path = state.cgroup, let group = try? Cgroup(existing: path) { group.kill() }
        // Pid 1 of its namespace takes all others with it (pid_namespaces(7)).
        do throws(KernelError) { try process.signal(signal) } catch {
            throw Problem(
                "cannot signal \(id)", error.number == Errno.noProcess ? "container not running" : error.reason)
        }
    }

    /// Leaves nothing. With `force` a process that is still there is ended first, and what is not there is no error.
    ///
    /// Returns what went wrong with hooks, which undoes nothing.
    @discardableResult
    public func delete(_ id: String, force: Bool) throws(Problem) -> [Problem] {
        if force, Descriptor.isMissing("\(root)/\(id)") {
            try BundleRuntime.check(id)
            return []
        }
        var hooks: (SpecHooks, BundleState)?
        let folder = try open(id)
        let what = "cannot delete \(id)"
        let lock = try BundleRuntime.lock(folder, what)
        // A create that was killed before it had written anything left a folder without a state.
        if let (state, status) = force ? try? BundleRuntime.load(id, folder) : try BundleRuntime.load(id, folder) {
            if status != .stopped, !force {
                throw Problem(
                    what, "the container is \(status.rawValue), and only a stopped one can be deleted",
                    hint: "codex32 oci delete --force \(id)")
            }
            if let process = state.process?.open() {
                try explaining(what) { () throws(KernelError) in try process.signal(Signal.kill) }
                guard process.waitReadable(milliseconds: 10_000) else {
                    throw Problem(what, "its process does not end")
                }
            }
            try BundleScope.remove(state, what)
            if state.hasPoststop { hooks = (try BundleRuntime.configuration(id, folder).hooks, state) }
        }
        try explaining(what) { () throws(KernelError) in
            try Descriptor.open(root, [.read, .folder]).removeTree(id)
        }
        _ = consume lock
        return hooks.map { BundleHooks.poststop($0, $1) } ?? []
    }
}

/// What the parent opens for a bundle's child.
private struct BundleSources: ~Copyable {
    private(set) var numbers: [Slot: Int32] = [:]

    init(_ bundle: BundlePlan) throws(Problem) {
        do {
            for clone in bundle.clones {
                numbers[clone.slot] = try BundleSources.clone(clone).release()
            }
            for space in bundle.joined {
                let opened = try explaining("cannot open the namespace \(space.path)") { () throws(KernelError) in
                    try Descriptor.open(space.path, [.read, .nonblocking])
                }
                numbers[space.slot] = opened.release()
            }
        } catch {
            for number in numbers.values { _ = Descriptor(owning: number) }
            throw error
        }
    }

    private static func clone(_ clone: BundleClone) throws(Problem) -> Descriptor {
        let bind = clone.bind
        let tree = try explaining("cannot use \(clone.path)") { () throws(KernelError) in
            let tree = try Descriptor.open(clone.path, [.pathOnly])
                .cloneMount(recursive: bind.recursive, keepsPeers: bind.keepsPeers)
            if !bind.attributes.isEmpty { try tree.setMountAttributes(bind.attributes, recursive: false) }
            if !bind.recursiveSet.isEmpty || !bind.recursiveClear.isEmpty {
                try tree.setMountAttributes(bind.recursiveSet, clear: bind.recursiveClear, recursive: true)
            }
            if let kind = bind.propagation, kind.value != .isPrivate {
                try tree.setPropagation(kind.value, recursive: kind.recursive)
            }
            return tree
        }
        guard let owners = bind.owners else { return tree }
        let mapping = try MappingNamespace(owners)
        try explaining("cannot map the owners of \(clone.path)", hint: "not every file system can (mount_setattr(2))") {
            () throws(KernelError) in
            try Descriptor.mapOwners(ofMount: tree.number, by: mapping.namespace, recursive: bind.ownersRecursive)
        }
        return tree
    }

    mutating func take(_ descriptor: consuming Descriptor, in slot: Slot) { numbers[slot] = descriptor.release() }

    deinit { for number in numbers.values { _ = Descriptor(owning: number) } }
}
