internal import CShims
internal import Glibc

/// The three streams that every process has from its caller.
public enum StandardStream: Int32, Sendable {
    case input = 0
    case output = 1
    case error = 2

    /// Writes all of the text; as ``write(_:)``.
    public func print(_ text: String) {
        write(Array(text.utf8)[...])
    }

    /// Writes all of what somebody must get, waiting where the reader is slow: without a container's id, say, nobody can
    /// find it again.
    public func tell(_ bytes: ArraySlice<UInt8>) throws(KernelError) {
        var rest = bytes
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { codex_write(rawValue, $0.baseAddress, $0.count) }
            // Whoever shares the stream may have made it one that does not wait.
            if count == -Int(EAGAIN), codex_writable(rawValue, -1) > 0 { continue }
            rest = rest.dropFirst(try KernelError.check(count, "write", name))
        }
    }

    var name: String {
        switch self {
        case .input: "standard input"
        case .output: "standard output"
        case .error: "standard error"
        }
    }

    /// For what would be shown without end: as ``checkTaken()``, and where nobody reads it any more this is the end of
    /// the process. Usually the kernel's signal is, but the caller may have it ignored (signal(7), SIGPIPE).
    public func checkFollowed() throws(Problem) {
        try checkTaken()
        if lost != nil { Machine.exit(0) }
    }

    /// What can be read now; empty: the end; nil: it failed or would block.
    public func readSome(_ count: Int) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: count)
        let result = bytes.withUnsafeMutableBytes { codex_read(rawValue, $0.baseAddress, $0.count) }
        return result < 0 ? nil : Array(bytes[..<result])
    }

    /// Writes all of the bytes, waiting where the reader is slow. What could not be written is told by
    /// ``checkTaken()``, at the latest when a verb has come to its end: a verb of several things does them all.
    public func write(_ bytes: ArraySlice<UInt8>) {
        // Nothing follows a gap: half of a result must not look like one. Of messages, each stands for itself.
        if self == .output, lost != nil { return }
        do throws(KernelError) { try tell(bytes) } catch {
            if lost == nil { lost = error }
        }
    }

    /// Why a stream took less than was written to it. One thread writes to them, that of the verb; and they are no
    /// dictionary, which every run would have to make.
    private nonisolated(unsafe) static var lostOutput: KernelError?
    private nonisolated(unsafe) static var lostError: KernelError?

    private var lost: KernelError? {
        get { self == .output ? StandardStream.lostOutput : StandardStream.lostError }
        nonmutating set {
            if self == .output { StandardStream.lostOutput = newValue } else { StandardStream.lostError = newValue }
        }
    }

    /// Throws when something that was written has not arrived, as on a full disk. A reader that is gone has read all
    /// that it wanted; so has a terminal that was hung up, which answers EIO (termios(3), tty(4)).
    public func checkTaken() throws(Problem) {
        guard let error = lost, error.number != EPIPE, error.number != EIO || !wasTerminal else { return }
        throw Problem(
            "cannot write to \(name)", error.reason,
            hint: "what it shows is not whole; anything else that was to be done is done")
    }

    /// Of what is no terminal, isatty(3) says ENOTTY; of one that is gone, what everything says there.
    private var wasTerminal: Bool { isatty(rawValue) == 1 || errno == EIO }

    /// Opens `/dev/null` for those of 0, 1 and 2 that the caller closed, so that no file of ours
    /// ever gets one of their numbers.
    public static func fillGaps() {
        while true {
            let opened = codex_openat(AT_FDCWD, "/dev/null", O_RDWR, 0)
            if opened < 0 { return }
            if opened > 2 {
                _ = codex_close(opened)
                return
            }
        }
    }
}
