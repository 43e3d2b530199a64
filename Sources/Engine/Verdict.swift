internal import LinuxKernel
public import OCISpec
internal import Sandbox

/// How a program ended and what it used: the object of `--result-file`, schema 1 (design.md, section 4).
/// A figure that the kernel did not give is nil, never 0.
public struct Verdict: Sendable {
    public enum Reason: String, Sendable {
        case exited, signaled, oom, killed, output, engine
        case wallTime = "wall-time"
        case cpuTime = "cpu-time"
    }

    public var id: String
    public var name: String?
    public var reason: Reason
    public var exitCode: Int32?
    public var signal: Int32?
    public var oomKills: UInt64?
    public var wallSeconds: Double?
    public var cpuUserSeconds: Double?
    public var cpuSystemSeconds: Double?
    public var peakMemoryBytes: UInt64?
    public var peakPids: UInt64?
    public var ioReadBytes: UInt64?
    public var ioWriteBytes: UInt64?
    public var pidsLimitHits: UInt64?
    /// Nanoseconds since 1970.
    public var startedAt: Int64
    public var finishedAt: Int64
    public var isolation: String
    /// What the program was refused; nil where nobody asked (`--explain`).
    public var denied: [Denial]?
    /// In words what the figures cannot say; nil mostly.
    public var note: String?

    /// Of a program that codex32 could not start: nothing ran, so there is no end and no figure.
    /// - Parameter tried: when (nanoseconds since 1970).
    static func notStarted(
        id: String, name: String?, tried: Int64 = Clock.realtime, isolation: String
    ) -> Verdict {
        Verdict(
            id: id, name: name, reason: .engine, startedAt: tried, finishedAt: max(tried, Clock.realtime),
            isolation: isolation)
    }

    /// The exit status of `run`.
    public var status: Int32 {
        switch reason {
        case .wallTime: 124
        case .engine: 125
        default: exitCode ?? 128 + (signal ?? 0)
        }
    }

    public var document: JSON {
        let members = JSON.members([
            "schema": .integer(1), "id": .string(id), "name": .text(name), "reason": .string(reason.rawValue),
            "exitCode": .number(exitCode), "signal": .number(signal), "oomKills": .number(oomKills),
            "wallSeconds": Verdict.real(wallSeconds), "cpuUserSeconds": Verdict.real(cpuUserSeconds),
            "cpuSystemSeconds": Verdict.real(cpuSystemSeconds), "peakMemoryBytes": .number(peakMemoryBytes),
            "peakPids": .number(peakPids), "ioReadBytes": .number(ioReadBytes), "ioWriteBytes": .number(ioWriteBytes),
            "pidsLimitHits": .number(pidsLimitHits), "startedAt": .string(Timestamp.text(startedAt)),
            "finishedAt": .string(Timestamp.text(finishedAt)), "isolation": .string(isolation),
        ])
        let told = denied.map { members.replacing("denied", .array($0.map(\.document))) } ?? members
        return note.map { told.replacing("note", .string($0)) } ?? told
    }

    private static func real(_ value: Double?) -> JSON { value.map { .real($0) } ?? .null }
}

/// RFC 3339 in UTC, to the microsecond.
public enum Timestamp {
    public static func text(_ nanoseconds: Int64) -> String {
        let seconds = nanoseconds / 1_000_000_000
        let (year, month, day) = date(days: Int(seconds / 86400))
        let rest = Int(seconds % 86400)
        return "\(year)-\(two(month))-\(two(day))T\(two(rest / 3600)):\(two(rest / 60 % 60)):\(two(rest % 60))."
            + padded(Int(nanoseconds % 1_000_000_000 / 1000), 6) + "Z"
    }

    /// The same to the nanosecond.
    public static func exact(_ nanoseconds: Int64) -> String {
        text(nanoseconds).dropLast() + padded(Int(nanoseconds % 1000), 3) + "Z"
    }

    /// Reads such a text back, with up to nine digits behind the point; nil for anything else.
    public static func nanoseconds(_ text: String) -> Int64? {
        let bytes = Array(text.utf8)
        guard (20...30).contains(bytes.count), bytes.last == 0x5a, bytes[4] == 0x2d, bytes[7] == 0x2d,
            bytes[10] == 0x54, bytes[13] == 0x3a, bytes[16] == 0x3a
        else { return nil }
        let number = { (range: Range<Int>) -> Int64? in
            var value: Int64 = 0
            for byte in bytes[range] {
                guard (0x30...0x39).contains(byte) else { return nil }
                value = value * 10 + Int64(byte - 0x30)
            }
            return value
        }
        guard let year = number(0..<4), let month = number(5..<7), let day = number(8..<10),
            let hour = number(11..<13), let minute = number(14..<16), let second = number(17..<19),
            (1970...2200).contains(year), (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60,
            second < 61
        else { return nil }
        var fraction: Int64 = 0
        if bytes.count > 20 {
            guard bytes[19] == 0x2e, bytes.count > 21, let digits = number(20..<bytes.count - 1) else { return nil }
            fraction = digits
            for _ in (bytes.count - 21)..<9 { fraction *= 10 }
        }
        let seconds = days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second
        return seconds * 1_000_000_000 + fraction
    }

    /// The other way round of ``date(days:)``.
    private static func days(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
        let shifted = month <= 2 ? year - 1 : year
        let era = shifted / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }

    private static func two(_ number: Int) -> String { padded(number, 2) }

    private static func padded(_ number: Int, _ width: Int) -> String {
        let text = String(number)
        return String(repeating: "0", count: max(0, width - text.utf8.count)) + text
    }

    /// The civil date of a day counted from 1970-01-01, by the 400-year cycle of the Gregorian calendar.
    private static func date(days: Int) -> (Int, Int, Int) {
        let shifted = days + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let month = (5 * dayOfYear + 2) / 153
        let civilMonth = month < 10 ? month + 3 : month - 9
        return (yearOfEra + era * 400 + (civilMonth <= 2 ? 1 : 0), civilMonth, dayOfYear - (153 * month + 2) / 5 + 1)
    }
}
