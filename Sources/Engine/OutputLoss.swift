internal import LinuxKernel

/// What a program wrote and its caller did not take: its disk is full, or its terminal does not work any more.
///
/// The program goes on, as nothing of it depends on who looks on, and its status stays what codex32 ends with. That
/// something is missing is told once, behind its end: until then the terminal is the program's, and a caller that does
/// not read must not keep codex32 from watching time and signals.
struct OutputLoss {
    static let what = "cannot pass on all that the program wrote"
    static let usualHint = "its output has to go where there is room for it; the program itself went on"

    private var first: KernelError?

    /// From here on nothing more of the stream is passed on: what comes later must not look as if it had followed.
    private(set) var isComplete = false

    mutating func note(_ error: KernelError) {
        isComplete = true
        // A reader that is gone wants no more.
        if first == nil, error.number != Errno.brokenPipe { first = error }
    }

    func tell(hint: String = usualHint) {
        guard let first else { return }
        let problem = Problem(OutputLoss.what, first, hint: hint)
        StandardStream.error.print("codex32: \(problem)\n")
    }
}
