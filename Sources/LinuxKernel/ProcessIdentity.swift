internal import CShims
internal import Glibc

/// A process that cannot be mistaken for another: its number, when it began, and in which boot.
///
/// A number alone is used again (credentials(7)); with the start time of `/proc/PID/stat` it is not.
public struct ProcessIdentity: Equatable, Sendable {
    public let pid: Int32
    /// Clock ticks since boot (proc_pid_stat(5), field 22).
    public let startTime: UInt64
    /// `/proc/sys/kernel/random/boot_id`.
    public let boot: String

    public init(pid: Int32, startTime: UInt64, boot: String) {
        self.pid = pid
        self.startTime = startTime
        self.boot = boot
    }

    /// The process that has this number now; nil: none has, or it could not be looked at.
    public init?(of pid: Int32) {
        guard let found = try? ProcessIdentity.find(pid) else { return nil }
        self = found
    }

    /// The process that has this number now; nil: none has, for certain.
    ///
    /// - Throws: what kept it from being looked at.
    public static func find(_ pid: Int32) throws(KernelError) -> ProcessIdentity? {
        guard pid > 0 else { return nil }
        // First: without /proc this fails, and is no proof that there is no process.
        let boot = try boot.get()
        guard let startTime = try startTime(pid) else { return nil }
        return ProcessIdentity(pid: pid, startTime: startTime, boot: boot)
    }

    private static let boot = Result { () throws(KernelError) in
        let text = try Descriptor.contents(of: "/proc/sys/kernel/random/boot_id")
        return String(text.prefix { $0 != "\n" })
    }

    /// The boot of the machine that this process is of; nil: it cannot be read.
    public static var currentBoot: String? { try? boot.get() }

    /// The fields behind the name, which may hold blanks and brackets: they are counted from the last bracket, and the
    /// first of them is field 3. Nil: there is no such process.
    private static func fields(_ pid: Int32) throws(KernelError) -> [Substring]? {
        let text: String
        do { text = try Descriptor.contents(of: "/proc/\(pid)/stat") } catch {
            if error.isAbsence { return nil }
            throw error
        }
        guard let end = text.lastIndex(of: ")") else { return nil }
        return text[text.index(after: end)...].split(separator: " ")
    }

    private static func startTime(_ pid: Int32) throws(KernelError) -> UInt64? {
        // A zombie has ended: only its parent does not know yet.
        guard let fields = try fields(pid), fields.count > 19, fields[0] != "Z", fields[0] != "X" else { return nil }
        return UInt64(fields[19])
    }

    /// Whether it has begun to end; all of its pid namespace ends then if it is the first of it (`PF_EXITING` in field 9 of
    /// proc_pid_stat(5); pid_namespaces(7)).
    public var isExiting: Bool {
        guard let fields = try? ProcessIdentity.fields(pid), fields.count > 19, fields[19] == String(startTime),
            let flags = UInt64(fields[6])
        else { return false }
        return flags & 0x4 != 0
    }

    /// Whether it runs, for certain.
    public var isAlive: Bool { ProcessIdentity(of: pid) == self }

    /// Whether it has ended, for certain: one that could not be looked at may run.
    public var hasEnded: Bool {
        do { return try ProcessIdentity.find(pid) != self } catch { return false }
    }

    /// A descriptor for this very process; nil: it is gone, whoever has its number now.
    ///
    /// - Throws: what kept it from being opened or looked at.
    public func held() throws(KernelError) -> Descriptor? {
        let number = codex_pidfd_open(pid)
        // The number of a thread is EINVAL, or ENOENT (pidfd_open(2)).
        if [-ESRCH, -EINVAL, -ENOENT].contains(number) { return nil }
        // Looked at after the descriptor is held: from here on the number cannot pass to another unseen.
        let process = Descriptor(owning: try KernelError.check(number, "pidfd_open"))
        guard try ProcessIdentity.find(pid) == self else { return nil }
        return process
    }

    /// As ``held()``; nil also where it could not be looked at.
    public func open() -> Descriptor? { (try? held()) ?? nil }
}

extension Descriptor {
    /// Sends a signal to the process of this pidfd (pidfd_send_signal(2), Linux 5.1).
    public borrowing func signal(_ number: Int32) throws(KernelError) {
        try KernelError.check(codex_pidfd_send_signal(self.number, number), "pidfd_send_signal")
    }

    /// Waits until this descriptor can be read; for a pidfd: until the process has ended. False: the time is over.
    public borrowing func waitReadable(milliseconds: Int) -> Bool {
        codex_wait_readable(number, Int32(clamping: milliseconds)) > 0
    }

    /// Takes the lock of this open file (fcntl(2), "open file description locks"): whoever inherits the
    /// descriptor has it too, and it ends with the last copy. False: another has it, and `wait` is off.
    public borrowing func takeLock(wait: Bool) throws(KernelError) -> Bool {
        let result = codex_lock_take(number, wait ? 1 : 0)
        if result == -EAGAIN { return false }
        try KernelError.check(result, "fcntl")
        return true
    }

    /// Gives the lock up, for every copy of the descriptor.
    public borrowing func releaseLock() { _ = codex_lock_release(number) }

    /// Whether another open file has the lock. Nothing is taken, so nobody is disturbed.
    public borrowing func isLocked() throws(KernelError) -> Bool {
        try KernelError.check(codex_lock_is_taken(number), "fcntl") == 1
    }
}

extension HostProgram {
    /// Starts a program that outlives this one, in a session of its own, with no streams. It inherits the
    /// descriptors of `keep` under their numbers.
    public static func detach(
        _ path: String, _ arguments: [String], environment: [String], keep: [Int32]
    ) throws(KernelError) {
        let result = withCStrings(arguments) { argv in
            withCStrings(environment) { envp in
                codex_spawn_detached(path, argv, envp, keep, Int32(keep.count))
            }
        }
        try KernelError.check(result, "fork", path)
    }
}
