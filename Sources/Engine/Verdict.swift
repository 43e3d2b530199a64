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
    public var wallSeconds: Double
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

    /// The exit status of `run`.
    public var status: Int32 {
        switch reason {
        case .wallTime: 124
        case .engine: 125
        default: exitCode ?? 128 + (signal ?? 0)
        }
    }

    public var document: JSON {
        .members([
            "schema": .integer(1), "id": .string(id), "name": .text(name), "reason": .string(reason.rawValue),
            "exitCode": .number(exitCode), "signal": .number(signal), "oomKills": .number(oomKills),
            "wallSeconds": .real(wallSeconds), "cpuUserSeconds": Verdict.real(cpuUserSeconds),
            "cpuSystemSeconds": Verdict.real(cpuSystemSeconds), "peakMemoryBytes": .number(peakMemoryBytes),
            "peakPids": .number(peakPids), "ioReadBytes": .number(ioReadBytes), "ioWriteBytes": .number(ioWriteBytes),
            "pidsLimitHits": .number(pidsLimitHits), "startedAt": .string(Timestamp.text(startedAt)),
            "finishedAt": .string(Timestamp.text(finishedAt)), "isolation": .string(isolation),
        ])
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
