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
