internal import LinuxKernel
internal import OCISpec

/// What the supervisor tells the command that waits for the start.
struct StartReport: ~Copyable {
    private let pipe: Descriptor
    private var pending: [UInt8] = []
    /// Why nothing more can be heard, where it is not that nothing more is said.
    private var deafness: KernelError?

    /// How often a call on the pipe may fail in a row before it is given up.
    private static let patience = 4

    init(pipe: consuming Descriptor) { self.pipe = pipe }

    /// The next line; nil: the supervisor has nothing more to say.
    mutating func next() -> JSON? {
        var failures = 0
        while true {
            if let end = pending.firstIndex(of: 10) {
                let line = Array(pending[..<end])
                pending.removeFirst(end + 1)
                return try? JSONReader.read(line)
            }
            do throws(KernelError) {
                let bytes = try pipe.readPrefix(4096)
                guard !bytes.isEmpty, pending.count < 1 << 20 else { return nil }
                pending += bytes
            } catch {
                // What was said stays in the pipe.
                failures += 1
                guard failures < StartReport.patience else {
                    deafness = error
                    return nil
                }
            }
        }
    }

    /// The supervisor's end: one line. What could not be said is said again, as the command takes silence for a failed
    /// start; a command that is gone need not hear it.
    static func say(_ line: JSON, on pipe: borrowing Descriptor) {
        var rest = Array((line.text() + "\n").utf8)
        var failures = 0
        while !rest.isEmpty, failures < patience {
            do throws(KernelError) { rest.removeFirst(try pipe.write(some: rest)) } catch {
                failures = error.number == Errno.brokenPipe ? patience : failures + 1
            }
        }
    }

    /// Nothing came where something had to.
    func silence(_ what: String, _ why: String) -> Problem {
        let hint = "codex32 list -a shows what is there"
        if let deafness { return Problem("\(what): cannot hear its supervisor", deafness, hint: hint) }
        return Problem(what, why, hint: hint)
    }

    /// Waits for the start, or for why there is none. Notices go to `warn`.
    mutating func wait(warn: (String, String, String?, Bool) -> Void) throws(Problem) {
        while let line = next() {
            if let problem = line["problem"] { throw Problem(problem) }
            if line["started"] != nil { return }
            if case .string(let item)? = line["notice"], case .string(let why)? = line["why"] {
                var hint: String?
                if case .string(let text)? = line["hint"] { hint = text }
                warn(item, why, hint, line["waived"] == .bool(true))
            }
        }
        throw silence("cannot start the container", "its supervisor ended before it had started the program")
    }
}
