internal import Images
public import LinuxKernel
internal import OCISpec
public import Sandbox

/// `codex32 run`: one program in a sandbox, in the foreground, from nothing to its verdict.
public enum Run {
    /// The plan that a run would carry out, with nothing done.
    public static func plan(_ configuration: RunConfiguration) throws(Problem) -> LaunchPlan {
        var configuration = configuration
        configuration.request.volumes += try OwnVolumes.planned(configuration)
        if let (path, target) = configuration.workspace {
            configuration.request.workspace = try Workspace.planned(path, target, configuration.storage)
        }
        let prepared = try Preparation.request(configuration) { _ in }
        let offer = try Self.offer(for: prepared.request)
        return try Planner.plan(
            prepared.request, offer: offer, cache: SeccompCache(folder: nil),
            layer: try planned(prepared.request, configuration.storage),
            identityBase: ContainerID.identityBase("0"))
    }

    /// The layer of a plan that nothing comes of; nil: an overlay's, which is nowhere yet.
    private static func planned(_ request: SandboxRequest, _ storage: Storage) throws(Problem) -> WritableLayer? {
        if let disk = try LayerDisk.planned(request, storage) { return disk }
        guard try LayerCopy.reason(request, storage) != nil else { return nil }
        let place = try explaining("cannot plan a copy") { () throws(KernelError) in
            HostPath("\(storage.layers)/ID", try Descriptor.status(ofPath: "/"))
        }
        return WritableLayer(place, tree: place, isCopy: true)
    }

    /// Runs the program and returns codex32's own exit status.
    ///
    /// - Throws: what kept it from starting; nothing is left then.
    public static func run(_ configuration: RunConfiguration, report: (String) -> Void) throws(Problem) -> Int32 {
        try run(configuration, observer: nil, taking: nil, report: report)
    }

    /// The program's layer, at its end: the folder with `upper` in it, and how the sandbox was made.
    typealias LayerTaker = (_ layer: HostPath, _ plan: LaunchPlan, _ request: SandboxRequest) throws(Problem) -> Void

    /// - Parameters:
    ///   - observer: sees every call of the program's (`learn`).
    ///   - taker: looks at what it wrote, where it ended well, before that is gone (`image build`).
    static func run(
        _ configuration: RunConfiguration, observer: RunObserver? = nil, taking taker: LayerTaker? = nil,
        report: (String) -> Void
    ) throws(Problem) -> Int32 {
        // Nobody of the same user may look into codex32 while it sets up (ptrace(2), "dumpable").
        Machine.setDumpable(false)
        let outputs = try ResultFiles(configuration)
        let (id, started) = (ContainerID.make(), Clock.realtime)
        do { return try carryOut(configuration, id: id, started: started, outputs, observer, taker, report) } catch {
            // Whoever waits for the verdict learns of this end too; the reason itself goes to the caller.
            let verdict = Verdict.notStarted(
                id: id, name: configuration.name, tried: started, isolation: configuration.request.level.rawValue)
            try? outputs.write(verdict: verdict.document)
            guard error.hint == nil, Machine.isRootOfNamespace else { throw error }
            throw Problem(
                error.what, error.why,
                hint: "codex32 is root only of a user namespace here: run it outside, or as another user of it",
                status: error.status)
        }
    }

