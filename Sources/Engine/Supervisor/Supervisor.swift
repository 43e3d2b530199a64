internal import LinuxKernel
internal import OCISpec

/// The one process of a detached container that stays: the parent of its program.
///
/// It holds the container's lock for as long as it lives and is the only writer of the record meanwhile.
/// Everybody else asks it, over one socket with a path. This file is its loop; what it does is in the extensions.
final class Supervisor {
    /// What an epoll event is about. Connections have the numbers from ``firstPeer`` on.
    enum Token {
        static let listener: UInt64 = 1
        static let signals: UInt64 = 2
        static let process: UInt64 = 3
        static let output: UInt64 = 4
        static let error: UInt64 = 5
        static let terminal: UInt64 = 6
        static let input: UInt64 = 7
        static let wall: UInt64 = 8
        static let cpu: UInt64 = 9
        static let stop: UInt64 = 10
        static let again: UInt64 = 11
        static let health: UInt64 = 12
        static let slow: UInt64 = 13
        static let command: UInt64 = 14
        static let healthProcess: UInt64 = 15
        static let healthOutput: UInt64 = 16
        static let denied: UInt64 = 17
        static let firstPeer: UInt64 = 100
    }

    let place: Owned<ContainerFolder>
    let lock: Owned<ContainerLock>
    let configuration: ContainerConfiguration
    let storage: Storage
    var record: ContainerRecord
    let events: EventQueue
    let signals: SignalQueue
    let listener: SocketListener
    let journal: EventJournal
    let log: LogWriter
    let wall: Timer
    let cpu: Timer
    let stop: Timer
    let again: Timer
    /// Until when clients that do not read are waited for.
    let slow: Timer
    var peers: [UInt64: Peer] = [:]
    var nextPeer = Token.firstPeer
    var program: Program?
    /// The checks of the present program's health; nil: there are none.
    var health: HealthMonitor?
    /// Starts in a row that did not last: what the next delay comes from.
    var failures: UInt64 = 0
    /// The end that is under way was asked for, and is followed by another start at once.
    var startsAgain = false
    /// The machine goes down: what ends now is not started again, until `system boot` does.
    var isGoingDown = false
    /// When the program gets SIGKILL (nanoseconds of the monotonic clock); nil: its end was not asked for.
    var killAt: Int64?
    /// A stop that was asked for before the program was there.
    var stopBeforeStart: (signal: Int32?, timeout: Int64?)?
    /// The program's output is not read, because a client has yet to read what came before.
    var isOutputHeld = false
    /// The streams whose pipe was made larger.
    var grownPipes: Set<StandardStream> = []
    /// The log took no more when it was last looked at.
    var wasLosing = false
    /// Nothing more to look after: the loop ends.
    var isDone = false
    /// Limits as they are now: `update` may have changed them.
    var limits: RunConfiguration
    /// Read from pipes and terminals; made with the first output.
    lazy var buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65536, alignment: 16)
    /// Input that the program has not taken yet.
    var pendingInput: [UInt8] = []
    var inputEnds = false
    /// The size that the last client's terminal has: a program that starts later begins with it.
    var attachedSize: TerminalSize?

    init(
        _ place: consuming ContainerFolder, lock: consuming ContainerLock, record: ContainerRecord,
        configuration: ContainerConfiguration, from position: LogPosition? = nil
    ) throws(Problem) {
        storage = place.storage
        journal = EventJournal(place.storage)
        let what = "cannot supervise \(record.name)"
        // Everything but the kernel's own words about codex32 itself: a supervisor ends by its own decision.
        let collected = Signal.forwarded + [Signal.pipe, Signal.windowChanged, Signal.ttyInput, Signal.ttyOutput]
        let events = try explaining(what) { () throws(KernelError) in try EventQueue() }
        let signals = try explaining(what) { () throws(KernelError) in try SignalQueue(collected) }
        let path = place.runtimePath
        let listener = try explaining("\(what) at \(path)") { () throws(KernelError) in
            let all = try makeFolders(place.storage.supervised)
            do throws(KernelError) { try all.makeFolder(place.id) } catch {
                guard error.number == Errno.exists else { throw error }
            }
            // A link in the folder's place is refused: it could lead to anybody's.
            let folder = try all.open(place.id, [.read, .folder, .noFollow])
            guard try folder.status().uid == Machine.uid else {
                throw KernelError("open", path, number: Errno.permission)
            }
            // What a killed supervisor left: this one has the lock, so nobody listens there.
            try folder.removeTree(Control.socketName)
            return try SocketListener(Control.socketName, in: folder)
        }
        log = try explaining("cannot open the log of \(record.name)") { () throws(KernelError) in
            try LogWriter(
                configuration.log, in: try place.folder.open("log", [.read, .folder, .noFollow]), from: position)
        }
        let wall = try explaining(what) { () throws(KernelError) in try Timer() }
        let cpu = try explaining(what) { () throws(KernelError) in try Timer() }
        let stop = try explaining(what) { () throws(KernelError) in try Timer() }
        let again = try explaining(what) { () throws(KernelError) in try Timer() }
        let slow = try explaining(what) { () throws(KernelError) in try Timer() }
        try explaining(what) { () throws(KernelError) in
            try events.add(listener.descriptor.number, token: Token.listener)
            try events.add(signals.descriptor.number, token: Token.signals)
            for (timer, token) in [(wall.descriptor.number, Token.wall), (cpu.descriptor.number, Token.cpu)] {
                try events.add(timer, token: token)
            }
            for (timer, token) in [(stop.descriptor.number, Token.stop), (again.descriptor.number, Token.again)] {
                try events.add(timer, token: token)
            }
            try events.add(slow.descriptor.number, token: Token.slow)
        }
        self.slow = slow
        self.wall = wall
        self.cpu = cpu
        self.stop = stop
        self.again = again
        self.events = events
        self.signals = signals
        self.listener = listener
        self.place = Owned(place)
        self.lock = Owned(lock)
        self.record = record
        self.configuration = configuration
        limits = configuration.run
    }

    /// Looks after the container until nothing is left to do.
    func run() throws(Problem) {
        var failures = 0
        while !isDone {
            do throws(KernelError) {
                for event in try events.wait() where !isDone { try handle(event) }
                failures = 0
            } catch {
                // The program's life hangs on this loop: what the kernel could not do now it may do in a moment, and what
                // was to be done is still there to be seen.
                failures += 1
                guard failures < 100 else { throw Problem("cannot watch \(record.name)", error) }
                Clock.sleep(milliseconds: 10)
            }
        }
    }

    private func handle(_ event: EventQueue.Event) throws(KernelError) {
        switch event.token {
        case Token.listener: acceptPeers()
        case Token.signals: takeSignals()
        case Token.process:
            if let program, let end = try program.child.reap(wait: false) { ended(program, end) }
        case Token.output: copyPipe(.output)
        case Token.error: copyPipe(.error)
        case Token.terminal:
            if event.writable { writeInput() }
            if event.readable || event.hungUp { copyTerminal() }
        case Token.input: writeInput()
        case Token.wall:
            try wall.set(nanoseconds: 0)
            end(.wallTime)
        case Token.cpu: try checkCPU()
        case Token.stop:
            // Disarmed when it is done: what failed is tried again.
            try program?.end()
            try stop.set(nanoseconds: 0)
        case Token.again:
            try again.set(nanoseconds: 0)
            startAgain()
        case Token.slow: dropSlow()
        case Token.health, Token.healthProcess, Token.healthOutput: handleHealth(event.token)
        case Token.denied: try serveDenials(hungUp: event.hungUp)
        case Token.firstPeer...: handlePeer(event)
        default: break
        }
    }

    /// SIGTERM is the machine going down: the program is asked to end. Other signals mean nothing here.
    private func takeSignals() {
        while let number = signals.next() {
            guard number == Signal.terminate else { continue }
            isGoingDown = true
            beginStop(signal: nil, timeout: nil, byPerson: false)
        }
    }

    /// Writes the record. A disk that takes no more must not end the program: the next write may succeed,
    /// and what the store says meanwhile is mended by whoever finds it without a supervisor.
    ///
    /// - Returns: whether it is written.
    @discardableResult
    func save() -> Bool {
        // What failed for want of memory, or was interrupted, need not fail again; for a last word there is no next write.
        for _ in 0..<3 where (try? place.value.write(record, holding: lock.value)) != nil { return true }
        return false
    }
}
