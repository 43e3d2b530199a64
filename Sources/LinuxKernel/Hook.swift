internal import CShims
internal import Glibc

/// A program that a launch's child runs on its way (config.md, "POSIX-platform Hooks").
public struct LaunchHook: Hashable, Sendable {
    /// By the specification's name, for messages.
    public let kind: String
    public let path: String
    public let arguments: [String]
    public let environment: [String]
    /// Until it is killed; 0: no limit.
    public let seconds: UInt32
    /// Its standard input, up to the number of the container's process, which comes last and which only that process
    /// knows: `{..., "pid":`.
    public let stateBeforePid: String

    public init(
        kind: String, path: String, arguments: [String], environment: [String], seconds: UInt32, stateBeforePid: String
    ) {
        self.kind = kind
        self.path = path
        self.arguments = arguments
        self.environment = environment
        self.seconds = seconds
        self.stateBeforePid = stateBeforePid
    }

    /// Runs it as this process's own child, in this process's namespaces and folder.
    ///
    /// - Throws: what kept it from running, or how it failed, with the beginning of what it printed.
    public func run(pid: Int32) throws(Problem) {
        let state = "\(stateBeforePid)\(pid)}"
        var status: Int32 = 0
        var words = [CChar](repeating: 0, count: 1024)
        let result = withCStrings(arguments) { argv in
            withCStrings(environment) { envp in
                var state = state
                return state.withUTF8 { bytes in
                    path.withCString { path in
                        var hook = codex_hook()
                        hook.path = path
                        hook.argv = argv
                        hook.envp = envp
                        hook.state = UnsafeRawPointer(bytes.baseAddress)?.assumingMemoryBound(to: CChar.self)
                        hook.state_length = bytes.count
                        hook.seconds = Int64(seconds)
                        return codex_hook_run(&hook, &status, &words, words.count)
                    }
                }
            }
        }
        let what = "the \(kind) hook \(path) failed"
        if result == -ETIME { throw Problem(what, "it took longer than \(seconds) s") }
        if result < 0 { throw Problem(what, KernelError("execve", path, number: -result).reason) }
        if status == 0 { return }
        let end = status & 0x7f
        let told = String(decoding: words.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        throw Problem(
            what,
            (end == 0 ? "exit status \((status >> 8) & 0xff)" : "signal \(end)") + (told.isEmpty ? "" : ": \(told)"))
    }
}

/// What became of a child that ``LaunchStep/awaitStart(_:outcome:)`` let go.
public enum LaunchOutcome: Sendable {
    /// It is the program now, or it ended without a word.
    case executed
    case notRun(KernelError)
    /// A hook failed, and how; empty: the error says it.
    case hookFailed(KernelError, detail: String)
    case failed(KernelError, detail: String)

    /// Waits for it, on the pipe's reading end.
    public init(on pipe: borrowing Descriptor) throws(KernelError) {
        var message = codex_message()
        guard try KernelError.check(codex_launch_outcome(pipe.number, &message), "read") == 1 else {
            self = .executed
            return
        }
        let error = KernelError("launch", number: message.error)
        let detail = withUnsafeBytes(of: message.detail) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        switch UInt32(bitPattern: message.pid) {
        case CODEX_STEP_HOOK.rawValue: self = .hookFailed(error, detail: detail)
        case CODEX_STEP_EXEC.rawValue: self = .notRun(error)
        default: self = .failed(error, detail: detail)
        }
    }
}
