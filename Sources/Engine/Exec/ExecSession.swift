internal import LinuxKernel

/// From the start of a program of `exec` to its end: signals, the terminal, the time.
struct ExecSession: ~Copyable {
    private enum Token: UInt64 {
        case process = 1
        case signals, terminal, input, time
    }
    private let events: EventQueue
    private let signals: SignalQueue
    private let timer: Timer
    private var typed = TypedInput()
    private(set) var isLate = false
    /// What of the output the caller did not take. To be told when its terminal is its own again.
    private(set) var loss = OutputLoss()

    /// Begins to collect signals, before there is a program to pass them to.
    ///
    /// Those that would stop this process are among them: it is the parent, and a container cannot end while one of
    /// its processes is not reaped (pid_namespaces(7)).
    init() throws(Problem) {
        let what = "cannot watch the program"
        let collected =
            Signal.forwarded + [Signal.windowChanged, Signal.pipe, Signal.ttyOutput, Signal.ttyInput, Signal.ttyStop]
        let events = try explaining(what) { () throws(KernelError) in try EventQueue() }
        let signals = try explaining(what) { () throws(KernelError) in try SignalQueue(collected) }
        let timer = try explaining(what) { () throws(KernelError) in try Timer() }
        self.events = events
        self.signals = signals
        self.timer = timer
    }

    /// Waits for the program's end; nil: the keys were typed before.
    /// - Parameter timeLimit: nanoseconds until its process group is killed.
    mutating func run(
        _ exec: borrowing Exec, input: Bool, timeLimit: Int64?, detachKeys: [UInt8] = []
    ) throws(Problem) -> ProcessEnd? {
        typed = TypedInput(detachKeys: detachKeys)
        do {
            try events.add(exec.child.pidfd.number, token: Token.process.rawValue)
            try events.add(signals.descriptor.number, token: Token.signals.rawValue)
            if let timeLimit {
                try timer.set(nanoseconds: max(timeLimit, 1))
                try events.add(timer.descriptor.number, token: Token.time.rawValue)
            }
            var readsFile = false
            switch exec.terminal {
            case .some(let master):
                try master.setNonblocking(true)
                try events.add(master.number, token: Token.terminal.rawValue)
                // epoll refuses a regular file: it can always be read.
                if input { readsFile = try !events.add(StandardStream.input.rawValue, token: Token.input.rawValue) }
            case .none: break
            }
            return try loop(exec, readsFile)
        } catch { throw Problem("cannot watch the program", error) }
    }

    /// Waits for the end of a program that nobody watches.
    mutating func goOn(_ exec: borrowing Exec) throws(Problem) -> ProcessEnd {
        do {
            while true { if let end = try loop(exec, false) { return end } }
        } catch { throw Problem("cannot watch the program", error) }
    }

    private mutating func loop(_ exec: borrowing Exec, _ readsFile: Bool) throws(KernelError) -> ProcessEnd? {
        var readsFile = readsFile
        while true {
            if readsFile, typed.isEmpty { readsFile = copyIn(exec) }
            for event in try events.wait(milliseconds: readsFile && typed.isEmpty ? 0 : -1) {
                switch Token(rawValue: event.token) {
                case .process:
                    if let end = try exec.child.reap(wait: false) {
                        while copyOut(exec) {}
                        return end
                    }
                case .signals: passSignals(exec)
                case .terminal:
                    if event.writable { writeTyped(exec) }
                    if event.readable || event.hungUp { _ = copyOut(exec) }
                case .input:
                    _ = copyIn(exec)
                    if typed.isDetached { return nil }
                case .time:
                    try timer.set(nanoseconds: 0)
                    isLate = true
                    exec.child.signalGroup(Signal.kill)
                case nil: break
                }
            }
        }
    }

    private borrowing func passSignals(_ exec: borrowing Exec) {
        while let number = signals.next() {
            if number == Signal.windowChanged {
                switch exec.terminal {
                case .some(let master): StandardStream.input.copySize(to: master)
                case .none: try? exec.child.signal(number)
                }
            } else if Signal.forwarded.contains(number) {
                try? exec.child.signal(number)
            }
        }
    }

    // MARK: The terminal

    /// False: there is nothing more now.
    private mutating func copyOut(_ exec: borrowing Exec) -> Bool {
        switch exec.terminal {
        case .some(let master):
            do {
                let bytes = try master.readPrefix(65536)
                if bytes.isEmpty { return false }
                if typed.isDetached || loss.isComplete { return true }
                do throws(KernelError) { try StandardStream.output.tell(bytes[...]) } catch { loss.note(error) }
                return true
            } catch {
                // EIO: nobody has the other end open (pty(7)).
                if error.number != Errno.wouldBlock { events.remove(master.number) }
                return false
            }
        case .none: return false
        }
    }

    /// Takes what was typed. False: that was all.
    private mutating func copyIn(_ exec: borrowing Exec) -> Bool {
        let goesOn = typed.read()
        if !goesOn { events.remove(StandardStream.input.rawValue) }
        writeTyped(exec)
        return goesOn
    }

    private mutating func writeTyped(_ exec: borrowing Exec) {
        switch exec.terminal {
        case .some(let master):
            typed.write(to: master)
            let waits = !typed.isEmpty
            events.change(master.number, token: Token.terminal.rawValue, read: true, write: waits)
            events.change(
                StandardStream.input.rawValue, token: Token.input.rawValue, read: !waits, write: false)
        case .none: break
        }
    }
}
