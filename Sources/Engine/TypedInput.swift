internal import LinuxKernel

/// What a person typed, or a pipe brought, on its way to a program's terminal.
///
/// A terminal takes a few kilobytes until its program reads. What does not fit waits for room, and nothing more is
/// read meanwhile: a program that reads slowly, or late, loses nothing.
struct TypedInput {
    private var bytes: [UInt8] = []
    private var watch: DetachWatch
    /// The keys were typed: nobody watches the program any more.
    private(set) var isDetached = false

    var isEmpty: Bool { bytes.isEmpty }

    /// - Parameter keys: what is typed to leave the program alone; empty: nothing.
    init(detachKeys keys: [UInt8] = []) { watch = DetachWatch(keys) }

    /// Takes what there is now. False: that was all.
    mutating func read() -> Bool {
        guard let some = StandardStream.input.readSome(4096) else { return true }
        guard let kept = watch.pass(some) else {
            isDetached = true
            return false
        }
        // The end of the input is the terminal's end-of-file character to the program (termios(3), VEOF).
        bytes += some.isEmpty ? [4] : kept
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
