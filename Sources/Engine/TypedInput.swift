internal import LinuxKernel

/// What a person typed, or a pipe brought, on its way to a program's terminal.
///
/// A terminal takes a few kilobytes until its program reads. What does not fit waits for room, and nothing more is
/// read meanwhile: a program that reads slowly, or late, loses nothing.
struct TypedInput {
    private var bytes: [UInt8] = []

    var isEmpty: Bool { bytes.isEmpty }

    /// Takes what there is now. False: that was all.
    mutating func read() -> Bool {
        guard let some = StandardStream.input.readSome(4096) else { return true }
        // The end of the input is the terminal's end-of-file character to the program (termios(3), VEOF).
        bytes += some.isEmpty ? [4] : some
        return !some.isEmpty
    }

    /// Passes on what fits.
    mutating func write(to master: borrowing Descriptor) {
        while !bytes.isEmpty {
            do {
                let count = try master.write(some: bytes)
                if count == 0 { return }
                bytes.removeFirst(count)
            } catch {
                // Nobody has the other end any more: nobody reads the rest.
                if error.number != Errno.wouldBlock { bytes = [] }
                return
            }
        }
    }
}
