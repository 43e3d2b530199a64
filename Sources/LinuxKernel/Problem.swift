/// What a person is told when codex32 could not do what was asked: what failed, why, and what to do.
///
/// Printed as `codex32: <what>: <why>` and, where there is one, a second line `hint: <hint>`.
public struct Problem: Error, Equatable, CustomStringConvertible {
    public let what: String
    public let why: String
    public let hint: String?
    /// The exit status that goes with it: 125 codex32 could not, 126 not executable, 127 not found.
    public let status: Int32
    /// The call that failed; nil: codex32 itself found something wrong.
    public let cause: KernelError?

    public init(
        _ what: String, _ why: String, hint: String? = nil, status: Int32 = 125, cause: KernelError? = nil
    ) {
        self.what = what
        self.why = why
        self.hint = hint
        self.status = status
        self.cause = cause
    }

    /// A problem whose reason is the kernel's; the call is kept in the text.
    public init(_ what: String, _ cause: KernelError, hint: String? = nil, status: Int32 = 125) {
        self.init(what, cause.description, hint: hint ?? Problem.usualHint(cause), status: status, cause: cause)
    }

    /// What helps against the failures that can meet any call.
    public static func usualHint(_ cause: KernelError) -> String? {
        switch cause.number {
        case Errno.noSpace, Errno.quota:
            "free some space, or use another storage folder with --root or CODEX32_STORAGE_DIR"
        case Errno.fileTooBig: "allow larger files: ulimit -f"
        case Errno.readOnly: "use a writable storage folder with --root or CODEX32_STORAGE_DIR"
        case _ where cause.call == "mkdir": "codex32 must be able to write there; --root chooses another folder"
        case Errno.processFiles, Errno.machineFiles: "allow more open files: ulimit -n, or sysctl -w fs.file-max"
        case Errno.noMemory: "free some memory, or give codex32 more"
        case Errno.io: "the kernel's own log may say what failed: dmesg"
        case Errno.permission, Errno.noSystemCall: "codex32 doctor says what this machine offers"
        case Errno.interrupted, Errno.wouldBlock: "try again"
        default: "codex32 doctor says what this machine offers"
        }
    }

    public var description: String {
        var text = "\(what.quotedForTerminal): \(why.quotedForTerminal)"
        if let hint { text += "\nhint: \(hint.quotedForTerminal)" }
        return text
    }
}

/// Runs a kernel call and says in whose service it failed.
public func explaining<Result: ~Copyable>(
    _ what: @autoclosure () -> String, hint: @autoclosure () -> String? = nil,
    _ body: () throws(KernelError) -> Result
) throws(Problem) -> Result {
    do { return try body() } catch { throw Problem(what(), error, hint: hint()) }
}