    private static func carryOut(
        _ configuration: RunConfiguration, id: String, started: Int64, _ outputs: borrowing ResultFiles,
        _ observer: RunObserver?, _ taker: LayerTaker?, _ report: (String) -> Void
    ) throws(Problem) -> Int32 {
        var configuration = configuration
        let imageHold = try configuration.image.hold(data: configuration.storage.data)
        defer { withExtendedLifetime(imageHold) {} }
        // What is owned outside of the program's own processes is written down before it is made. Where
        // there is nothing, the entry waits until the child is busy with its mounts. It goes last, and stays where
        // anything does: the next sweep finds by it what this run could not take away, or did not live to.
        var entry: RunningEntry?
        var remains = RunRemains(id: id)
        defer {
            if !remains.tell(report) { remove(entry) }
        }
        let volumes = OwnVolumes(id: id, storage: configuration.storage)
        let own = configuration.ownVolumes.count
        defer {
            if own > 0 { remains.take { () throws(Problem) in try volumes.remove() } }
        }
        configuration.request.volumes += try volumes.make(configuration.ownVolumes)
        let held = try volumes.hold(own)
        defer { withExtendedLifetime(held) {} }
        var workspace: Workspace?
        if let asked = configuration.workspace {
            workspace = try Workspace.make(id: id, asked.path, configuration.storage, started: started)
        }
        defer { settle(workspace, configuration.quiet, report) }
        configuration.request.workspace = try workspace?.mount(at: configuration.workspace?.target ?? "/workspace")
        var (request, image) = try Preparation.request(configuration) { if !configuration.quiet { report($0) } }
        request.observer = observer?.filter
        request.hold = configuration.receiptFile != nil || !request.required.isEmpty
        let offer = try offer(for: request)
        try protectProgram(request, offer)
        let base = ContainerID.identityBase(id)
        let newborn = Newborn.bear(request, offer: offer, identityBase: base)

        let beginning = Record(id: id, configuration: configuration, image: image, started: started)
        if configuration.name != nil || own > 0 || needsLayer(request) {
            entry = try RunningEntry(
                id: id, name: configuration.name, storage: configuration.storage, record: beginning.document)
        }
        let layer = try needsLayer(request) ? Layer(id: id, storage: configuration.storage, for: request.root) : nil
        defer { remains.take { () throws(Problem) in try remove(layer) } }
        var plan = try Planner.plan(
            request, offer: offer, cache: SeccompCache(folder: configuration.storage.seccompCache),
            layer: writable(layer), identityBase: base)
        if plan.storageKind == .copy, !configuration.quiet,
            let note = try LayerCopy.note(request, configuration.storage)
        {
            report(note)
        }
        try give(layer, plan, request.root)
        try volumes.give(configuration.ownVolumes, request.root, to: plan)
        try workspace?.give(to: plan)

        if plan.cgroup != nil {
            let record = beginning.described(plan)
            if entry == nil {
                entry = try RunningEntry(id: id, name: nil, storage: configuration.storage, record: record.document)
            } else {
                try entry?.replace(record.document)
            }
        }
        let cgroup = try makeCgroup(id, plan)
        defer { remains.take { () throws(Problem) in try take(cgroup) } }
        let streams = try Streams(
            interactive: configuration.interactive || !request.terminal,
            limited: configuration.outputLimit != nil && !request.terminal, output: configuration.output)
        try Supervision.holdSignals()
        var watch: Supervision?
        var (record, told) = (beginning, 0)
        let began = Clock.monotonic
        let running = try Start.launch(
            &plan, id: id, streams: Start.Streams(standard: streams.standard), cgroup: cgroup,
            receipt: request.hold, newborn: newborn, observer: observer
        ) { pid, plan throws(Problem) in
            // Now, while the child is busy. The program waits for it, and does not run where it fails.
            Machine.forgetProgram()
            watch = try Supervision(configuration, plan)
            if !configuration.quiet { warn(plan.notices, report) }
            told = plan.notices.count
            record = beginning.described(plan)
            record.pid = pid
            if entry == nil {
                entry = try RunningEntry(id: id, name: nil, storage: configuration.storage, record: record.document)
            } else {
                try? entry?.replace(record.document)
            }
        }
        // For whoever runs another program in it, which none does before this one is told to have begun. Here, while it
        // comes to itself, nobody waits for it.
        record.keep(configuration)
        try? entry?.replace(record.document)
        begun(entry)
        let terminalState = request.terminal && configuration.interactive ? RawTerminal(.input) : nil
        _ = streams.closeChildEnds()
        if !configuration.quiet { warn(Array(plan.notices[told...]), report) }
        if let receipt = running.receipt {
            // Without the receipt that was asked for, the program does not go on either.
            do throws(Problem) {
                try outputs.write(receipt: receipt.document(pid: running.child.pid, notices: plan.notices))
            } catch {
                running.child.kill()
                throw error
            }
        }
        Sweep.run(configuration.storage, except: id)

        guard var supervision = watch.take() else { throw Problem("cannot watch the program", "nothing does") }
        try explain(&supervision, running.listener, plan)
        supervision.observer = observer
        let end = try supervise(&supervision, running.child, running.terminal, streams.pipes, cgroup)
        _ = consume terminalState
        supervision.tellLoss()
        var verdict = judge(
            end, supervision.ending, supervision.carriedOut, cgroup, configuration, id: id, started: started,
            wall: Clock.monotonic - began)
        if request.explains {
            let (entries, others) = (supervision.denials?.entries ?? [], supervision.denials?.others ?? 0)
            let denied =
                Denial.all(entries, others: others, request, plan.capabilities)
                + Denial.limits(verdict)
            verdict.denied = denied
            if !configuration.quiet { for each in denied { report(each.line) } }
        }
        observer?.end(verdict, plan, wasAsked: supervision.wantsEnd)
        if let taker, verdict.status == 0, let layer = writable(layer) { try taker(layer.folder, plan, request) }
        try outputs.write(verdict: verdict.document)
        return verdict.status
    }

