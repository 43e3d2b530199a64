public import LinuxKernel
public import OCISpec

/// The calls that a learned profile leaves to a program, and where they come from.
public struct LearnedCalls: Equatable, Sendable {
    /// The file, for messages and for the receipt.
    public let name: String
    /// SHA-256 of the file, in lower-case digits.
    public let digest: String
    /// Names of system calls.
    public let calls: [String]
    /// AUDIT_ARCH_* has them by these numbers.
    private let numbers: Set<Int32>

    /// - Throws: for a name that this machine's architecture does not know.
    public init(name: String, digest: String, calls: [String]) throws(DocumentError) {
        var numbers: Set<Int32> = []
        for call in calls {
            guard let known = SystemCallNumber(name: call), known.number >= 0 else {
                throw DocumentError("systemCalls", "\(call) is no system call of this machine's")
            }
            numbers.insert(known.number)
        }
        (self.name, self.digest, self.calls, self.numbers) = (name, digest, calls, numbers)
    }

    public func contains(_ call: SystemCallData) -> Bool {
        call.architecture == SeccompBuilder.nativeArchitecture && numbers.contains(call.number)
    }

    /// Calls that every profile has, where its level has them: those that come and go by chance (who waits for whom, how
    /// much memory there is, whether this machine tells the time without the kernel, vdso(7)), that every start and end
    /// takes, and that reach nothing but descriptors which the program has already.
    ///
    /// They are not told of while a program is learned from. A call that is told of can be interrupted by a signal before
    /// codex32 looks at it (EINTR), also where it never fails so otherwise; and what a program does about its signals
    /// and its children would go wrong by that.
    public static let plain = [
        "alarm", "arch_prctl", "brk", "clock_getres", "clock_gettime", "clock_nanosleep", "close", "dup", "dup2",
        "dup3",
        "epoll_pwait", "epoll_wait", "exit", "exit_group", "fcntl", "fstat", "futex", "getcpu", "getegid", "geteuid",
        "getgid", "getpgid", "getpgrp", "getpid", "getppid", "gettid", "gettimeofday", "getuid", "lseek", "madvise",
        "mmap", "mprotect", "mremap", "munmap", "nanosleep", "pause", "poll", "ppoll", "pread64", "pselect6",
        "pwrite64",
        "read", "readv", "restart_syscall", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigreturn",
        "rt_sigsuspend", "rt_sigtimedwait", "sched_yield", "select", "set_robust_list", "set_tid_address",
        "sigaltstack",
        "tgkill", "time", "wait4", "waitid", "write", "writev",
    ]

    /// The numbers of ``plain`` that this machine's architecture has, without the end, at which is looked.
    public static let untold: Set<Int32> = Set(
        plain.filter { $0 != "exit_group" }.compactMap { SystemCallNumber(name: $0)?.number }.filter { $0 >= 0 })

    /// What codex32's child calls behind its filter, and what no program ends without.
    private static let launch = [
        "execve", "close_range", "write", "sendmsg", "close", "exit", "exit_group", "rt_sigreturn",
    ]
    /// The same with `--init`: pid 1 goes on behind the filter for as long as the program.
    private static let reaper = [
        "clone", "dup2", "dup3", "getpid", "ioctl", "kill", "munmap", "prctl", "rt_sigprocmask", "rt_sigtimedwait",
        "set_robust_list", "setpgid", "wait4",
    ]

    /// The filter with these calls, and those that the start itself takes, left of it. Nil: it is too long.
    func restrict(_ program: SeccompProgram, reaper: Bool) -> SeccompProgram? {
        var allowed = numbers
        for name in LearnedCalls.launch + (reaper ? LearnedCalls.reaper : []) {
            guard let known = SystemCallNumber(name: name), known.number >= 0 else { continue }
            allowed.insert(known.number)
        }
        return program.restricted(to: allowed, on: SeccompBuilder.nativeArchitecture)
    }

    /// As a record and a receipt have it.
    public var document: JSON {
        .members(["name": .string(name), "digest": .string("sha256:" + digest), "systemCalls": .list(calls)])
    }

    public init(_ object: JSONObject) throws(DocumentError) {
        let digest = try object.required("digest")
        guard digest.utf8.count == 71, digest.hasPrefix("sha256:") else {
            throw DocumentError("\(object.place).digest", "is none")
        }
        try self.init(
            name: try object.required("name"), digest: String(digest.dropFirst(7)),
            calls: try object.strings("systemCalls"))
    }
}
