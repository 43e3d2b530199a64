internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// A value with one owner, shared by reference.
final class Owned<Value: ~Copyable> {
    let value: Value
    init(_ value: consuming Value) { self.value = value }
}

/// A container's program from its start to its end, with all that the supervisor holds of it.
final class Program {
    let child: Child
    let cgroup: Cgroup?
    let identity: ProcessIdentity
    /// Nanoseconds since 1970, and of the monotonic clock.
    let startedAt: Int64
    let began: Int64
    /// The master of its terminal; nil: it has pipes.
    let terminal: Owned<Descriptor>?
    /// The read ends of its output, by stream; a closed one is taken out.
    var outputs: [(pipe: Owned<Descriptor>, stream: StandardStream)]
    /// The write end of its input, while it is open.
    var input: Owned<Descriptor>?
    let notices: [Notice]
    /// What its filter refuses, with `--explain`.
    let denials: ProgramDenials?
    var outputBytes: UInt64 = 0
    /// Where its output is kept safe, if it outlives this process; see ``OutputSpool``.
    var spool: OutputSpool?
    /// Another started it: how it ends is not told to this process.
    var isAdopted = false
    /// It was sent SIGKILL by this process, and the signal that asked for its end.
    private(set) var wasKilled = false
    var stopSignal: Int32?
    /// It was reaped: its number may be another process's by now.
    var hasEnded = false
    /// Why codex32 itself ended it, and the signal that it carried out where pid 1 would have ignored it.
    var ending: Verdict.Reason?
    var carriedOut: Int32?

    private init(
        _ started: consuming Start.Started, cgroup: consuming Cgroup?, identity: ProcessIdentity,
        outputs: [(Owned<Descriptor>, StandardStream)], input: Owned<Descriptor>?, plan: LaunchPlan
    ) {
        self.cgroup = cgroup
        self.identity = identity
        self.outputs = outputs
        self.input = input
        notices = plan.notices
        startedAt = Clock.realtime
        began = Clock.monotonic
        child = started.child
        switch consume started.terminal {
        case .some(let master): terminal = Owned(master)
        case .none: terminal = nil
        }
        switch consume started.listener {
        case .some(let listener): denials = ProgramDenials(listener, plan)
        case .none: denials = nil
        }
    }

    /// A program that runs already; see ``adopt(_:_:)``.
    init(
        adopting child: consuming Child, cgroup: consuming Cgroup?, life: ContainerState.Life, began: Int64,
        spool: OutputSpool
    ) {
        self.cgroup = cgroup
        self.child = child
        self.began = began
        self.spool = spool
        identity = life.process
        startedAt = life.startedAt
        outputs = spool.outputs
        outputBytes = spool.outputBytes
        isAdopted = true
        (terminal, input, notices, denials) = (nil, nil, [], nil)
    }

    /// Runs codex32 again from where this container cannot write to it, if it could here; see ``Run``.
    static func protect(_ configuration: RunConfiguration) throws(Problem) {
        var configuration = configuration
        configuration.request.volumes += try OwnVolumes.planned(configuration)
        let (request, _) = try Preparation.request(configuration) { _ in }
        try Run.protectProgram(request, try Offer.current(cgroup: false, subordinateIDs: false))
    }

    /// Starts a container's program.
    ///
    /// - Parameters:
    ///   - size: what its terminal begins with, if it has one.
    ///   - spool: makes the files for its output, if it is to outlive this process.
    ///   - prepared: told the cgroup's path before that is made, so that it can be written down.
    ///   - born: told the process's number while that waits, likewise.
    static func start(
        _ configuration: RunConfiguration, id: String, layer: LayerStore, size: TerminalSize?,
        spool: (() throws(Problem) -> OutputSpool)?, receipt: (JSON) throws(Problem) -> Void,
        prepared: (String?) throws(Problem) -> Void, born: (Int32) throws(Problem) -> Void
    ) throws(Problem) -> Program {
        var configuration = configuration
        let volumes = OwnVolumes(id: id, storage: configuration.storage)
        configuration.request.volumes += try volumes.make(configuration.ownVolumes)
        let workspace = try Workspace.keep(of: id, configuration)
        configuration.request.workspace = try workspace?.mount(at: configuration.workspace?.target ?? "/workspace")
        var (request, _) = try Preparation.request(configuration) { _ in }
        request.hold = true
        request.outlives = spool != nil
        let offer = try Run.offer(for: request)
        let kept = try layer.open(for: request)
        var plan = try Planner.plan(
            request, offer: offer, cache: SeccompCache(folder: configuration.storage.seccompCache), layer: kept,
            identityBase: ContainerID.identityBase(id))
        if let kept { try layer.give(kept, to: plan.identity, request.root) }
        try volumes.give(configuration.ownVolumes, request.root, to: plan)
        try workspace?.give(to: plan)
        try prepared(plan.cgroup.map { "\($0.place.path)/\(id)" })
        // What a killed supervisor left in this place is nobody's.
        if let place = plan.cgroup?.place.path { Cgroup.clear(id, in: place) }
        let cgroup = try Run.makeCgroup(id, plan)
        return try launch(
            &plan, id: id, configuration, cgroup: cgroup, size: size, spool: spool, receipt: receipt, born: born)
    }