    /// Hands the filter's listener over, where there is one.
    private static func explain(
        _ supervision: inout Supervision, _ listener: borrowing Descriptor?, _ plan: LaunchPlan
    ) throws(Problem) {
        switch listener {
        case .some(let told):
            for case .seccompToldOf(let program) in plan.steps {
                let own = try explaining("cannot watch the filter") { () throws(KernelError) in try told.duplicate() }
                supervision.denials = Denials(SeccompListener(own, of: program))
            }
        case .none: break
        }
    }

    private static func supervise(
        _ supervision: inout Supervision, _ child: borrowing Child, _ terminal: borrowing Descriptor?,
        _ pipes: [(read: Int32, to: StandardStream)], _ cgroup: borrowing Cgroup?
    ) throws(Problem) -> ProcessEnd {
        do { return try supervision.run(child, terminal: terminal, pipes: pipes, cgroup: cgroup) } catch {
            child.kill()
            throw error
        }
    }

    static func offer(for request: SandboxRequest) throws(Problem) -> Offer {
        try Offer.current(cgroup: needsCgroup(request), subordinateIDs: Planner.needsSubordinateIDs(request))
    }

    /// A cgroup is looked for when a limit is asked for, or is the level's default.
    static func needsCgroup(_ request: SandboxRequest) -> Bool {
        request.level != .minimal || !request.limits.controllers.isEmpty
    }

    /// A container that could write to codex32's own program file could rewrite it through
    /// `/proc/self/exe` (CVE-2019-5736). Where Landlock does not keep it from that, codex32 runs again
    /// from where nobody can write. Nothing has been made by then: there is nothing to clear away.
    static func protectProgram(_ request: SandboxRequest, _ offer: Offer) throws(Problem) {
        guard Planner.exposesProgram(request, offer: offer) else { return }
        let hint = "install codex32 as root: sudo make install"
        Child.endEarly()
        try explaining("cannot protect codex32 from this container", hint: hint) { () throws(KernelError) in
            // Root of a user namespace may be allowed no mount; a copy in memory anybody may make.
            if Machine.isRoot, (try? Machine.runFromReadOnlyMount()) != nil { return }
            try Machine.runFromSealedCopy()
        }
    }

    static func warn(_ notices: [Notice], _ report: (String) -> Void) {
        var reasons: [(why: String, hint: String?, items: [String])] = []
        for notice in notices {
            if let index = reasons.firstIndex(where: { $0.why == notice.why }) {
                reasons[index].items.append(notice.item.name)
            } else {
                reasons.append((notice.why, notice.hint, [notice.item.name]))
            }
        }
        for reason in reasons {
            // Nearly every start of an ordinary user's tells something, and joined(separator:) asks the runtime for
            // conformances, which searches all there are in the program.
            var items = ""
            for item in reason.items { items += items.isEmpty ? item : ", " + item }
            report("warning: not in force: \(items): \(reason.why)")
            if let hint = reason.hint, !hint.isEmpty, notices.contains(where: { !$0.waived }) {
                report("hint: \(hint)")
            }
        }
    }

    // MARK: What a run owns

    private static func needsLayer(_ request: SandboxRequest) -> Bool {
        // With a limit they are in memory.
        if request.storageLimit != nil { return false }
        return switch request.root {
        case .folder, .layers: !request.readOnly
        case .host, .assembled: false
        }
    }

    /// One that has no changes is nothing to look at; of others a person is told.
    private static func settle(_ workspace: Workspace?, _ quiet: Bool, _ report: (String) -> Void) {
        guard let workspace else { return }
        guard let changes = try? workspace.changes(), changes.isEmpty else {
            if !quiet {
                report(
                    "the workspace \(workspace.id) has changes: codex32 workspace diff, apply or discard \(workspace.id)"
                )
            }
            return
        }
        try? workspace.discard()
    }

    private static func writable(_ layer: borrowing Layer?) -> WritableLayer? {
        switch layer {
        case .some(let layer): WritableLayer(layer.host, tree: layer.copy, isCopy: layer.copy != nil)
        case .none: nil
        }
    }

    private static func remove(_ entry: borrowing RunningEntry?) {
        switch entry {
        case .some(let entry): entry.remove()
        case .none: break
        }
    }

    private static func begun(_ entry: borrowing RunningEntry?) {
        switch entry {
        case .some(let entry): entry.markBegun()
        case .none: break
        }
    }

