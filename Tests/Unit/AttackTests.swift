import Sandbox
import Testing

@testable import Attacks

/// What the matrix of `codex32 selftest --attack` says of what it saw.
@Suite struct AttackTests {
    private static let attack = Corpus.named("unshare-user")!

    private static func row(
        _ cells: [IsolationLevel: Outcome], control: Outcome? = Outcome(.succeeded, "")
    ) -> Matrix.Row {
        Matrix.Row(attack: attack, control: control, controlLack: nil, cells: cells)
    }

    private static func matrix(_ row: Matrix.Row, absent: [(level: IsolationLevel, why: String)] = []) -> Matrix {
        Matrix(caller: "root", tool: nil, levels: IsolationLevel.allCases, waived: [], rows: [row], absent: absent)
    }

    private static let stopped = Outcome(.stopped, "unshare: EPERM")
    private static let kept: [IsolationLevel: Outcome] = [
        .minimal: Outcome(.succeeded, ""), .standard: stopped, .strict: stopped,
    ]

    @Test func keptPromises() { #expect(Self.matrix(Self.row(Self.kept)).isKept) }

    @Test(arguments: [Outcome.Kind.succeeded, .failed])
    func brokenPromise(kind: Outcome.Kind) {
        var cells = Self.kept
        cells[.strict] = Outcome(kind, "")
        #expect(!Self.matrix(Self.row(cells)).isKept)
    }

    @Test(arguments: [Outcome.Kind.stopped, .failed])
    func deadAttack(kind: Outcome.Kind) {
        #expect(!Self.matrix(Self.row(Self.kept, control: Outcome(kind, ""))).isKept)
    }

    @Test func levelThatDoesNotStart() {
        #expect(!Self.matrix(Self.row(Self.kept), absent: [(.strict, "no cgroup")]).isKept)
    }

    @Test func namesAreUniqueAndEveryProgramIsThere() {
        let names = Corpus.all.map(\.name)
        #expect(Set(names).count == names.count)
        let programs = Corpus.all.compactMap { attack -> String? in
            if case .program(let name) = attack.probe { return name }
            return nil
        }
        #expect(Set(programs).isSubset(of: Set(Corpus.programs)))
        // One is run by another, and one is the control of races.
        #expect(Set(Corpus.programs).subtracting(programs) == ["effective-user", "check-then-use"])
    }

    /// What a stronger level promises less of would be a hole in the table.
    @Test func promisesGrowWithTheLevel() {
        for attack in Corpus.all {
            #expect(attack.promised.contains(.strict), "\(attack.name)")
            if attack.promised.contains(.minimal) { #expect(attack.promised.contains(.standard), "\(attack.name)") }
        }
    }

    @Test func everyAttackSaysWhatItIs() {
        for attack in Corpus.all { #expect(!attack.flaw.isEmpty && !attack.success.isEmpty && !attack.options.isEmpty) }
    }
}
