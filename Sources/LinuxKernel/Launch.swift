internal import CShims
internal import Glibc

/// Everything a launch takes, beside its steps.
public struct LaunchInput: Sendable {
    public var namespaces: CaseSet<Namespace>
    public var steps: [LaunchStep]
    public var slotCount: Int
    /// What becomes descriptors 0, 1 and 2.
    public var standard: (Int32, Int32, Int32)
    public var terminal: Bool
    public var candidates: [String]
    public var arguments: [String]
    public var environment: [String]

    public init(
        namespaces: CaseSet<Namespace>, steps: [LaunchStep], slotCount: Int, standard: (Int32, Int32, Int32),
        terminal: Bool,
        candidates: [String], arguments: [String], environment: [String]
    ) {
        self.namespaces = namespaces
        self.steps = steps
        self.slotCount = slotCount
        self.standard = standard
        self.terminal = terminal
        self.candidates = candidates
        self.arguments = arguments
        self.environment = environment
    }
}

/// What the child says on its way to execve.
public enum LaunchMessage: ~Copyable {
    /// It could not make its namespaces.
    case unborn(KernelError)
    /// The step at this index failed; nil: before the first step.
    case failed(step: Int?, KernelError, detail: String)
    /// It waits at ``LaunchStep/hold``; the inodes of its namespaces, 0 where it could not read one.
    case held([Namespace: UInt64])
    /// The master of its terminal; it waits until the size is set.
    case terminal(Descriptor)
    /// At ``LaunchStep/enter``: this process goes on in the place of the child. It does not wait, so its own
    /// first word may come before this one.
    case entered(pid: Int32, Descriptor)
    /// Its root, at ``LaunchStep/lendRoot``, where it waits.
    case root(Descriptor)
    /// Its filter's listener, at ``LaunchStep/seccompToldOf(_:)``. It does not wait.
    case listener(Descriptor)
    /// At ``LaunchStep/ready``, where it waits.
    case ready
    /// Its network namespace, at ``LaunchStep/lendNetwork``, where it waits.
    case network(Descriptor)
    /// execve happened, or the child is gone.
    case finished
}

/// A child between clone3 and execve, and afterwards the program.
public struct Child: ~Copyable {
    public private(set) var pid: Int32
    public private(set) var pidfd: Descriptor
    private let control: Descriptor
    /// Pid 1 of a plan with ``LaunchStep/reaper`` tells here how the program ended.
    private let report: Descriptor?

    /// Where the plan of a child that was born early goes; it is left when that is told.
    private var room: LaunchRoom?

    /// It is another's child: its end is seen, and not how it ended (wait(2)).
    private let isForeign: Bool

    /// Takes a process over whose parent is gone.
    ///
    /// - Parameter pidfd: of this very process (``ProcessIdentity/open()``).
    public init(adopting pid: Int32, _ pidfd: consuming Descriptor) throws(KernelError) {
        // It has long left behind the talk of its start; nobody asks this child about it.
        control = try pidfd.duplicate()
        self.pid = pid
        self.pidfd = pidfd
        report = nil
        isForeign = true
        room = nil
    }

    private init(_ made: codex_child, room: consuming LaunchRoom?) {
        pid = made.pid
        pidfd = Descriptor(owning: made.pidfd)
        control = Descriptor(owning: made.control)
        report = made.report < 0 ? nil : Descriptor(owning: made.report)
        isForeign = false
        self.room = room
    }

    /// Starts the child (clone3(2), Linux 5.3). It makes its namespaces and waits for ``go()``.
    ///
    /// `sources` are descriptors that the steps find in their slots; they stay the caller's.
    public static func launch(
        _ input: LaunchInput, sources: SlotNumbers, cgroup: borrowing Descriptor?
    ) throws(KernelError) -> Child {
        var slots = [Int32](repeating: -1, count: max(input.slotCount, 1))
        for (slot, number) in sources { slots[slot.index] = number }
        var room = try LaunchRoom(size: LaunchRoom.usual)
        room.write(input, slots: slots, given: [], standardSlots: (-1, -1, -1))
        if !room.fits {
            room = try LaunchRoom(size: room.used + 1)
            room.write(input, slots: slots, given: [], standardSlots: (-1, -1, -1))
        }
        var birth = codex_birth(input.namespaces, reaper: input.steps.contains(.reaper))
        switch cgroup {
        case .some(let folder): birth.cgroup = folder.number
        case .none: break
        }
        var child = codex_child()
        try KernelError.check(codex_launch(&birth, room.plan, &child), "clone3")
        return Child(child, room: nil)
    }

