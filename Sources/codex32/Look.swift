internal import LinuxKernel

/// What the caller's terminal can show.
struct Look: Sendable {
    /// Standard output is a terminal that knows how to move its cursor.
    let isLive: Bool
    let hasColor: Bool
    let hasUnicode: Bool

    /// By NO_COLOR (no-color.org), TERM, and the locale's variables in their order (locale(7)).
    static var current: Look {
        let term = Machine.environment("TERM")
        let isLive = StandardStream.output.isTerminal && term != nil && term != "dumb"
        let locale =
            Machine.environment("LC_ALL") ?? Machine.environment("LC_CTYPE") ?? Machine.environment("LANG") ?? ""
        let lower = locale.lowercased()
        return Look(
            isLive: isLive, hasColor: isLive && Machine.environment("NO_COLOR") == nil,
            hasUnicode: lower.holds("utf-8") || lower.holds("utf8"))
    }

    /// Text in one of the terminal's own colors (ECMA-48, SGR), or as it is.
    func colored(_ text: String, _ color: Int) -> String { hasColor ? "\u{1b}[\(color)m\(text)\u{1b}[0m" : text }

    func inverse(_ text: String) -> String { "\u{1b}[7m\(text)\u{1b}[0m" }
}

/// A row of small bars, one for each figure.
enum Sparkline {
    private static let blocks: [Character] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"]
    private static let letters: [Character] = ["_", ".", "-", ":", "=", "+", "*", "#"]

    /// The last `width` figures, from 0 to `top`; one that is not known is a blank.
    static func text(_ figures: [Double?], top: Double, width: Int, unicode: Bool) -> String {
        let marks = unicode ? blocks : letters
        let last = figures.suffix(max(width, 0))
        var text = String(repeating: " ", count: max(0, width - last.count))
        for figure in last {
            guard let figure, top > 0 else {
                text.append(" ")
                continue
            }
            let share = min(max(figure / top, 0), 1)
            text.append(marks[min(Int(share * Double(marks.count)), marks.count - 1)])
        }
        return text
    }
}

/// Figures as people read them.
enum Quantity {
    private static let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]

    /// "12.3MiB"; three digits are enough to compare by eye.
    static func bytes(_ count: UInt64) -> String {
        var value = Double(count)
        var unit = 0
        while value >= 1000, unit < units.count - 1 {
            value /= 1024
            unit += 1
        }
        if unit == 0 { return "\(count)B" }
        return decimal(value, digits: value < 10 ? 2 : value < 100 ? 1 : 0) + units[unit]
    }

    /// "-" for what is not known.
    static func bytes(_ count: UInt64?) -> String { count.map { bytes($0) } ?? "-" }

    static func percent(_ value: Double?) -> String { value.map { decimal($0, digits: 2) + "%" } ?? "-" }

    static func decimal(_ value: Double, digits: Int) -> String {
        guard value.isFinite, value >= 0, value < 1e15 else { return "-" }
        var scale: UInt64 = 1
        for _ in 0..<digits { scale *= 10 }
        let whole = UInt64((value * Double(scale)).rounded())
        guard digits > 0 else { return String(whole) }
        let rest = String(whole % scale)
        return "\(whole / scale)." + String(repeating: "0", count: digits - rest.utf8.count) + rest
    }
}

/// Text of anybody's on a terminal of so many columns.
enum Columns {
    /// Made harmless, cut to a width, and filled up with blanks to it.
    static func fit(_ text: String, _ width: Int) -> String {
        let (cut, used) = cut(text, width)
        return cut + String(repeating: " ", count: max(0, width - used))
    }

    /// The beginning that fits, and how many columns it takes. Marks that combine with the letter before them are
    /// left out: how wide they become is each terminal's own opinion.
    static func cut(_ text: String, _ width: Int) -> (text: String, columns: Int) {
        var result = String.UnicodeScalarView()
        var used = 0
        for scalar in text.quotedForTerminal.unicodeScalars {
            let columns = columns(scalar)
            guard columns > 0 else { continue }
            guard used + columns <= width else { break }
            result.append(scalar)
            used += columns
        }
        return (String(result), used)
    }

    /// 0 for what combines or is invisible, 2 for the wide ones of East Asia and pictures (Unicode, UAX 11), else 1.
    static func columns(_ scalar: Unicode.Scalar) -> Int {
        switch scalar.value {
        case ..<0x300: 1
        case 0x300...0x36f, 0x483...0x489, 0x591...0x5bd, 0x610...0x61a, 0x64b...0x65f, 0x1ab0...0x1aff,
            0x1dc0...0x1dff, 0x200b...0x200f, 0x2060...0x2064, 0x20d0...0x20ff, 0xfe00...0xfe0f, 0xfe20...0xfe2f,
            0xfeff,
            0xe0000...0xe01ef:
            0
        case 0x1100...0x115f, 0x2e80...0xa4cf, 0xac00...0xd7a3, 0xf900...0xfaff, 0xfe30...0xfe6f, 0xff00...0xff60,
            0xffe0...0xffe6, 0x1f300...0x1f64f, 0x1f680...0x1f6ff, 0x1f900...0x1f9ff, 0x20000...0x3fffd:
            2
        default: 1
        }
    }
}
