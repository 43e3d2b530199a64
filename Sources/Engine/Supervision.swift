internal import LinuxKernel
internal import Sandbox

/// Watches over one program from execve to its end: signals, time, output, the terminal.
struct Supervision: ~Copyable {
    private enum Token: UInt64 {
        case process = 1
        case signals, wall, stop, cpu, terminal, input, output, error, outputRoom, errorRoom, denied
    }

    /// One stream on its way through codex32.
    private struct Flow: ~Copyable {
        let outlet: Outlet
        /// What the caller has not taken yet. While there is any, no more is read from the program: it
        /// waits for its reader as it would in a pipe, and codex32 goes on watching time and signals.
        var backlog: ArraySlice<UInt8> = []
        var isWaiting = false
        private(set) var loss = OutputLoss()

        init(outlet: consuming Outlet) { self.outlet = outlet }

        /// Writes what the caller takes now; returns whether that was all.
        mutating func flush() -> Bool {
            if loss.isComplete { backlog = [] }
            if backlog.isEmpty { return true }
            do throws(KernelError) { backlog = try outlet.write(backlog) } catch {
                loss.note(error)
                backlog = []
            }
            return backlog.isEmpty
        }
    }

    /// What the filter refuses, with `--explain`.
    var denials: Denials?
    /// Everything that the program calls, with `learn`.
    var observer: RunObserver?
    private let configuration: RunConfiguration
    private let plan: LaunchPlan
    private let events: EventQueue
    private let signals: SignalQueue
    private let wall: Timer
    private let stop: Timer
    private let cpu: Timer
    private var outputBytes: UInt64 = 0
    private var typed = TypedInput()
    /// The terminal's master is waited for, and nobody has its other end any more.
    private var isTerminalWatched = false
    private var isTerminalClosed = false
    private var output: Flow
    private var error: Flow
    /// Somebody wants an end of it: a reader that takes nothing is not waited for any more.
    private(set) var wantsEnd = false
    /// Why codex32 itself ended the program.
    private(set) var ending: Verdict.Reason?
    /// A signal that pid 1 would have ignored, and that was carried out for it.
    private(set) var carriedOut: Int32?

    private static var collected: [Int32] {
        Signal.forwarded + [Signal.windowChanged, Signal.pipe, Signal.ttyOutput, Signal.ttyInput]
    }

    /// From here on no signal interrupts or ends codex32: what comes waits for the supervision to begin. Called before
    /// the program can say anything that somebody could answer with one.
    static func holdSignals() throws(Problem) {
        try explaining("cannot watch the program") { () throws(KernelError) in try SignalQueue.hold(collected) }
    }

    /// Signals interrupt codex32 again, which has more to do when the program has ended.
    static func releaseSignals() throws(Problem) {
        try explaining("cannot go on") { () throws(KernelError) in try SignalQueue.release(Signal.forwarded) }
    }

    /// Begins to collect signals.
    init(_ configuration: RunConfiguration, _ plan: LaunchPlan) throws(Problem) {
        let what = "cannot watch the program"
        let events = try explaining(what) { () throws(KernelError) in try EventQueue() }
        let signals = try explaining(what) { () throws(KernelError) in try SignalQueue(Supervision.collected) }
        let wall = try explaining(what) { () throws(KernelError) in try Timer() }
        let stop = try explaining(what) { () throws(KernelError) in try Timer() }
        let cpu = try explaining(what) { () throws(KernelError) in try Timer() }
        let isCopied = plan.terminal || configuration.outputLimit != nil
        output = Flow(outlet: Outlet(.output, isUsed: isCopied))
        error = Flow(outlet: Outlet(.error, isUsed: isCopied))
        self.events = events
        self.signals = signals
        self.wall = wall
        self.stop = stop
        self.cpu = cpu
        self.configuration = configuration
        self.plan = plan
    }

    /// Waits for the end of the program, and returns how it ended.
    mutating func run(
        _ child: borrowing Child, terminal: borrowing Descriptor?, pipes: [(read: Int32, to: StandardStream)],
        cgroup: borrowing Cgroup?
    ) throws(Problem) -> ProcessEnd {
        do {
            try begin(child, pipes: pipes)
            switch terminal {
            case .some(let master):
                try master.setNonblocking(true)
                try watchTerminal(master.number)
                if configuration.interactive { try addInput() }
            case .none: break
            }
            while true {
                for event in try events.wait() {
                    guard let token = Token(rawValue: event.token) else { continue }
                    switch token {
                    case .process:
                        if let end = try child.reap(wait: false) {
                            drain(terminal, pipes)
                            return end
                        }
                    case .signals: passSignals(child, terminal)
                    case .wall: end(child, .wallTime)
                    case .cpu: try checkCPU(child, cgroup)
                    case .stop:
                        try stop.set(nanoseconds: 0)
                        try? child.signal(Signal.kill)
                    case .terminal:
                        if event.writable { try writeTyped(terminal) }
                        if event.readable || event.hungUp { try copyOut(terminal) }
                    case .input: try copyIn(terminal)
                    case .output: try copyPipe(pipes, .output)
                    case .error: try copyPipe(pipes, .error)
                    case .outputRoom: try pass(.output, from: source(.output, terminal, pipes))
                    case .errorRoom: try pass(.error, from: source(.error, terminal, pipes))
                    case .denied: try serveDenials(hungUp: event.hungUp)
                    }
                }
                if let limit = configuration.outputLimit, outputBytes > limit { end(child, .output) }
            }
        } catch { throw Problem("cannot watch the program", error) }
    }

