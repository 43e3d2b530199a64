internal import LinuxKernel

/// How far something is, on the caller's terminal, once it takes longer than a second.
///
/// On standard error, and only where that is a terminal that can go back to the start of a line: nothing is drawn into
/// a pipe or for TERM=dumb. NO_COLOR (no-color.org) leaves out the colour.
final class ProgressBar {
    private let what: String
    /// Bytes; nil: nobody knows how many there will be.
    private let total: UInt64?
    private let isShown: Bool
    private let colours: Bool
    private let began = Clock.monotonic
    private var drawn: Int64 = 0

    private static let patience: Int64 = 1_000_000_000
    private static let pause: Int64 = 100_000_000

    init(_ what: String, total: UInt64? = nil, quiet: Bool = false) {
        self.what = what.quotedForTerminal
        self.total = total
        let terminal = Machine.environment("TERM")
        isShown = !quiet && StandardStream.error.isTerminal && terminal != nil && terminal != "dumb"
        colours = Machine.environment("NO_COLOR") == nil
    }

    /// - Parameter done: bytes since the beginning.
    func update(_ done: UInt64) {
        guard isShown else { return }
        let now = Clock.monotonic
        guard now - began > ProgressBar.patience, now - drawn > ProgressBar.pause else { return }
        drawn = now
        let columns = Int(TerminalSize(of: .error)?.columns ?? 80)
        let line = ProgressBar.line(
            what, done: done, total: total, nanoseconds: now - began, columns: max(columns - 1, 20))
        StandardStream.error.print("\r\u{1b}[K" + (colours ? "\u{1b}[36m\(line)\u{1b}[0m" : line))
    }

    /// Takes the line away.
    func finish() {
        if drawn > 0 { StandardStream.error.print("\r\u{1b}[K") }
        drawn = 0
    }

    /// The line for so many columns: what, a bar where the end is known, how much, and how fast.
    static func line(_ what: String, done: UInt64, total: UInt64?, nanoseconds: Int64, columns: Int) -> String {
        let seconds = max(nanoseconds / 1_000_000, 1)
        let rate = size(done / UInt64(seconds) * 1000 + done % UInt64(seconds) * 1000 / UInt64(seconds)) + "/s"
        guard let total, total > 0, done <= total else {
            return String("\(what)  \(size(done))  \(rate)".prefix(columns))
        }
        let percent = UInt64(Double(done) / Double(total) * 100)
        let tail = " \(percent) %  \(size(done)) of \(size(total))  \(rate)"
        let width = min(columns - what.count - tail.count - 3, 40)
        guard width >= 5 else { return String((what + tail).prefix(columns)) }
        let full = Int(Double(width) * Double(done) / Double(total))
        return "\(what) [" + String(repeating: "#", count: full) + String(repeating: ".", count: width - full) + "]"
            + tail
    }

    /// "12.3 MiB".
    static func size(_ bytes: UInt64) -> String {
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
        var (scaled, unit) = (bytes, 0)
        var rest: UInt64 = 0
        while scaled >= 1024, unit < units.count - 1 {
            (rest, scaled) = (scaled % 1024, scaled / 1024)
            unit += 1
        }
        return unit == 0 ? "\(scaled) B" : "\(scaled).\(rest * 10 / 1024) \(units[unit])"
    }
}
