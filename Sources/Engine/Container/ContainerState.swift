public import LinuxKernel
public import OCISpec

/// Where a container is in its life, with what belongs to each place.
///
/// ```
/// created ─▶ running ⇄ paused
///              │  ▲       every one of them ─▶ dead, when its leftovers cannot be put in order
///              ▼  │
///           stopping ─▶ exited ─▶ running …
///              │  ▲
///              ▼  │
///          restarting
/// ```
public enum ContainerState: Sendable {
    /// Made, never started.
    case created
    case running(Life)
    /// Frozen (cgroup.freeze).
    case paused(Life)
    /// Its stop was asked for, and it has not ended yet.
    case stopping(Life)
    /// Ended, and to be started again at `at` (nanoseconds since 1970), as its restart policy says.
    case restarting(Ending, at: Int64)
    case exited(Ending)
    /// What is left of it cannot be put in order; it can only be removed.
    case dead(why: String)

    /// A program that runs.
    public struct Life: Sendable {
        public let process: ProcessIdentity
        /// Nanoseconds since 1970.
        public let startedAt: Int64
        public init(process: ProcessIdentity, startedAt: Int64) {
            self.process = process
            self.startedAt = startedAt
        }
    }

    /// How the last run ended.
    public struct Ending: Sendable {
        /// The exit status as design.md, section 4, has it.
        public let status: Int32
        /// The verdict, as `--result-file` writes it.
        public let verdict: JSON
        public init(status: Int32, verdict: JSON) {
            self.status = status
            self.verdict = verdict
        }
    }

    public enum Kind: String, CaseIterable, Sendable {
        case created, running, paused, stopping, restarting, exited, dead
    }

    public var kind: Kind {
        switch self {
        case .created: .created
        case .running: .running
        case .paused: .paused
        case .stopping: .stopping
        case .restarting: .restarting
        case .exited: .exited
        case .dead: .dead
        }
    }

    /// The program, while there is one.
    public var life: Life? {
        switch self {
        case .running(let life), .paused(let life), .stopping(let life): life
        default: nil
        }
    }

    public var ending: Ending? {
        switch self {
        case .restarting(let ending, _), .exited(let ending): ending
        default: nil
        }
    }

    /// Whether a supervisor must be there for it.
    public var isSupervised: Bool { [.running, .paused, .stopping, .restarting].contains(kind) }

    /// Whether a program may be there for it.
    public var isActive: Bool { life != nil }
}

extension ContainerState.Kind {
    /// What a container may become next.
    var next: Set<ContainerState.Kind> {
        switch self {
        case .created: [.running, .exited, .dead]
        case .running: [.paused, .stopping, .restarting, .exited, .dead]
        case .paused: [.running, .stopping, .restarting, .exited, .dead]
        case .stopping: [.restarting, .exited, .dead]
        case .restarting: [.running, .restarting, .exited, .dead]
        case .exited: [.running, .restarting, .exited, .dead]
        case .dead: []
        }
    }
}