    private func serveDenials(hungUp: Bool) throws(KernelError) {
        if let observer {
            if hungUp, let number = observer.descriptor { return events.remove(number) }
            return try observer.serve()
        }
        guard let number = denials?.listener.descriptor.number else { return }
        // Nobody is left who could be refused anything.
        if hungUp { return events.remove(number) }
        try denials?.serve()
    }

    private borrowing func begin(_ child: borrowing Child, pipes: [(read: Int32, to: StandardStream)])
        throws(KernelError)
    {
        try events.add(child.pidfd.number, token: Token.process.rawValue)
        try events.add(signals.descriptor.number, token: Token.signals.rawValue)
        if let limit = configuration.wallTime {
            try wall.set(nanoseconds: max(limit, 1))
            try events.add(wall.descriptor.number, token: Token.wall.rawValue)
        }
        if configuration.cpuTime != nil, plan.cgroup != nil {
            try cpu.set(nanoseconds: 1)
            try events.add(cpu.descriptor.number, token: Token.cpu.rawValue)
        }
        if let number = observer?.descriptor ?? denials?.listener.descriptor.number {
            try events.add(number, token: Token.denied.rawValue)
        }
        try events.add(stop.descriptor.number, token: Token.stop.rawValue)
        for pipe in pipes {
            try events.add(pipe.read, token: pipe.to == .output ? Token.output.rawValue : Token.error.rawValue)
        }
    }

    private borrowing func addInput() throws(KernelError) {
        // A regular file is always readable, and epoll refuses it: it is copied in turn with the rest.
        if try !events.add(StandardStream.input.rawValue, token: Token.input.rawValue) {
            throw KernelError("epoll_ctl", "standard input with -t must be a terminal or a pipe", number: Errno.invalid)
        }
    }

    // MARK: Signals and ends

    private mutating func passSignals(_ child: borrowing Child, _ terminal: borrowing Descriptor?) {
        while let number = signals.next() {
            if number == Signal.windowChanged {
                switch terminal {
                case .some(let master): StandardStream.input.copySize(to: master)
                case .none: try? child.signal(number)
                }
            } else if Signal.forwarded.contains(number) {
                send(number, to: child)
            }
        }
    }

    private mutating func send(_ number: Int32, to child: borrowing Child) {
        if Signal.endsByDefault(number) { wantsEnd = true }
        if child.deliver(number, reaper: configuration.request.reaper) { carriedOut = number }
    }

    /// Ends the program for a reason of ours: the stop signal, then SIGKILL.
    private mutating func end(_ child: borrowing Child, _ reason: Verdict.Reason) {
        guard ending == nil else { return }
        ending = reason
        wantsEnd = true
        try? wall.set(nanoseconds: 0)
        try? cpu.set(nanoseconds: 0)
        send(configuration.stopSignal, to: child)
        try? stop.set(nanoseconds: max(configuration.stopTimeout, 1))
    }

    /// Looks at the CPU time used so far, and comes back when the rest could be used up at the earliest.
    private mutating func checkCPU(_ child: borrowing Child, _ cgroup: borrowing Cgroup?) throws(KernelError) {
        guard let limit = configuration.cpuTime, let used = CPUTime.used(by: cgroup) else { return }
        guard let wait = CPUTime.untilNextLook(used: used, of: limit) else { return end(child, .cpuTime) }
        try cpu.set(nanoseconds: wait)
    }

    // MARK: Output

    /// Says what of the output the caller did not take. To be called when its terminal is its own again.
    func tellLoss() {
        output.loss.tell()
        error.loss.tell()
    }

    /// Where a stream's bytes come from, with the token that it is watched by.
    private func source(
        _ stream: StandardStream, _ terminal: borrowing Descriptor?, _ pipes: [(read: Int32, to: StandardStream)]
    ) -> (number: Int32, token: Token)? {
        if let pipe = pipes.first(where: { $0.to == stream }) {
            return (pipe.read, stream == .output ? .output : .error)
        }
        switch terminal {
        case .some(let master): return (master.number, .terminal)
        case .none: return nil
        }
    }

