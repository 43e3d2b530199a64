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

    /// Calls that come and go without the program's doing: by chance of who waits for whom, by how much memory there is,
    /// by whether this machine answers the question for the time without the kernel (vdso(7)), and what every end needs.
    private static let always = [
        "brk", "clock_getres", "clock_gettime", "exit", "exit_group", "futex", "getcpu", "getpid", "gettid",
        "gettimeofday", "madvise", "mmap", "mprotect", "mremap", "munmap", "restart_syscall", "rt_sigaction",
        "rt_sigprocmask", "rt_sigreturn", "sched_yield", "tgkill", "time",
    ]
    /// What codex32's child calls behind its filter.
    private static let launch = ["execve", "close_range", "write", "sendmsg", "close"]
    /// The same with `--init`: pid 1 goes on behind the filter for as long as the program.
    private static let reaper = [
        "clone", "dup2", "dup3", "ioctl", "kill", "prctl", "rt_sigtimedwait", "set_robust_list", "setpgid", "wait4",
    ]

    /// The filter with these calls, and those that the start itself takes, left of it. Nil: it is too long.
    func restrict(_ program: SeccompProgram, reaper: Bool) -> SeccompProgram? {
        var allowed = numbers
        for name in LearnedCalls.always + LearnedCalls.launch + (reaper ? LearnedCalls.reaper : []) {
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
