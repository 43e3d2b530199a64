internal import LinuxKernel

/// The program's standard streams while it runs.
///
/// Without a terminal and without an output limit they are the caller's own: nothing is copied. With a
/// terminal, its master is copied to and from them; with a limit, output comes through two pipes.
struct Streams: ~Copyable {
    /// What the child gets.
    let standard: (Int32, Int32, Int32)
    private let owned: [Int32]
    /// Read ends, each with the stream it goes to.
    let pipes: [(read: Int32, to: StandardStream)]

    /// - Parameter output: where the program's output goes; its input is empty where that is not codex32's own.
    init(interactive: Bool, limited: Bool, output: ProgramOutput = .own) throws(Problem) {
        var owned: [Int32] = []
        var pipes: [(Int32, StandardStream)] = []
        var ends: (Int32, Int32) = (1, 2)
        // A terminal is handed over only when asked: a program in the background has no business
        // reading what a person types.
        var input: Int32 = 0
        let what = "cannot set up the standard streams"
        if output != .own || !interactive && StandardStream.input.isTerminal {
            input = try explaining(what) { () throws(KernelError) in try Descriptor.open("/dev/null", [.read]).release()
            }
            owned.append(input)
        }
        switch output {
        case .own: break
        case .error: ends.0 = 2
        case .none:
            ends.0 = try explaining(what) { () throws(KernelError) in
                try Descriptor.open("/dev/null", [.write]).release()
            }
            owned.append(ends.0)
        }
        if limited {
            for stream in [StandardStream.output, .error] {
                let pipe = try explaining(what) { () throws(KernelError) in try Descriptor.pipe() }
                pipes.append((pipe.read, stream))
                owned += [pipe.read, pipe.write]
                if stream == .output { ends.0 = pipe.write } else { ends.1 = pipe.write }
            }
        }
        standard = (input, ends.0, ends.1)
        self.owned = owned
        self.pipes = pipes
    }

    /// Closes what only the child needs.
    borrowing func closeChildEnds() -> [Int32] {
        for number in owned where !pipes.contains(where: { $0.read == number }) { _ = Descriptor(owning: number) }
        return pipes.map(\.read)
    }
}