    private static func launch(
        _ plan: inout LaunchPlan, id: String, _ configuration: RunConfiguration, cgroup: consuming Cgroup?,
        size: TerminalSize?, spool: (() throws(Problem) -> OutputSpool)?, receipt: (JSON) throws(Problem) -> Void,
        born: (Int32) throws(Problem) -> Void
    ) throws(Problem) -> Program {
        let streams: DetachedStreams
        let kept: OutputSpool?
        let started: Start.Started
        do {
            kept = try spool?()
            streams =
                if let kept { try DetachedStreams(kept, in: "\(configuration.storage.supervised)/\(id)") } else {
                    try DetachedStreams(terminal: plan.terminal, input: configuration.interactive)
                }
            started = try Start.launch(
                &plan, id: id, streams: Start.Streams(standard: streams.standard, size: size), cgroup: cgroup,
                receipt: true
            ) { pid, _ throws(Problem) in try born(pid) }
        } catch {
            Run.clear(cgroup)
            throw error
        }
        let pid = started.child.pid
        let identity: ProcessIdentity
        do throws(Problem) {
            try receipt(started.receipt?.document(pid: pid, notices: plan.notices) ?? .null)
            let found = try explaining("cannot watch the program") { () throws(KernelError) in
                try ProcessIdentity.find(pid)
            }
            // One that has ended already: its start time cannot be read any more, and nobody needs it.
            identity = found ?? ProcessIdentity(pid: pid, startTime: 0, boot: ProcessIdentity.currentBoot ?? "unknown")
        } catch {
            // Not to be found again, or without what says what is in force, it does not go on.
            started.child.kill()
            Run.clear(cgroup)
            throw error
        }
        let program = Program(
            started, cgroup: cgroup, identity: identity, outputs: streams.outputs, input: streams.input,
            plan: plan)
        program.spool = kept
        return program
    }

    /// Sends a signal as to any process; see ``Supervision``.
    func send(_ number: Int32, reaper: Bool) {
        if number == Signal.kill { return kill() }
        if child.deliver(number, reaper: reaper) { carriedOut = number }
    }

    /// Ends it whatever it does.
    func kill() { try? end() }

    /// As ``kill()``. One that has ended is no error.
    func end() throws(KernelError) {
        wasKilled = true
        do { try child.signal(Signal.kill) } catch {
            guard error.isAbsence else { throw error }
        }
    }
}

/// The streams of a program that nobody watches: pipes to the supervisor, and an input that is empty or the
/// supervisor's.
struct DetachedStreams {
    let standard: (Int32, Int32, Int32)
    let outputs: [(Owned<Descriptor>, StandardStream)]
    let input: Owned<Descriptor>?
    /// Closed with this value, once the program has its own copies.
    private let ends: [Owned<Descriptor>]

    init(terminal: Bool, input interactive: Bool) throws(Problem) {
        let what = "cannot set up the standard streams"
        let null = Owned(
            try explaining(what) { () throws(KernelError) in try Descriptor.open("/dev/null", [.readWrite]) })
        var ends = [null]
        if terminal {
            standard = (null.value.number, null.value.number, null.value.number)
            (outputs, input, self.ends) = ([], nil, ends)
            return
        }
        var outputs: [(Owned<Descriptor>, StandardStream)] = []
        for stream in [StandardStream.output, .error] {
            let pipe = try DetachedStreams.pipe(what)
            try explaining(what) { () throws(KernelError) in try pipe.read.value.setNonblocking(true) }
            outputs.append((pipe.read, stream))
            ends.append(pipe.write)
        }
        var source = null.value.number
        var input: Owned<Descriptor>?
        if interactive {
            let pipe = try DetachedStreams.pipe(what)
            try explaining(what) { () throws(KernelError) in try pipe.write.value.setNonblocking(true) }
            source = pipe.read.value.number
            ends.append(pipe.read)
            input = pipe.write
        }
        standard = (source, ends[1].value.number, ends[2].value.number)
        self.outputs = outputs
        self.input = input
        self.ends = ends
    }

    /// Those of a program that outlives its supervisor.
    init(_ spool: OutputSpool, in path: String) throws(Problem) {
        let (null, ends) = try explaining("cannot set up the standard streams") {
            () throws(KernelError) -> (Owned<Descriptor>, [Owned<Descriptor>]) in
            (Owned(try Descriptor.open("/dev/null", [.readWrite])), try spool.programEnds(in: path))
        }
        standard = (null.value.number, ends[0].value.number, ends[1].value.number)
        (outputs, input) = (spool.outputs, nil)
        self.ends = [null] + ends
    }

    private static func pipe(_ what: String) throws(Problem) -> (read: Owned<Descriptor>, write: Owned<Descriptor>) {
        let ends = try explaining(what) { () throws(KernelError) in try Descriptor.pipe() }
        return (Owned(Descriptor(owning: ends.read)), Owned(Descriptor(owning: ends.write)))
    }
}
