internal import CShims

/// The caller's terminal, in raw mode as long as this value lives, restored on every way out.
public struct RawTerminal: ~Copyable {
    private let number: Int32
    private let saved: [UInt8]

    /// Nil when the stream is not a terminal.
    public init?(_ stream: StandardStream) {
        var state = [UInt8](repeating: 0, count: codex_terminal_state_size())
        guard codex_terminal_raw(stream.rawValue, &state, state.count) == 0 else { return nil }
        number = stream.rawValue
        saved = state
    }

    deinit { _ = codex_terminal_restore(number, saved, saved.count) }
}

extension StandardStream {
    public var isTerminal: Bool { codex_terminal_is(rawValue) == 1 }

    /// Gives a pty the size of the terminal on this stream (tty_ioctl(4), TIOCSWINSZ).
    public func copySize(to terminal: borrowing Descriptor) { _ = codex_terminal_copy_size(rawValue, terminal.number) }
}

/// A terminal's size in characters (tty_ioctl(4)).
public struct TerminalSize: Equatable, Sendable {
    public let rows: UInt16
    public let columns: UInt16

    public init(rows: UInt16, columns: UInt16) {
        self.rows = rows
        self.columns = columns
    }

    /// Nil when the stream is no terminal, or one that does not know.
    public init?(of stream: StandardStream) {
        var (rows, columns): (UInt16, UInt16) = (0, 0)
        guard codex_terminal_size(stream.rawValue, &rows, &columns) == 0, rows > 0, columns > 0 else { return nil }
        self.init(rows: rows, columns: columns)
    }

    public func apply(to terminal: borrowing Descriptor) {
        _ = codex_terminal_set_size(terminal.number, rows, columns)
    }
}
