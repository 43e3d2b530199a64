public import LinuxKernel
internal import OCISpec

extension BundleRuntime {
    /// The processes of a container, by their number outside.
    public func processes(_ id: String) throws(Problem) -> [ContainerProcessLine] {
        let (state, status) = try BundleRuntime.load(id, try open(id))
        guard status != .stopped, status != .creating, let first = state.process else {
            throw Problem("cannot show the processes of \(id)", "container not running")
        }
        let members = try BundleProcesses.members(state)
        return ContainerProcesses(first).lines(of: members)
    }

    /// Makes a container and starts its program. In the foreground this process serves its terminal, passes signals
    /// on, and leaves nothing of it.
    ///
    /// Returns the program's exit status, 128+n for a signal; 0 as soon as it has begun when it is detached.
    public func run(_ id: String, _ creation: Creation, detach: Bool) throws(Problem) -> Int32 {
        if detach {
            try create(id, creation)
            do throws(Problem) { try start(id) } catch {
                _ = try? delete(id, force: true)
                throw error
            }
            return 0
        }
        let exec = try make(id, creation, foreground: true)
        do throws(Problem) {
            // Before the program is there: from here on no signal ends this process without it.
            var session = try ExecSession()
            try start(id)
            let hasTerminal =
                switch exec.terminal {
                case .some: true
                case .none: false
                }
            let status = try session.foreground(exec, terminal: hasTerminal)
            try delete(id, force: true)
            return status
        } catch {
            exec.child.kill()
            _ = try? delete(id, force: true)
            throw error
        }
    }
}

/// Who is in a container of a bundle's.
enum BundleProcesses {
    /// By its cgroup, with those below it, where it has one; else those of its pid namespace.
    static func members(_ state: BundleState) throws(Problem) -> Set<Int32> {
        if let path = state.cgroup, let group = try? Descriptor.open(path, [.read, .folder, .noFollow]) {
            return members(of: group, depth: 0)
        }
        guard let first = state.process else { return [] }
        let found = ProcessSnapshot().members(of: first.pid)
        guard !found.isEmpty else {
            throw Problem(
                "cannot know the processes of \(state.id)",
                "it has neither a cgroup nor a pid namespace of its own that this user may look at")
        }
        return Set(found.map(\.pid))
    }

    /// Whether all others end with its first process (pid_namespaces(7)).
    static func endWithFirst(_ state: BundleState) -> Bool {
        guard let first = state.process else { return false }
        return (try? ProcessStatus(pid: first.pid))?.isFirstOfNamespace ?? false
    }

    /// A program that may make cgroups can nest them deeper than anybody needs.
    private static func members(of group: borrowing Descriptor, depth: Int) -> Set<Int32> {
        let text = (try? group.contents(of: "cgroup.procs", limit: 8 << 20)) ?? ""
        var found = Set(text.split(separator: "\n").compactMap { Int32($0) })
        guard depth < 64 else { return found }
        for name in (try? group.entries()) ?? [] {
            guard let below = try? group.open(name, [.read, .folder, .noFollow]) else { continue }
            found.formUnion(members(of: below, depth: depth + 1))
        }
        return found
    }

    /// Sends a signal to each of them. SIGKILL is sent until there is none: they may be making others meanwhile.
    static func signal(_ state: BundleState, _ number: Int32) throws(Problem) {
        for _ in 0..<(number == Signal.kill ? 100 : 1) {
            // Held first, then looked for again: a number of the second look is the process that is held, unless that
            // has ended, and then nothing is sent.
            var held: [(pid: Int32, process: Owned<Descriptor>)] = []
            for pid in try members(state) {
                if let process = ProcessIdentity(of: pid)?.open() { held.append((pid, Owned(process))) }
            }
            if held.isEmpty { return }
            let still = try members(state)
            for (pid, process) in held where still.contains(pid) {
                do throws(KernelError) { try process.value.signal(number) } catch {
                    guard error.number == Errno.noProcess else { throw Problem("cannot signal \(state.id)", error) }
                }
            }
            if number == Signal.kill {
                for (_, process) in held { _ = process.value.waitReadable(milliseconds: 1000) }
                guard state.process?.isAlive ?? false else { return }
            }
        }
    }
}
