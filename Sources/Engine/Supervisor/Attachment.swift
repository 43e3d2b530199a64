public import LinuxKernel
internal import OCISpec
public import Sandbox

/// A client's side of an attached container: its output comes here, input, signals and window size go there.
struct Attachment: ~Copyable {
    private enum Token: UInt64 {
        case supervisor = 1
        case input, signals
    }
    private let connection: SocketConnection
    private let sendsInput: Bool
    /// What is typed goes to the container's terminal as it is, and only there do keys detach.
    private let isTerminal: Bool
    private let passesSignals: Bool
    /// The bytes that end the attachment and leave the program alone.
    private var detachKeys: DetachWatch
    private var outputLoss = OutputLoss()
    private var errorLoss = OutputLoss()
    /// The connection ended before the supervisor had said the end, as it does once it has passed on all.
    private var wasCutOff = false
    /// Who was there at the beginning.
    fileprivate var supervisor: ProcessIdentity?

    /// How an attachment ended.
    enum End {
        case program(status: Int32)
        case detached
    }

    init(
        _ connection: consuming SocketConnection, input: Bool, signals: Bool, detachKeys: [UInt8]
    ) throws(Problem) {
        var members: [JSON.Member] = [.init("input", .bool(input))]
        if let size = TerminalSize(of: .output) {
            members += [.init("rows", .number(size.rows)), .init("columns", .number(size.columns))]
        }
        let answer = try Control.ask(connection, "attach", members)
        self.connection = connection
        // One that was made without -i has no input: then this command leaves its own alone.
        sendsInput = input && answer["input"] == .bool(true)
        isTerminal = answer["terminal"] == .bool(true)
        passesSignals = signals
        self.detachKeys = DetachWatch(StandardStream.input.isTerminal ? detachKeys : [])
    }

    /// Copies until the program has ended or the keys are typed.
    mutating func run(_ container: borrowing ContainerFolder, _ engine: Containers) throws(Problem) -> End {
        let what = "cannot watch the container"
        let events = try explaining(what) { () throws(KernelError) in try EventQueue() }
        let collected = (passesSignals ? Signal.forwarded : []) + [Signal.windowChanged]
        let signals = try explaining(what) { () throws(KernelError) in try SignalQueue(collected) }
        try explaining(what) { () throws(KernelError) in
            try events.add(connection.descriptor.number, token: Token.supervisor.rawValue)
            try events.add(signals.descriptor.number, token: Token.signals.rawValue)
        }
        var inputIsReady = false
        if sendsInput {
            // A regular file is always readable, and epoll refuses it.
            inputIsReady = try explaining(what) { () throws(KernelError) in
                try !events.add(StandardStream.input.rawValue, token: Token.input.rawValue)
            }
        }
        let raw = sendsInput && isTerminal ? RawTerminal(.input) : nil
        let end: End
        do throws(Problem) { end = try copy(events, signals, inputIsReady, container, engine) } catch {
            _ = consume raw
            tellLoss(container)
            throw error
        }
        _ = consume raw
        tellLoss(container)
        return end
    }

    private mutating func copy(
        _ events: borrowing EventQueue, _ signals: borrowing SignalQueue, _ readsFile: Bool,
        _ container: borrowing ContainerFolder, _ engine: Containers
    ) throws(Problem) -> End {
        var inputIsReady = readsFile
        while true {
            if inputIsReady { inputIsReady = try sendInput(events) != .ended }
            let ready = try explaining("cannot watch the container") { () throws(KernelError) in
                try events.wait(milliseconds: inputIsReady ? 0 : -1)
            }
            for event in ready {
                switch Token(rawValue: event.token) {
                case .supervisor: if let end = try receive(container, engine) { return end }
                case .input: if try sendInput(events) == .detached { return .detached }
                case .signals: passOn(signals, container)
                case nil: break
                }
            }
        }
    }

    private enum Input { case more, ended, detached }

    private mutating func sendInput(_ events: borrowing EventQueue) throws(Problem) -> Input {
        guard let bytes = StandardStream.input.readSome(Control.Frame.most) else {
            // A terminal that is gone, or another's at the moment (tty_ioctl(4)): there is nothing to come.
            events.remove(StandardStream.input.rawValue)
            return .ended
        }
        if bytes.isEmpty {
            events.remove(StandardStream.input.rawValue)
            try? connection.send([Control.Frame.inputEnd])
            return .ended
        }
        guard let typed = detachKeys.pass(bytes) else { return .detached }
        if !typed.isEmpty { try? connection.send([Control.Frame.input] + typed) }
        return .more
    }

    private mutating func receive(_ container: borrowing ContainerFolder, _ engine: Containers) throws(Problem) -> End?
    {
        let packet = try nextPacket()
        guard let kind = packet.first else {
            // The supervisor may have ended, or been killed; otherwise it has let this client go.
            for _ in 0..<200 where container.isOwned() && container.callSupervisor() == nil {
                Clock.sleep(milliseconds: 5)
            }
            let record: ContainerRecord
            do throws(Problem) { record = try engine.view(container) } catch {
                guard error.cause?.isAbsence == true else { throw error }
                throw Problem(
                    "the supervisor let this client go", "the container has ended, and is removed",
                    hint: "what it wrote last, and how it ended, went with it; without --rm both would be kept")
            }
            if let ending = record.state.ending {
                wasCutOff = true
                return .program(status: ending.status)
            }
            if record.isAdoptable, record.supervisor != supervisor || isGone(supervisor) {
                throw Problem(
                    "the supervisor is gone", "the program runs on, and has another",
                    hint: "codex32 attach \(record.name), and codex32 logs \(record.name) for what was missed")
            }
            throw Problem(
                "the supervisor let this client go", "it did not read what the program wrote",
                hint: "codex32 logs \(record.name) has all of it")
        }
        switch kind {
        case Control.Frame.output: Attachment.show(packet[1...], on: .output, &outputLoss)
        case Control.Frame.error: Attachment.show(packet[1...], on: .error, &errorLoss)
        case Control.Frame.ended:
            let answer = try Control.answer(Array(packet[1...]))
            for line in Denial.lines(of: answer["verdict"]) { StandardStream.error.print("codex32: \(line)\n") }
            return .program(status: Containers.status(answer) ?? 125)
        default: break
        }
        return nil
    }

