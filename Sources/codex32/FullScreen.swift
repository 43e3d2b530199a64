internal import LinuxKernel

/// The caller's terminal as a full screen: its second page, no cursor, no echo, for as long as this value lives.
///
/// What stood on the terminal comes back on every way out, with the settings of its line.
struct FullScreen: ~Copyable {
    private let raw: RawTerminal

    /// Nil: standard input or output is no terminal.
    init?() {
        guard StandardStream.output.isTerminal, let raw = RawTerminal(.input) else { return nil }
        self.raw = raw
        // xterm's control sequences, which every terminal of today has: the second page, the cursor off, and no
        // going on in the next line where a letter is wider than was thought.
        StandardStream.output.print("\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l\u{1b}[2J")
    }

    deinit { StandardStream.output.print("\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l") }

    var size: TerminalSize { TerminalSize(of: .output) ?? TerminalSize(rows: 24, columns: 80) }

    /// Shows lines from the top; each is cut already. In one write, so that it does not flicker.
    borrowing func show(_ lines: [String]) {
        let rows = Int(size.rows)
        var output = ""
        // Cleared first: behind a line as wide as the terminal the cursor stands on its last letter.
        for (index, line) in lines.prefix(rows).enumerated() { output += "\u{1b}[\(index + 1);1H\u{1b}[2K\(line)" }
        if lines.count < rows { output += "\u{1b}[\(lines.count + 1);1H\u{1b}[J" }
        StandardStream.output.print(output)
    }
}

/// What was typed, from the bytes that a terminal sends. An escape sequence may come in pieces.
struct KeyReader {
    enum Key: Equatable {
        case letter(UInt8)
        case up, down, pageUp, pageDown, home, end
    }
    private var pending: [UInt8] = []

    mutating func keys(_ bytes: [UInt8]) -> [Key] {
        var keys: [Key] = []
        for byte in bytes {
            if pending.isEmpty {
                if byte == 0x1b { pending = [byte] } else { keys.append(.letter(byte)) }
            } else if pending.count == 1 {
                // CSI and SS3 (ECMA-48); another letter behind an escape was typed with Alt, and means nothing here.
                pending = byte == 0x5b || byte == 0x4f ? [0x1b, byte] : byte == 0x1b ? [byte] : []
            } else if (0x40...0x7e).contains(byte) {
                if let key = KeyReader.sequence(Array(pending[2...]), byte) { keys.append(key) }
                pending = []
            } else {
                pending.append(byte)
                if pending.count > 32 { pending = [] }
            }
        }
        return keys
    }

    private static func sequence(_ parameters: [UInt8], _ last: UInt8) -> Key? {
        switch (last, parameters.first) {
        case (UInt8(ascii: "A"), _): .up
        case (UInt8(ascii: "B"), _): .down
        case (UInt8(ascii: "H"), _): .home
        case (UInt8(ascii: "F"), _): .end
        case (UInt8(ascii: "~"), UInt8(ascii: "5")): .pageUp
        case (UInt8(ascii: "~"), UInt8(ascii: "6")): .pageDown
        default: nil
        }
    }
}