    private mutating func copyPipe(
        _ pipes: [(read: Int32, to: StandardStream)], _ stream: StandardStream
    ) throws(KernelError) {
        guard let pipe = pipes.first(where: { $0.to == stream }) else { return }
        guard let bytes = Supervision.read(pipe.read), !bytes.isEmpty else { return events.remove(pipe.read) }
        take(bytes, for: stream)
        try pass(stream, from: (pipe.read, stream == .output ? .output : .error))
    }

    private mutating func copyOut(_ terminal: borrowing Descriptor?) throws(KernelError) {
        switch terminal {
        case .some(let master):
            guard let bytes = Supervision.read(master.number) else {
                isTerminalClosed = true
                return try watchTerminal(master.number)
            }
            take(bytes, for: .output)
            try pass(.output, from: (master.number, .terminal))
        case .none: break
        }
    }

    /// Keeps what is within the limit, and counts all of it.
    private mutating func take(_ bytes: [UInt8], for stream: StandardStream) {
        let limit = configuration.outputLimit ?? UInt64.max
        let room = limit > outputBytes ? limit - outputBytes : 0
        outputBytes += UInt64(bytes.count)
        let kept = bytes.prefix(Int(min(room, UInt64(bytes.count))))
        if stream == .output { output.backlog += kept } else { error.backlog += kept }
    }

    private mutating func flush(_ stream: StandardStream) -> Bool {
        stream == .output ? output.flush() : error.flush()
    }

    /// Passes on what is kept. While the caller does not take it, its side is watched instead of the source.
    private mutating func pass(
        _ stream: StandardStream, from source: (number: Int32, token: Token)?
    ) throws(KernelError) {
        let waited = stream == .output ? output.isWaiting : error.isWaiting
        let all = flush(stream)
        guard all == waited else { return }
        if stream == .output { output.isWaiting = !all } else { error.isWaiting = !all }
        let outlet = stream == .output ? output.outlet.number : error.outlet.number
        if all {
            events.remove(outlet)
        } else if let source, source.token != .terminal {
            events.remove(source.number)
        }
        if let source, source.token == .terminal {
            try watchTerminal(source.number)
        } else if all, let source {
            try events.add(source.number, token: source.token.rawValue)
        }
        if !all {
            try events.add(outlet, token: (stream == .output ? Token.outputRoom : .errorRoom).rawValue, write: true)
        }
    }

    /// Waits for what the terminal is to be waited for now. Not at all, where that is nothing: a closed one would be
    /// told again and again.
    private mutating func watchTerminal(_ master: Int32) throws(KernelError) {
        let (reads, writes) = (!isTerminalClosed && !output.isWaiting, !isTerminalClosed && !typed.isEmpty)
        guard reads || writes else {
            if isTerminalWatched { events.remove(master) }
            isTerminalWatched = false
            return
        }
        if !isTerminalWatched { try events.add(master, token: Token.terminal.rawValue) }
        isTerminalWatched = true
        events.change(master, token: Token.terminal.rawValue, read: reads, write: writes)
    }

    private mutating func copyIn(_ terminal: borrowing Descriptor?) throws(KernelError) {
        if !typed.read() { events.remove(StandardStream.input.rawValue) }
        try writeTyped(terminal)
    }

    private mutating func writeTyped(_ terminal: borrowing Descriptor?) throws(KernelError) {
        switch terminal {
        case .some(let master):
            typed.write(to: master)
            events.change(
                StandardStream.input.rawValue, token: Token.input.rawValue, read: typed.isEmpty, write: false)
            try watchTerminal(master.number)
        case .none: break
        }
    }

    /// What is ready now; empty: the end; nil: nothing more ever comes.
    private static func read(_ number: Int32) -> [UInt8]? {
        let source = Descriptor(owning: number)
        let bytes = try? source.readPrefix(65536)
        _ = source.release()
        return bytes
    }

    /// After the end: what is still in the terminal or the pipes. The reader may be slow; one that takes
    /// nothing at all for a second is left when the program was ended by somebody, or codex32 is to end.
    private mutating func drain(
        _ terminal: borrowing Descriptor?, _ pipes: [(read: Int32, to: StandardStream)]
    ) {
        for stream in pipes.isEmpty ? [StandardStream.output] : pipes.map(\.to) {
            guard let source = source(stream, terminal, pipes) else { continue }
            while true {
                while !flush(stream) {
                    if let number = signals.next(), Signal.endsByDefault(number) { wantsEnd = true }
                    let room =
                        stream == .output
                        ? output.outlet.waitForRoom(milliseconds: 1000) : error.outlet.waitForRoom(milliseconds: 1000)
                    if !room, wantsEnd { return }
                }
                guard let bytes = Supervision.read(source.number), !bytes.isEmpty else { break }
                take(bytes, for: stream)
            }
        }
    }
}
