internal import CShims
internal import Glibc

/// A process that does something for this one with other rights than this one's.
public final class HelperProcess {
    private let pid: Int32
    private let pidfd: Descriptor
    private var isReaped = false

    /// Starts this program again with these words. It inherits two streams, the standard error, and `keep`, under
    /// their numbers.
    public init(
        words: [String], input: Int32, output: Int32, keep: [Int32],
        environment: [String] = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    ) throws(KernelError) {
        var pidfd: Int32 = -1
        let result = withCStrings(["codex32"] + words) { argv in
            withCStrings(environment) { envp in
                codex_spawn_helper("/proc/self/exe", argv, envp, input, output, keep, Int32(keep.count), 0, &pidfd)
            }
        }
        pid = try KernelError.check(result, "fork", "codex32")
        self.pidfd = Descriptor(owning: pidfd)
    }

    /// Starts a program of codex32's own that is not this one. It inherits two streams, the standard error, and
    /// `keep`, under their numbers.
    public init(
        program path: String, input: Int32, output: Int32, keep: [Int32], environment: [String]
    ) throws(KernelError) {
        var pidfd: Int32 = -1
        let result = withCStrings([path]) { argv in
            withCStrings(environment) { envp in
                codex_spawn_helper(path, argv, envp, input, output, keep, Int32(keep.count), 0, &pidfd)
            }
        }
        pid = try KernelError.check(result, "fork", path)
        self.pidfd = Descriptor(owning: pidfd)
    }

    /// Starts a program of the host that makes one stream of another, whatever is in it: nobody's process, with a
    /// gibibyte of memory, no file to write to, and no standard error.
    public init(filter path: String, _ arguments: [String], input: Int32, output: Int32) throws(KernelError) {
        var pidfd: Int32 = -1
        let result = withCStrings(arguments) { argv in
            withCStrings(["PATH=/usr/bin:/bin", "LC_ALL=C"]) { envp in
                codex_spawn_helper(path, argv, envp, input, output, [], 0, 1, &pidfd)
            }
        }
        pid = try KernelError.check(result, "fork", path)
        self.pidfd = Descriptor(owning: pidfd)
    }

    /// Waits for its end, and returns its exit status; 128+n for a signal.
    public func wait() throws(KernelError) -> Int32 {
        var usage = codex_usage()
        try KernelError.check(codex_reap(pid, &usage, 1), "wait4")
        isReaped = true
        let signal = usage.status & 0x7f
        return signal == 0 ? (usage.status >> 8) & 0xff : 128 + signal
    }

    public func signal(_ number: Int32) { _ = codex_pidfd_send_signal(pidfd.number, number) }

    /// It goes on when this process ends.
    public func letGo() { isReaped = true }

    deinit {
        if isReaped { return }
        _ = codex_pidfd_send_signal(pidfd.number, SIGKILL)
        var usage = codex_usage()
        _ = codex_reap(pid, &usage, 1)
    }
}

extension Machine {
    /// Goes into a user namespace for good and becomes its root, or the one user whom it has (setns(2)). From then
    /// on this process has no right outside of it.
    public static func becomeRoot(of namespace: borrowing Descriptor) throws(KernelError) {
        try KernelError.check(codex_enter_user_namespace(namespace.number), "setns")
        let ids = (try firstID("uid_map"), try firstID("gid_map"))
        try KernelError.check(codex_become_user(ids.0, ids.1), "setresuid")
    }

    /// Root where the namespace has one, else the first id of its map.
    private static func firstID(_ file: String) throws(KernelError) -> UInt32 {
        let text = try Descriptor.contents(of: "/proc/self/\(file)")
        let starts = text.split(separator: "\n").compactMap { UInt32($0.split(separator: " ").first ?? "") }
        guard let first = starts.min() else { throw KernelError("open", "/proc/self/\(file)", number: ENODATA) }
        return first
    }

    /// Ends this process with its parent, which must be the one with this number, and lets nobody trace it.
    public static func dieWith(parent: Int32) throws(KernelError) {
        try KernelError.check(codex_die_with(parent), "prctl")
    }

    /// Leaves the terminal and the standard streams, and does not end with the parent any more.
    public static func goOnAlone() { codex_go_on_alone() }

    public static func ignorePipeSignal() { _ = signal(SIGPIPE, SIG_IGN) }

    /// A write beyond RLIMIT_FSIZE fails with EFBIG, and does not end the process (setrlimit(2)).
    public static func ignoreFileSizeSignal() { _ = signal(SIGXFSZ, SIG_IGN) }
}

extension Descriptor {
    /// What would be read next, up to so many bytes, and is still there to be read; empty for what cannot be looked
    /// into, such as a device.
    public borrowing func peek(_ count: Int) throws(KernelError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let result = bytes.withUnsafeMutableBytes { codex_peek(number, $0.baseAddress, $0.count) }
        let size = try KernelError.check(Int32(clamping: result), "tee")
        return Array(bytes.prefix(Int(size)))
    }
}

extension StandardStream {
    /// A descriptor of its own for what this stream is.
    public func duplicate() throws(KernelError) -> Descriptor {
        Descriptor(owning: try KernelError.check(codex_duplicate(rawValue, 3), "fcntl"))
    }
}
