internal import LinuxKernel

/// What came of one try.
public struct Outcome: Equatable, Sendable {
    public enum Kind: String, Sendable {
        case stopped, succeeded
        /// Not to be tried on this machine, inside or outside; `detail` says why.
        case impossible
        /// The try itself went wrong: nothing is known.
        case failed
    }
    public let kind: Kind
    /// What stopped it, what it got, or why nothing is known.
    public let detail: String

    public init(_ kind: Kind, _ detail: String) {
        self.kind = kind
        self.detail = detail
    }
}

/// From what a run left behind to what it means. The corpus is ours, so its programs are believed what they met;
/// that something was *had* is seen from outside wherever that can be.
enum Judge {
    struct Run {
        /// nil: it took too long and was killed.
        var status: Int32?
        var output = ""
        var outputBytes = 0
        var errors = ""
        /// What is no more as it was, outside.
        var change: String?
        /// A process of the attack's that still runs.
        var survivor = false
        /// The bystander of a ``StoreAttack`` is gone.
        var endedBystander = false
    }

    static func outcome(_ attack: Attack, _ run: Run, secret: String, inSandbox: Bool) -> Outcome {
        if let change = run.change { return Outcome(.succeeded, change) }
        guard let status = run.status else { return Outcome(.failed, "it never ended") }
        if run.output.holds(secret) || run.errors.holds(secret) { return Outcome(.succeeded, "the secret was read") }
        let refusal = inSandbox && (125...127).contains(status) ? firstLine(run.errors) : nil
        switch attack.evidence {
        case .ran:
            if run.output.holds("RAN") { return Outcome(.succeeded, "it was not refused") }
            switch attack.probe {
            case .store: return Outcome(.stopped, firstLine(run.errors) ?? "it did as it was told")
            case .bundle:
                // A runtime refuses with 1 (``RuntimeVerb``), in a sentence of its own.
                guard status == 1, run.errors.hasPrefix("codex32: ") else { return Outcome(.failed, describe(run)) }
                return Outcome(.stopped, firstLine(run.errors) ?? "")
            case .program, .words: break
            }
            return status == 125 && refusal != nil
                ? Outcome(.stopped, refusal ?? "") : Outcome(.failed, "neither ran nor refused: status \(status)")
        case .escapeCharacter:
            if run.errors.unicodeScalars.contains("\u{1b}") || run.output.unicodeScalars.contains("\u{1b}") {
                return Outcome(.succeeded, "the escape character comes out")
            }
            return Outcome(.stopped, "it comes out as text")
        case .output(let most):
            if run.outputBytes > most { return Outcome(.succeeded, "\(run.outputBytes) bytes came out") }
            return Outcome(.stopped, "ended after \(run.outputBytes) bytes")
        case .survivor:
            if run.survivor { return Outcome(.succeeded, "it lives on") }
            guard case .read? = answer(attack, run)?.kind else { return Outcome(.failed, describe(run)) }
            return Outcome(.stopped, "it ended with the rest")
        case .bystander:
            if run.endedBystander { return Outcome(.succeeded, "a process outside was ended") }
            return Outcome(.stopped, "the process outside goes on")
        case .silence(let expected):
            if !run.output.holds(expected) { return Outcome(.succeeded, "it is not \(expected) any more") }
            return Outcome(.stopped, "it is \(expected)")
        case .word, .secret: break
        }
        if attack.evidence == .secret {
            switch attack.probe {
            case .program: break
            case .words: return Outcome(.stopped, refusal ?? "nothing was shown or changed")
            case .store, .bundle:
                return Outcome(.stopped, firstLine(run.errors) ?? "nothing was shown or changed")
            }
        }
        guard let answer = answer(attack, run) else {
            if let refusal, status == 125 {
                // An image or an option of the attacker's may be refused; that a plain sandbox does not start is no wall.
                return attack.root == .busybox ? Outcome(.failed, refusal) : Outcome(.stopped, refusal)
            }
            if let refusal { return Outcome(.stopped, refusal) }
            // The whole sandbox was ended, as for want of memory.
            if status >= 128 { return Outcome(.stopped, "ended by signal \(status - 128)") }
            return Outcome(.failed, describe(run))
        }
        switch answer.kind {
        case .stopped: return Outcome(.stopped, answer.detail)
        case .succeeded: return Outcome(.succeeded, answer.detail)
        case .read:
            // Without evidence of its own, that anything was read is what it was after.
            return attack.evidence == .secret
                ? Outcome(.stopped, "what it read is not the machine's") : Outcome(.succeeded, answer.detail)
        case .impossible: return Outcome(.impossible, answer.detail)
        }
    }

    private enum Said: String { case stopped, succeeded, read, impossible }

    /// The program's own line: its name, what it met, and of what.
    private static func answer(_ attack: Attack, _ run: Run) -> (kind: Said, detail: String)? {
        for line in run.output.split(whereSeparator: { $0 == "\n" || $0 == "\r\n" }) {
            let parts = line.split(separator: "\t", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
            if parts.count == 3, let kind = Said(rawValue: parts[1]) { return (kind, parts[2]) }
        }
        return nil
    }

    private static func firstLine(_ errors: String) -> String? {
        errors.split(separator: "\n").first.map { $0.hasPrefix("codex32: ") ? String($0.dropFirst(9)) : String($0) }
    }

    private static func describe(_ run: Run) -> String {
        "status \(run.status.map { String($0) } ?? "none"): \(firstLine(run.errors) ?? run.output.prefix(80).description)"
    }

    /// Of several runs of one attack the worst counts.
    static func worst(_ outcomes: [Outcome]) -> Outcome {
        for kind in [Outcome.Kind.succeeded, .failed, .stopped] {
            if let found = outcomes.first(where: { $0.kind == kind }) { return found }
        }
        return outcomes.first ?? Outcome(.failed, "it was not tried")
    }
}
