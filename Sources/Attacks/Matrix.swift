public import OCISpec
public import Sandbox

/// What came of the corpus for one caller: attack by attack, level by level, each with its control.
public struct Matrix: Sendable {
    public struct Row: Sendable {
        public let attack: Attack
        /// What came of it where it must succeed; nil: this user has no such place, and `controlLack` says why.
        public let control: Outcome?
        public let controlLack: String?
        public let cells: [IsolationLevel: Outcome]

        /// The attack is alive, or cannot be shown to be here.
        public var isAlive: Bool {
            switch control?.kind {
            case .succeeded, .impossible, nil: true
            case .stopped, .failed: false
            }
        }

        /// Whether a level keeps what it promises; nil: it promises nothing of this.
        public func keeps(_ level: IsolationLevel) -> Bool? {
            guard attack.promised.contains(level), let cell = cells[level] else { return nil }
            return cell.kind == .stopped || cell.kind == .impossible
        }
    }

    /// "root" or "user".
    public let caller: String
    /// Another sandbox that was tried; its cells stand at strict, with which it is compared. Nil: codex32.
    public let tool: String?
    public let levels: [IsolationLevel]
    public let waived: [String]
    public let rows: [Row]
    /// Levels that do not start here, and why.
    public let absent: [(level: IsolationLevel, why: String)]

    /// Every promise is kept, every control shows its attack alive, and every level could be tried.
    public var isKept: Bool {
        absent.isEmpty && rows.allSatisfy { row in row.isAlive && levels.allSatisfy { row.keeps($0) ?? true } }
    }

    public func count(_ level: IsolationLevel, _ kind: Outcome.Kind) -> Int {
        rows.filter { $0.cells[level]?.kind == kind }.count
    }

    public var document: JSON {
        .members([
            "caller": .string(caller), "tool": .text(tool), "waived": .list(waived), "kept": .bool(isKept),
            "absent": .array(absent.map { .members(["level": .string($0.level.rawValue), "why": .string($0.why)]) }),
            "attacks": .array(
                rows.map { row in
                    .members([
                        "attack": .string(row.attack.name), "family": .string(row.attack.family.rawValue),
                        "flaw": .string(row.attack.flaw), "success": .string(row.attack.success),
                        "control": row.control.map(document)
                            ?? .members(["outcome": .null, "detail": .text(row.controlLack)]),
                        "levels": .object(
                            levels.compactMap { level in
                                row.cells[level].map { cell in
                                    JSON.Member(
                                        level.rawValue,
                                        .members([
                                            "outcome": .string(cell.kind.rawValue), "detail": .string(cell.detail),
                                            "promised": .bool(row.attack.promised.contains(level)),
                                        ]))
                                }
                            }),
                    ])
                }),
        ])
    }

    private func document(_ outcome: Outcome) -> JSON {
        .members(["outcome": .string(outcome.kind.rawValue), "detail": .string(outcome.detail)])
    }
}
