internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// What a program was refused, for `--explain`: which calls, how often, and which option would allow them.
final class Denials {
    /// One kind of refusal.
    struct Entry {
        /// The first call of this kind.
        let call: SystemCallData
        let error: Int32
        var count: UInt64
    }

    let listener: SeccompListener
    private(set) var entries: [Entry] = []
    /// Of kinds beyond those that are kept: a program cannot make the verdict grow without end.
    private(set) var others: UInt64 = 0
    private static let most = 256

    init(_ listener: consuming SeccompListener) { self.listener = listener }

    /// Answers one call that waits.
    func serve() throws(KernelError) {
        guard let (call, error) = try listener.refuseNext() else { return }
        let index = entries.firstIndex {
            $0.call.number == call.number && $0.call.architecture == call.architecture && $0.error == error
        }
        if let index {
            entries[index].count += 1
        } else if entries.count < Denials.most {
            entries.append(Entry(call: call, error: error, count: 1))
        } else {
            others += 1
        }
    }
}

/// A refusal as it stands in the verdict.
public struct Denial: Equatable, Sendable {
    /// "call" or "limit".
    public let kind: String
    /// The system call's name, or the limit's.
    public let name: String
    /// As in errno(3), without the text; nil for a limit.
    public let error: String?
    public let count: UInt64
    /// The least that would allow it; nil: nothing does.
    public let option: String?

    var document: JSON {
        .members([
            "kind": .string(kind), "name": .string(name), "error": .text(error), "count": .number(count),
            "option": .text(option),
        ])
    }

    /// For a person.
    var line: String {
        let times = count == 1 ? "once" : "\(count) times"
        let what = kind == "call" ? "denied: \(name), \(error ?? ""), \(times)" : "denied: more \(name), \(times)"
        return what + (option.map { ": \($0) would allow it" } ?? "")
    }
}

extension Denial {
    /// The calls, each with the option that would have allowed it: found by asking the filters that other
    /// options would have made.
    static func all(
        _ entries: [Denials.Entry], others: UInt64, _ request: SandboxRequest, _ plan: LaunchPlan
    ) -> [Denial] {
        let advice = Advice(request, plan)
        var denials = entries.map { entry in
            Denial(
                kind: "call", name: entry.call.name, error: KernelError("", number: entry.error).name,
                count: entry.count, option: advice.option(for: entry.call))
        }
        if others > 0 {
            denials.append(Denial(kind: "call", name: "others", error: nil, count: others, option: nil))
        }
        return denials.sorted { $0.count > $1.count }
    }

    /// The limits that were met, by the kernel's own counters.
    static func limits(_ verdict: Verdict) -> [Denial] {
        var denials: [Denial] = []
        if let hits = verdict.pidsLimitHits, hits > 0 {
            denials.append(Denial(kind: "limit", name: "processes", error: nil, count: hits, option: "--pids-limit"))
        }
        if let kills = verdict.oomKills, kills > 0 {
            denials.append(Denial(kind: "limit", name: "memory", error: nil, count: kills, option: "-m"))
        }
        let ends: [Verdict.Reason: (String, String)] = [
            .wallTime: ("time", "--timeout"), .cpuTime: ("CPU time", "--cpu-time"),
            .output: ("output", "--output-limit"),
        ]
        if let (name, option) = ends[verdict.reason] {
            denials.append(Denial(kind: "limit", name: name, error: nil, count: 1, option: option))
        }
        return denials
    }

    /// The filters of other options.
    private struct Advice {
        private let candidates: [(option: String, program: SeccompProgram)]
        private let lastResort: String
        private let learned: LearnedCalls?
        /// What the learned profile's calls are left of.
        private var whole: SeccompProgram?

        init(_ request: SandboxRequest, _ plan: LaunchPlan) {
            let own = request.seccompProfile
            learned = request.learned
            lastResort = own.map { "a line in \($0.name)" } ?? "a profile of your own (--seccomp)"
            guard let kernel = KernelVersion(Machine.kernelRelease) else {
                candidates = []
                return
            }
            let compile = { (text: [UInt8], capabilities: CapabilitySet) -> SeccompProgram? in
                guard let document = try? JSONReader.read(text), let profile = try? SeccompProfile(document) else {
                    return nil
                }
                return try? SeccompCompiler.compile(
                    profile,
                    for: .init(capabilities: capabilities, architecture: Machine.architecture, kernel: kernel))
            }
            var found: [(String, SeccompProgram)] = []
            let text = own?.bytes ?? request.level.seccompProfile
            // The one that allows nearly everything comes last: what a smaller one allows needs no more.
            let missing = CapabilitySet.all.subtracting(plan.capabilities)
            let all = missing.subtracting(.systemAdministration).names
            for name in all + missing.intersection(.systemAdministration).names {
                guard let one = CapabilitySet(name: name) else { continue }
                if let program = compile(text, plan.capabilities.union(one)) {
                    found.append(("--cap-add \(name.dropFirst(name.hasPrefix("CAP_") ? 4 : 0))", program))
                }
            }
            let weaker = IsolationLevel.allCases.prefix { $0 != request.level }.reversed()
            for level in own == nil ? Array(weaker) : [] {
                let capabilities = level == .standard ? level.usualCapabilities : plan.capabilities
                if let program = compile(level.seccompProfile, capabilities) {
                    found.append(("--isolation \(level.rawValue)", program))
                }
            }
            candidates = found
            if learned != nil { whole = compile(text, plan.capabilities) }
        }

        func option(for call: SystemCallData) -> String? {
            let again = learned.map { "codex32 learn --append \($0.name)" }
            if let again, whole?.allows(call) == true { return again }
            let option = candidates.first { $0.program.allows(call) }?.option ?? lastResort
            // Another filter alone does not give back what the profile leaves out.
            guard let again, learned?.contains(call) == false else { return option }
            return "\(option), with \(again),"
        }
    }
}