    /// Starts a child whose plan is not there yet. It makes its namespaces, waits for ``go()``, and then
    /// for ``give(_:)``.
    ///
    /// As the kernel takes its time for namespaces, such a child may be there since before Swift began
    /// (`early.c`); it is this one if it fits.
    public static func bear(_ namespaces: CaseSet<Namespace>, reaper: Bool) throws(KernelError) -> Child {
        var birth = codex_birth(namespaces, reaper: reaper)
        birth.early = 1
        var child = codex_child()
        var base: UnsafeMutableRawPointer?
        if codex_early_take(&birth, &child, &base) == 1, let base {
            return Child(child, room: LaunchRoom(taking: base))
        }
        let room = try LaunchRoom(size: LaunchRoom.usual)
        try KernelError.check(codex_launch(&birth, room.plan, &child), "clone3")
        return Child(child, room: room)
    }

    /// Ends the child that is there since before Swift began, if nobody took it.
    public static func endEarly() { codex_early_end() }

    /// Writes the plan of a child that was born early where it will read it; its namespaces are those of the
    /// plan. Returns the descriptors to ``give(_:)``; nil: there is no room for this plan.
    public mutating func prepare(_ input: LaunchInput, sources: SlotNumbers) -> [Int32]? {
        var descriptors: [Int32] = []
        var given: [Int32] = []
        for (slot, number) in sources {
            descriptors.append(number)
            given.append(Int32(slot.index))
        }
        // Standard streams that are not the ones the child was born with have slots of their own.
        var count = Int32(max(input.slotCount, 1))
        let place = { (number: Int32) -> Int32 in
            guard number > 2 else { return -1 }
            descriptors.append(number)
            given.append(count)
            count += 1
            return count - 1
        }
        let standard = (place(input.standard.0), place(input.standard.1), place(input.standard.2))
        let slots = [Int32](repeating: -1, count: Int(count))
        room?.write(input, slots: slots, given: given, standardSlots: standard)
        return room?.fits == true ? descriptors : nil
    }

    /// Lets a child that was born early go on with its plan, and leaves the memory to it.
    public mutating func give(_ descriptors: [Int32]) throws(KernelError) {
        // Before the word: afterwards the program may run, and see where it may run, before that is as it was.
        room?.hurry()
        try KernelError.check(codex_launch_give(control.number, descriptors, descriptors.count), "sendmsg")
        room = nil
    }

    /// Lets the child go on from where it waits. One that is gone already (EPIPE) may have said why.
    public borrowing func go() throws(KernelError) {
        try KernelError.check(codex_launch_go(control.number), "send")
    }

    /// Waits for the child's next word.
    public borrowing func receive() throws(KernelError) -> LaunchMessage {
        var message = codex_message()
        let result = try KernelError.check(codex_launch_receive(control.number, &message), "recvmsg")
        if result == 0 { return .finished }
        switch message.kind {
        case CODEX_MESSAGE_HELD.rawValue:
            var inodes: [Namespace: UInt64] = [:]
            withUnsafeBytes(of: message.namespaces) { bytes in
                for namespace in Namespace.allCases {
                    inodes[namespace] = bytes.loadUnaligned(
                        fromByteOffset: Int(namespace.rawValue) * 8, as: UInt64.self)
                }
            }
            return .held(inodes)
        case CODEX_MESSAGE_TERMINAL.rawValue where message.descriptor >= 0:
            return .terminal(Descriptor(owning: message.descriptor))
        case CODEX_MESSAGE_UNBORN.rawValue: return .unborn(KernelError("unshare", number: message.error))
        case CODEX_MESSAGE_ENTERED.rawValue where message.descriptor >= 0:
            return .entered(pid: message.pid, Descriptor(owning: message.descriptor))
        case CODEX_MESSAGE_LISTENER.rawValue where message.descriptor >= 0:
            return .listener(Descriptor(owning: message.descriptor))
        case CODEX_MESSAGE_READY.rawValue: return .ready
        case CODEX_MESSAGE_NETWORK.rawValue where message.descriptor >= 0:
            return .network(Descriptor(owning: message.descriptor))
        case CODEX_MESSAGE_ROOT.rawValue where message.descriptor >= 0:
            return .root(Descriptor(owning: message.descriptor))
        default:
            let detail = withUnsafeBytes(of: message.detail) { bytes in
                String(decoding: bytes.prefix { $0 != 0 && $0 != 10 }, as: UTF8.self)
            }
            let step = message.step == UInt32.max ? nil : Int(message.step)
            return .failed(step: step, KernelError("launch", number: message.error), detail: detail)
        }
    }

