internal import LinuxKernel

/// Reading option values: once, here, at the edge. Whatever is not wholly understood is an error.
enum Value {
    /// Bytes, with Docker's suffixes b, k, m, g, t (powers of 1024, either case, "b" and "ib" may
    /// follow); `unit` is what a bare number counts in.
    static func size(_ text: String, option: String, unit: UInt64 = 1) throws(Problem) -> UInt64 {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        let suffix = text.dropFirst(digits.count).lowercased()
        guard !digits.isEmpty else { throw wrong(option, text, "a size such as 512m") }
        guard let number = UInt64(digits) else { throw wrong(option, text, "a size that a machine can have") }
        let factor: UInt64
        switch suffix {
        case "": factor = unit
        case "b": factor = 1
        case "k", "kb", "kib": factor = 1 << 10
        case "m", "mb", "mib": factor = 1 << 20
        case "g", "gb", "gib": factor = 1 << 30
        case "t", "tb", "tib": factor = 1 << 40
        default: throw wrong(option, text, "a size such as 512m: the units are b, k, m, g, t")
        }
        let (value, overflow) = number.multipliedReportingOverflow(by: factor)
        guard !overflow, value <= UInt64(Int64.max) else { throw wrong(option, text, "a size that a machine can have") }
        return value
    }

    static func memory(_ text: String, option: String) throws(Problem) -> UInt64 {
        let value = try size(text, option: option, unit: 1 << 20)
        // Less than this and the sandbox itself would not fit: Docker draws the line at 6 MiB.
        guard value >= 1 << 20 else {
            throw Problem(
                "cannot use \(option) \(text)", "it is less than 1 MiB", hint: "a bare number is MiB: \(option) 512")
        }
        return value
    }

    /// A limit's value, or "none": no limit, where the level would have one or there was one before.
    static func limit(_ text: String, _ value: (String) throws(Problem) -> UInt64) throws(Problem) -> UInt64 {
        text == "none" ? CgroupLimits.none : try value(text)
    }

    static func whole(_ text: String, option: String, _ range: ClosedRange<UInt64>) throws(Problem) -> UInt64 {
        guard let value = UInt64(text), range.contains(value) else {
            throw wrong(option, text, "a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    /// A decimal such as "50", "0.5" or "12.25" times `scale`, exactly.
    static func decimal(_ text: String, option: String, scale: UInt64) throws(Problem) -> UInt64 {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        let fraction = parts.count == 2 ? parts[1] : ""
        guard parts.count <= 2, let whole = UInt64(parts[0]), whole < 1 << 40, fraction.utf8.count <= 9,
            fraction.allSatisfy({ $0.isASCII && $0.isNumber }), !(parts.count == 2 && fraction.isEmpty)
        else { throw wrong(option, text, "a number such as 50 or 0.5") }
        var denominator: UInt64 = 1
        for _ in 0..<fraction.utf8.count { denominator *= 10 }
        let (product, overflow) = whole.multipliedReportingOverflow(by: scale)
        // In 128 bits: nine digits times the nanoseconds of a day are more than 64 hold. Less than one, it leaves less
        // than `scale`.
        let part = denominator.dividingFullWidth((UInt64(fraction) ?? 0).multipliedFullWidth(by: scale)).quotient
        let (value, sumOverflow) = product.addingReportingOverflow(part)
        guard !overflow, !sumOverflow else { throw wrong(option, text, "a smaller number") }
        return value
    }

    /// Nanoseconds from "90", "1.5", "500ms", "30s", "5m", "2h", "1d"; a bare number is seconds.
    static func duration(_ text: String, option: String) throws(Problem) -> Int64 {
        let digits = text.prefix { ($0.isASCII && $0.isNumber) || $0 == "." }
        let scale: UInt64
        switch text.dropFirst(digits.count) {
        case "ms": scale = 1_000_000
        case "", "s": scale = 1_000_000_000
        case "m": scale = 60_000_000_000
        case "h": scale = 3_600_000_000_000
        case "d": scale = 86_400_000_000_000
        default: throw wrong(option, text, "a time such as 30s, 500ms, 5m or 2h")
        }
        guard digits.utf8.count <= 9 else { throw wrong(option, text, "a shorter time") }
        let value = try decimal(String(digits), option: option, scale: scale)
        guard value > 0, value < 1 << 62 else {
            throw wrong(option, text, "a time of more than nothing, and less than a lifetime")
        }
        return Int64(value)
    }

    /// An id of 0 to 4294967294: the last number means "no id" to the kernel (CVE-2024-40635).
    static func identity(_ text: some StringProtocol, option: String) throws(Problem) -> UInt32 {
        guard let id = UInt32(text), id != UInt32.max, text.first != "+" else {
            throw wrong(option, String(text), "an id from 0 to 4294967294, or a user's name")
        }
        return id
    }

    /// A path inside the container: absolute, short, without "..".
    static func inside(_ text: String, option: String) throws(Problem) -> String {
        guard text.hasPrefix("/") else {
            throw Problem(
                "cannot use \(option) \(text)", "the path inside must begin with /", hint: "\(option) /\(text)")
        }
        let parts = text.split(separator: "/")
        guard !parts.contains("..") else {
            throw Problem(
                "cannot use \(option) \(text)", "a path inside must not contain ..", hint: "name the folder itself")
        }
        guard text.utf8.count < 4096, !hasControls(text) else {
            throw wrong(option, text, "a path without control characters")
        }
        return "/" + parts.filter { $0 != "." }.joined(separator: "/")
    }

    /// Names as Docker allows them.
    static func name(_ text: String, option: String) throws(Problem) -> String {
        let allowed = text.utf8.allSatisfy {
            (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0) || $0 == 0x5f
                || $0 == 0x2d || $0 == 0x2e
        }
        guard allowed, let first = text.first, first.isLetter || first.isNumber, text.utf8.count <= 128 else {
            throw wrong(option, text, "a name of letters, digits, _, . and -, which begins with a letter or digit")
        }
        return text
    }

    static func hostname(_ text: String) throws(Problem) -> String {
        let allowed = text.utf8.allSatisfy {
            (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0) || $0 == 0x2d
                || $0 == 0x2e
        }
        guard allowed, (1...64).contains(text.utf8.count) else {
            throw wrong("--hostname", text, "a host name of 1 to 64 letters, digits, dots and dashes")
        }
        return text
    }

    static func signal(_ text: String, option: String) throws(Problem) -> Int32 {
        guard let number = Signal.number(text) else { throw wrong(option, text, "a signal such as TERM or 15") }
        return number
    }

    /// CPU or node numbers as in "0-3,7".
    static func cpus(_ text: String) throws(Problem) -> String {
        if text == "none" { return "" }
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { UInt16($0) }
            guard ends.count == 1 || ends.count == 2, ends.allSatisfy({ $0 != nil }),
                ends.count == 1 || ends[0]! <= ends[1]!
            else {
                throw wrong("--cpuset", text, "CPU numbers such as 0-3,7")
            }
        }
        return text
    }

    static func hasControls(_ text: String) -> Bool {
        text.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x7f }
    }

    static func wrong(_ option: String, _ text: String, _ wanted: String) -> Problem {
        Problem("cannot use \(option) \(text)", "it must be \(wanted)", hint: "codex32 run --help explains \(option)")
    }
}