    private static func show(_ bytes: ArraySlice<UInt8>, on stream: StandardStream, _ loss: inout OutputLoss) {
        if loss.isComplete { return }
        do throws(KernelError) { try stream.tell(bytes) } catch { loss.note(error) }
    }

    /// Nothing that the program wrote is left out without a word.
    private func tellLoss(_ container: borrowing ContainerFolder) {
        // With --rm there is none any more.
        let hint = (try? container.written().name).map { "codex32 logs \($0) has all of it" }
        for loss in [outputLoss, errorLoss] { loss.tell(hint: hint ?? OutputLoss.usualHint) }
        guard wasCutOff else { return }
        let problem = Problem(
            OutputLoss.what, "its supervisor was gone, or had let this client go, before it had passed on all of it",
            hint: hint)
        StandardStream.error.print("codex32: \(problem)\n")
    }

    /// What the supervisor says next; empty: it is gone.
    private func nextPacket() throws(Problem) -> [UInt8] {
        for attempt in 1... {
            do throws(KernelError) { return try connection.receive() } catch {
                if error.number == Errno.connectionReset { return [] }
                // What could not be received is still there.
                guard attempt == 4 else { continue }
                throw Problem(
                    "cannot hear the supervisor", error,
                    hint: "the program runs on, and codex32 logs has what it writes")
            }
        }
        return []
    }

    /// Whether a supervisor has died: its socket closes a moment before that shows.
    private func isGone(_ supervisor: ProcessIdentity?) -> Bool {
        for _ in 0..<20 where supervisor?.isAlive == true { Clock.sleep(milliseconds: 5) }
        return supervisor?.isAlive != true
    }

    private func passOn(_ signals: borrowing SignalQueue, _ container: borrowing ContainerFolder) {
        while let number = signals.next() {
            if number == Signal.windowChanged {
                guard let size = TerminalSize(of: .input) else { continue }
                try? connection.send([
                    Control.Frame.size, UInt8(size.rows >> 8), UInt8(size.rows & 255), UInt8(size.columns >> 8),
                    UInt8(size.columns & 255),
                ])
            } else if let other = container.callSupervisor() {
                _ = try? Control.ask(other, "kill", [.init("signal", .number(number))])
            }
        }
    }
}

extension Containers {
    /// Docker's: Ctrl-P, Ctrl-Q.
    public static let usualDetachKeys: [UInt8] = [16, 17]

    /// Starts a container with this command as its first client, so that nothing it writes is missed.
    /// Returns the program's exit status, 0 when the client was detached.
    public func startAttached(
        _ reference: String, input: Bool, detachKeys: [UInt8] = usualDetachKeys,
        warn: @escaping (Notice) -> Void
    ) throws(Problem) -> Int32 {
        let container = try store.find(reference)
        if input, let record = try? container.written(), record.configuration["interactive"] != .bool(true) {
            throw Problem(
                "cannot pass input on to \(record.name)", "it was made without -i",
                hint: "codex32 start -a \(record.name), or make it anew with -i")
        }
        var report = try beginStart(container, waitsForClient: true)
        guard let first = report.next() else {
            throw report.silence("cannot start the container", "its supervisor ended at once")
        }
        if let problem = first["problem"] { throw Problem(problem) }
        // Where that fails it sees that this command is gone, and starts nothing.
        let connection = try explaining("cannot start the container: cannot reach its supervisor") {
            () throws(KernelError) in try container.reachSupervisor()
        }
        var attachment = try Attachment(connection, input: input, signals: true, detachKeys: detachKeys)
        try report.wait(warn: Containers.warner(warn))
        attachment.supervisor = try? container.written().supervisor
        return try finish(&attachment, container)
    }

    /// Joins the clients of a running container.
    public func attach(
        _ reference: String, input: Bool, signals: Bool, detachKeys: [UInt8] = usualDetachKeys
    ) throws(Problem) -> Int32 {
        let container = try store.find(reference)
        let record = try view(container)
        guard let connection = container.callSupervisor() else {
            throw Problem(
                "cannot attach to \(record.name)", "it is \(record.state.kind.rawValue)",
                hint: "codex32 start -a \(record.name)")
        }
        var attachment = try Attachment(connection, input: input, signals: signals, detachKeys: detachKeys)
        attachment.supervisor = record.supervisor
        return try finish(&attachment, container)
    }

    private func finish(
        _ attachment: inout Attachment, _ container: borrowing ContainerFolder
    ) throws(Problem) -> Int32 {
        switch try attachment.run(container, self) {
        case .program(let status): return status
        case .detached: return 0
        }
    }
}