    /// Waits for the child's next word, or for a call of its that is told on an observing filter's listener.
    ///
    /// - Returns: whether there is a word; ``receive()`` does not wait then.
    public borrowing func hasWord(orCallOn listener: borrowing Descriptor) throws(KernelError) -> Bool {
        try KernelError.check(codex_observe_either(control.number, listener.number), "poll") & 1 == 1
    }

    /// The process that ``LaunchMessage/entered`` named takes the child's place: it is a child of this
    /// process too (CLONE_PARENT). The first one has done its part, and is reaped.
    public mutating func become(pid: Int32, _ pidfd: consuming Descriptor) throws(KernelError) {
        var usage = codex_usage()
        let first = self.pid
        self.pid = pid
        self.pidfd = pidfd
        try KernelError.check(codex_reap(first, &usage, 1), "wait4")
    }

    /// Signals the whole process group that the child leads. Only before it is reaped.
    public borrowing func signalGroup(_ number: Int32) { _ = codex_signal_group(pid, number) }

    public borrowing func signal(_ number: Int32) throws(KernelError) {
        try KernelError.check(codex_pidfd_send_signal(pidfd.number, number), "pidfd_send_signal")
    }

    /// Ends the child whatever it does, and reaps it.
    @discardableResult
    public borrowing func kill() -> ProcessEnd? {
        _ = codex_pidfd_send_signal(pidfd.number, SIGKILL)
        return try? reap(wait: true)
    }

    /// What the program used and how it ended; nil while it runs. Of one that was adopted only that it ended.
    public borrowing func reap(wait: Bool) throws(KernelError) -> ProcessEnd? {
        if isForeign { return pidfd.waitReadable(milliseconds: wait ? -1 : 0) ? .unseen : nil }
        var usage = codex_usage()
        let result = try KernelError.check(codex_reap(pid, &usage, wait ? 1 : 0), "wait4")
        return result == 0 ? nil : ProcessEnd(usage, reported: try reportedStatus())
    }

    private borrowing func reportedStatus() throws(KernelError) -> Int32? {
        var status: Int32 = 0
        switch report {
        case .some(let socket):
            return try KernelError.check(codex_launch_reported(socket.number, &status), "recv") == 1 ? status : nil
        case .none: return nil
        }
    }
}

/// How a process ended, with what it and the children it waited for had used (wait4(2), getrusage(2)).
public struct ProcessEnd: Equatable, Sendable {
    public let exitCode: Int32?
    public let signal: Int32?
    /// Pid 1 was codex32's reaper, and this is what it said of the program; otherwise pid 1's own end.
    public let isReported: Bool
    public let userMicroseconds: Int64
    public let systemMicroseconds: Int64
    /// The largest of the processes, in bytes.
    public let peakBytes: Int64

    /// Of a process whose end nobody could wait for: nothing is known of it.
    static let unseen = ProcessEnd()

    private init() {
        (exitCode, signal, isReported) = (nil, nil, false)
        (userMicroseconds, systemMicroseconds, peakBytes) = (0, 0, 0)
    }

    init(_ usage: codex_usage, reported: Int32?) {
        let status = reported ?? usage.status
        let low = status & 0x7f
        isReported = reported != nil
        exitCode = low == 0 ? (status >> 8) & 0xff : nil
        signal = low == 0 ? nil : low
        userMicroseconds = usage.user_microseconds
        systemMicroseconds = usage.system_microseconds
        peakBytes = usage.peak_bytes
    }
}

extension codex_birth {
    init(_ namespaces: CaseSet<Namespace>, reaper: Bool) {
        self.init()
        for namespace in namespaces { clone_flags |= namespace.cloneFlag }
        cgroup = -1
        self.reaper = reaper ? 1 : 0
    }
}
