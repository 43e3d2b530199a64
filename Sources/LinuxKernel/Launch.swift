internal import CShims
internal import Glibc

/// Everything a launch takes, beside its steps.
public struct LaunchInput: Sendable {
    public var namespaces: Set<Namespace>
    public var steps: [LaunchStep]
    public var slotCount: Int
    /// What becomes descriptors 0, 1 and 2.
    public var standard: (Int32, Int32, Int32)
    public var terminal: Bool
    public var candidates: [String]
    public var arguments: [String]
    public var environment: [String]

    public init(
        namespaces: Set<Namespace>, steps: [LaunchStep], slotCount: Int, standard: (Int32, Int32, Int32),
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

    /// Starts the child (clone3(2), Linux 5.3; every namespace in this one call). It waits for ``go()``.
    ///
    /// `sources` are descriptors that the steps find in their slots; they stay the caller's.
    public static func launch(
        _ input: LaunchInput, sources: [Slot: Int32], cgroup: borrowing Descriptor?
    ) throws(KernelError) -> Child {
        let encoded = EncodedSteps(input.steps)
        var slots = [Int32](repeating: -1, count: max(input.slotCount, 1))
        for (slot, number) in sources { slots[slot.index] = number }
        var child = codex_child()
        var cgroupNumber: Int32 = -1
        switch cgroup {
        case .some(let folder): cgroupNumber = folder.number
        case .none: break
        }
        let hasReaper = input.steps.contains(.reaper)
        var flags: UInt64 = 0
        for namespace in input.namespaces { flags |= namespace.cloneFlag }
        let result = withCStrings(input.candidates) { candidates in
            withCStrings(input.arguments) { argv in
                withCStrings(input.environment) { envp in
                    encoded.steps.withUnsafeBufferPointer { steps in
                        slots.withUnsafeMutableBufferPointer { slots in
                            var plan = codex_plan()
                            plan.clone_flags = flags
                            plan.cgroup = cgroupNumber
                            plan.standard = input.standard
                            plan.terminal = input.terminal ? 1 : 0
                            plan.reaper = hasReaper ? 1 : 0
                            plan.steps = steps.baseAddress
                            plan.step_count = steps.count
                            plan.slots = slots.baseAddress
                            plan.slot_count = slots.count
                            plan.argv = argv
                            plan.envp = envp
                            return candidates.withMemoryRebound(to: UnsafePointer<CChar>?.self, capacity: 1) {
                                plan.candidates = $0
                                return codex_launch(&plan, &child)
                            }
                        }
                    }
                }
            }
        }
        try KernelError.check(result, "clone3")
        return Child(
            pid: child.pid, pidfd: Descriptor(owning: child.pidfd), control: Descriptor(owning: child.control),
            report: hasReaper ? Descriptor(owning: child.report) : nil)
    }

    /// Lets the child go on from where it waits.
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
                    inodes[namespace] = bytes.loadUnaligned(fromByteOffset: namespace.rawValue * 8, as: UInt64.self)
                }
            }
            return .held(inodes)
        case CODEX_MESSAGE_TERMINAL.rawValue where message.descriptor >= 0:
            return .terminal(Descriptor(owning: message.descriptor))
        case CODEX_MESSAGE_ENTERED.rawValue where message.descriptor >= 0:
            return .entered(pid: message.pid, Descriptor(owning: message.descriptor))
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

    /// What the program used and how it ended; nil while it runs.
    public borrowing func reap(wait: Bool) throws(KernelError) -> ProcessEnd? {
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
