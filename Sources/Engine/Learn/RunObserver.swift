internal import LinuxKernel
internal import Sandbox

/// What a run of `codex32 learn` is seen to do: every call is told here before it is made, and let go on.
///
/// A program may do everything that it could do unobserved, and nothing more: see `CShims/observe.c`.
final class RunObserver {
    let filter = CallObserver.Filter.random(passing: LearnedCalls.untold)
    private var listener: CallObserver?
    /// Of the program itself: what codex32's own child calls before it is not the program's.
    private(set) var hasBegun = false
    private(set) var numbers: Set<Int32> = []
    /// Calls of another architecture than the machine's own, such as a 32-bit program's.
    private(set) var foreignCalls: UInt64 = 0
    private(set) var volumes: VolumeUse
    private(set) var processes = ProcessUse()
    /// How the run ended, and what the kernel counted of it.
    private(set) var verdict: Verdict?
    /// Somebody wanted its end: it would have taken longer.
    private(set) var wasAskedToEnd = false
    /// The level's filter, which decided.
    private(set) var filtered: SeccompProgram?
    /// Whether memory was counted for all processes together.
    private(set) var countsTogether = false

    private let execute: Set<Int32> = Set(
        ["execve", "execveat"].compactMap { SystemCallNumber(name: $0)?.number }.filter { $0 >= 0 })

    /// - Parameter targets: where the program's volumes are.
    init(targets: [String]) { volumes = VolumeUse(targets) }

    /// Whether the program may have reached files by ways that are not seen.
    var isBlind: Bool { !numbers.isDisjoint(with: PathCall.unseen) }

    var descriptor: Int32? {
        switch listener {
        case .some(let told): told.descriptor.number
        case .none: nil
        }
    }

    func listen(_ descriptor: consuming Descriptor) { listener = CallObserver(descriptor) }

    func end(_ verdict: Verdict, _ plan: LaunchPlan, wasAsked: Bool) {
        self.verdict = verdict
        wasAskedToEnd = wasAsked
        for case .seccomp(let program) in plan.steps { filtered = program }
        countsTogether = plan.cgroup != nil && verdict.peakMemoryBytes != nil
    }

    /// Waits for the child's next word, and lets its calls go on until it says one.
    func waitForWord(of child: borrowing Child) throws(KernelError) {
        switch listener {
        case .some(let told):
            while true {
                if try child.hasWord(orCallOn: told.descriptor) { return }
                try serve()
            }
        case .none: return
        }
    }

    /// Looks at one call that waits, and lets it go on.
    func serve() throws(KernelError) {
        switch listener {
        case .some(let told):
            guard let call = try told.next() else { return }
            // Whatever is seen of it: it is not kept waiting.
            note(call)
            told.letGo(call)
        case .none: return
        }
    }

    private func note(_ call: ObservedCall) {
        if !hasBegun, execute.contains(call.data.number) {
            hasBegun = true
            volumes.meet(call.pid)
        }
        guard hasBegun else { return }
        guard call.data.architecture == SeccompBuilder.nativeArchitecture else {
            foreignCalls += 1
            return
        }
        // x32's calls have a bit set that no number of a name has: they are another architecture's too.
        if call.data.number & 0x4000_0000 != 0 { foreignCalls += 1 }
        numbers.insert(call.data.number)
        for named in PathCall.all[call.data.number] ?? [] { volumes.note(call, named) }
        processes.note(call)
    }
}