    private static func give(_ layer: borrowing Layer?, _ plan: LaunchPlan, _ root: RootSource) throws(Problem) {
        switch layer {
        case .some(let layer): try layer.give(to: plan.identity, root)
        case .none: break
        }
    }

    private static func remove(_ layer: borrowing Layer?) throws(Problem) {
        switch layer {
        case .some(let layer): try layer.remove()
        case .none: break
        }
    }

    private static func take(_ cgroup: borrowing Cgroup?) throws(Problem) {
        guard clear(cgroup) else { throw Problem("cannot remove its cgroup", "its processes do not end after SIGKILL") }
    }

    static func makeCgroup(_ id: String, _ plan: LaunchPlan) throws(Problem) -> Cgroup? {
        guard let wanted = plan.cgroup else { return nil }
        let group = try explaining("cannot make a cgroup in \(wanted.place.path)") { () throws(KernelError) in
            try Cgroup(make: id, in: wanted.place.path)
        }
        do {
            for (_, file, value) in wanted.limits.files { try group.set(file, value) }
        } catch {
            _ = group.remove()
            throw Problem(
                "cannot set the limit \(error.subject ?? "")", error,
                hint: "the kernel did not take this value for \(error.subject ?? "it")")
        }
        return group
    }

    /// Ends what is in a cgroup, and removes it. False: it is still there, four seconds later.
    @discardableResult
    static func clear(_ cgroup: borrowing Cgroup?) -> Bool {
        switch cgroup {
        case .some(let group):
            group.kill()
            // What was killed leaves the cgroup a moment later.
            for attempt in 0..<400 {
                if group.remove() { return true }
                Clock.sleep(milliseconds: attempt < 20 ? 1 : 10)
            }
            return false
        case .none: return true
        }
    }

    // MARK: The verdict

    static func judge(
        _ end: ProcessEnd, _ ending: Verdict.Reason?, _ carriedOut: Int32?, _ cgroup: borrowing Cgroup?,
        _ configuration: RunConfiguration, id: String, started: Int64, wall: Int64
    ) -> Verdict {
        var verdict = Verdict(
            id: id, name: configuration.name, reason: .exited, exitCode: end.exitCode, signal: end.signal,
            wallSeconds: Double(wall) / 1e9, startedAt: started, finishedAt: Clock.realtime,
            isolation: configuration.request.level.rawValue)
        verdict.cpuUserSeconds = Double(end.userMicroseconds) / 1e6
        verdict.cpuSystemSeconds = Double(end.systemMicroseconds) / 1e6
        verdict.peakMemoryBytes = UInt64(end.peakBytes)
        switch cgroup {
        case .some(let group): measure(group, &verdict)
        case .none: break
        }
        if let carriedOut, end.signal == Signal.kill { verdict.signal = carriedOut }
        verdict.reason = reason(verdict, end, ending, carriedOut, configuration)
        return verdict
    }

    /// All of the container's processes, not only those that pid 1 waited for.
    private static func measure(_ group: borrowing Cgroup, _ verdict: inout Verdict) {
        if let user = group.number("cpu.stat", key: "user_usec"),
            let system = group.number("cpu.stat", key: "system_usec")
        {
            verdict.cpuUserSeconds = Double(user) / 1e6
            verdict.cpuSystemSeconds = Double(system) / 1e6
        }
        verdict.peakMemoryBytes = group.number("memory.peak")
        verdict.peakPids = group.number("pids.peak")
        verdict.oomKills = group.number("memory.events", key: "oom_kill")
        verdict.pidsLimitHits = group.number("pids.events", key: "max")
        verdict.ioReadBytes = group.ioTotal("rbytes")
        verdict.ioWriteBytes = group.ioTotal("wbytes")
    }

    private static func reason(
        _ verdict: Verdict, _ end: ProcessEnd, _ ending: Verdict.Reason?, _ carriedOut: Int32?,
        _ configuration: RunConfiguration
    ) -> Verdict.Reason {
        if let ending { return ending }
        guard let signal = verdict.signal else { return .exited }
        if signal == Signal.kill, let kills = verdict.oomKills, kills > 0 { return .oom }
        if let seconds = configuration.request.cpuSeconds, signal == Signal.kill || signal == Signal.cpuTime,
            // The kernel counts for the limit by ticks: on a busy machine it ends a program that used less.
            (verdict.cpuUserSeconds ?? 0) + (verdict.cpuSystemSeconds ?? 0) >= Double(seconds) * 0.7
        {
            return .cpuTime
        }
        // A signal that pid 1 itself got came from outside; one that its child got, from anywhere.
        return end.signal == Signal.kill && !end.isReported && carriedOut == nil ? .killed : .signaled
    }
}
