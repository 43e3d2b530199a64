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
        /// The level of a bundle that names none; nil: as the caller's environment says.
        public var isolation: String?
        public init() {}
    }

    let root: String

    /// Compiled lists of system calls: the callers give each container the same, and to compile Docker's takes libseccomp
    /// several times as long as all the rest of `create`. No id has an @.
    var filters: SeccompCache { SeccompCache(folder: root + "/@filters") }

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

    /// 1 to 255 of the characters that runc takes: a name is a folder's name too.
    static func check(_ id: String) throws(Problem) {
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
        if Descriptor.isMissing(root) { return [] }
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
            // Its cgroup may have ended it a moment ago: that is what was asked for.
            if all, error.number == Errno.noProcess { return }
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
            try state.resctrl?.remove(what)
            try state.shared?.detach(what)
            if state.hasPoststop { hooks = (try BundleRuntime.configuration(id, folder).hooks, state) }
        }
        try explaining(what) { () throws(KernelError) in
            try Descriptor.open(root, [.read, .folder]).removeTree(id)
        }
        _ = consume lock
        return hooks.map { BundleHooks.poststop($0, $1) } ?? []
    }
}
