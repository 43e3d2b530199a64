internal import Attacks
internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// What `codex32 selftest` shows.
enum SelftestPage {
    /// The matrix: a line for each attack, then what is not as it should be, then the sum.
    static func text(_ matrix: Matrix) -> String {
        var text = ""
        for family in Attack.Family.allCases {
            let rows = matrix.rows.filter { $0.attack.family == family }
            guard !rows.isEmpty else { continue }
            text += (text.isEmpty ? "" : "\n")
            text += Table.text(
                ["\(family.rawValue.uppercased()) AS \(matrix.caller.uppercased())"]
                    + matrix.levels.map { tool(matrix) ?? $0.rawValue.uppercased() } + ["CONTROL"],
                rows.map { row in
                    [row.attack.name] + matrix.levels.map { cell(row, $0) } + [control(row)]
                })
        }
        for absent in matrix.absent { text += "\n\(absent.level.rawValue) does not start here: \(absent.why)\n" }
        text += complaints(matrix)
        text += "\n"
        for level in matrix.levels {
            let promised = matrix.rows.filter { $0.attack.promised.contains(level) }
            let kept = promised.filter { $0.keeps(level) == true }
            text +=
                "\(tool(matrix) ?? level.rawValue): \(matrix.count(level, .stopped)) stopped, \(matrix.count(level, .succeeded)) succeeded, "
                + "\(matrix.count(level, .impossible)) not possible here; keeps \(kept.count) of \(promised.count) promises\n"
        }
        return text
    }

    private static func tool(_ matrix: Matrix) -> String? {
        matrix.tool.map { String($0.split(separator: "/").last ?? "") }
    }

    private static func cell(_ row: Matrix.Row, _ level: IsolationLevel) -> String {
        guard let cell = row.cells[level] else { return "-" }
        switch cell.kind {
        case .stopped: return "stopped (\(short(cell.detail)))"
        case .impossible: return "not possible here"
        case .failed: return "FAILED"
        case .succeeded: return row.attack.promised.contains(level) ? "SUCCEEDED" : "open, not promised"
        }
    }

    private static func control(_ row: Matrix.Row) -> String {
        switch row.control?.kind {
        case .succeeded: "succeeds"
        case .impossible: "not possible here"
        case .stopped, .failed: "DEAD"
        case nil: "only root could"
        }
    }

    private static func short(_ text: String) -> String {
        text.unicodeScalars.count <= 34 ? text : String(text.prefix(33)) + "…"
    }

    /// Everything that makes the status 1, and why what is not possible is not.
    private static func complaints(_ matrix: Matrix) -> String {
        var text = ""
        for row in matrix.rows {
            let attack = row.attack
            for level in matrix.levels where row.keeps(level) == false {
                text +=
                    "\n\(attack.name) at \(level.rawValue): \(row.cells[level]?.kind.rawValue ?? ""): \(row.cells[level]?.detail ?? "")"
                    + "\n  \(attack.flaw): success means \(attack.success)\n"
            }
            if !row.isAlive {
                text +=
                    "\n\(attack.name): its control \(row.control?.kind.rawValue ?? ""): \(row.control?.detail ?? "")\n"
            }
        }
        var reasons: [(why: String, names: [String])] = []
        for row in matrix.rows {
            let cell = matrix.levels.compactMap { row.cells[$0] }.first { $0.kind == .impossible }
            guard let why = cell?.detail else { continue }
            if let index = reasons.firstIndex(where: { $0.why == why }) {
                reasons[index].names.append(row.attack.name)
            } else {
                reasons.append((why, [row.attack.name]))
            }
        }
        if !reasons.isEmpty { text += "\nNot possible here:\n" }
        for reason in reasons { text += "  \(reason.names.joined(separator: ", ")): \(reason.why)\n" }
        return text
    }

    static func list(json: Bool) -> String {
        guard json else {
            return Table.text(
                ["ATTACK", "FAMILY", "STOPPED AT", "FLAW", "SUCCESS MEANS"],
                Corpus.all.map {
                    [$0.name, $0.family.rawValue, levels($0.promised).joined(separator: ","), $0.flaw, $0.success]
                })
        }
        return JSON.members([
            "schema": .integer(1),
            "attacks": .array(
                Corpus.all.map {
                    .members([
                        "attack": .string($0.name), "family": .string($0.family.rawValue), "flaw": .string($0.flaw),
                        "success": .string($0.success), "promised": .list(levels($0.promised)),
                    ])
                }),
        ]).text(pretty: true) + "\n"
    }

    private static func levels(_ set: Set<IsolationLevel>) -> [String] {
        IsolationLevel.allCases.filter { set.contains($0) }.map(\.rawValue)
    }

    // MARK: Without attacks

    static func text(_ results: [(level: IsolationLevel, checks: [Check])]) -> String {
        let names = results.max { $0.checks.count < $1.checks.count }?.checks.map(\.name) ?? []
        let caller = Machine.isRoot ? "ROOT" : "USER"
        var text = Table.text(
            ["CHECK AS \(caller)"] + results.map { $0.level.rawValue.uppercased() },
            names.map { name in
                [name]
                    + results.map { result in
                        guard let check = result.checks.first(where: { $0.name == name }) else { return "-" }
                        return check.problem == nil ? "ok" : "FAILED"
                    }
            })
        for result in results {
            for check in result.checks {
                if let problem = check.problem { text += "\n\(result.level.rawValue): \(check.name): \(problem)\n" }
            }
        }
        return text
    }

    static func document(_ results: [(level: IsolationLevel, checks: [Check])]) -> JSON {
        .members([
            "caller": .string(Machine.isRoot ? "root" : "user"),
            "levels": .object(
                results.map { result in
                    JSON.Member(
                        result.level.rawValue,
                        .array(
                            result.checks.map {
                                .members([
                                    "check": .string($0.name), "ok": .bool($0.problem == nil), "why": .text($0.problem),
                                ])
                            }))
                }),
        ])
    }
}
