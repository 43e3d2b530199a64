internal import AttackPrograms
internal import Glibc
public import LinuxKernel
public import Sandbox

/// Runs the corpus: every attack at every level, and where it must succeed.
public struct Trial: Sendable {
    public var levels: [IsolationLevel] = IsolationLevel.allCases
    public var attacks: [Attack] = Corpus.all
    public var waived: [String] = []
    /// A learned profile that every sandbox is under (``Sandbox/LearnedProfile``), by its whole path.
    public var profile: String?
    /// A program that runs words in another sandbox than codex32's, for comparison (``Attack/isPortable``).
    public var tool: String?
    /// In another sandbox: these attacks were named one by one, and the tool understands options and images. Otherwise
    /// only those are tried there that need neither.
    public var isChosen = false
    /// Where its folder is made.
    public let folder: String

    public init(folder: String) { self.folder = folder }

    /// - Parameter progress: told of each attack, before it, with how many there are.
    /// - Throws: what kept it from trying anything.
    public func run(progress: (Attack, Int, Int) -> Void) throws(Problem) -> Matrix {
        try Trial.checkProgram()
        let place = try Place(in: folder)
        let matrix: Matrix
        do { matrix = try run(place, progress) } catch {
            try? place.remove()
            throw error
        }
        try place.remove()
        return matrix
    }

    /// What runs inside is this program: it must need nothing of the machine's.
    static func checkProgram() throws(Problem) {
        let head = try explaining("cannot read codex32's own file") { () throws(KernelError) in
            try Descriptor.open("/proc/self/exe", [.read]).readAll(limit: 256 << 20)
        }
        guard !needsLoader(head) else {
            throw Problem(
                "cannot run the attacks", "this codex32 is linked against shared libraries, which no sandbox has",
                hint: "build it static, as make build does")
        }
    }

    /// Whether a program of 64 bits names a loader that must start it (elf(5), PT_INTERP).
    static func needsLoader(_ file: [UInt8]) -> Bool {
        let number = { (at: Int, size: Int) -> Int in
            guard at + size <= file.count else { return 0 }
            return (0..<size).reversed().reduce(0) { $0 << 8 | Int(file[at + $1]) }
        }
        let table = number(32, 4)
        let (size, count) = (number(54, 2), number(56, 2))
        return (0..<count).contains { number(table + $0 * size, 4) == 3 }
    }

    private func run(_ place: borrowing Place, _ progress: (Attack, Int, Int) -> Void) throws(Problem) -> Matrix {
        let runner = Runner(place.path, secret: place.secret, waived: waived, profile: profile)
        let victim = try Victim(runner.program, environment: runner.victimEnvironment)
        let variables = victim.variables + runner.fixedVariables
        var absent: [(IsolationLevel, String)] = []
        var present: [IsolationLevel] = []
        do {
            for level in tool == nil ? levels : [.strict] {
                let done = try plain(runner, level)
                if done.status == 7 { present.append(level) } else { absent.append((level, Trial.why(done))) }
            }
            var rows: [Matrix.Row] = []
            let tried = tool == nil ? attacks : attacks.filter { $0.isPortable || isChosen && $0.probe.isRun }
            for (index, attack) in tried.enumerated() {
                progress(attack, index, tried.count)
                rows.append(try row(attack, place, runner, variables, present))
            }
            victim.end()
            return Matrix(
                caller: Machine.isRoot ? "root" : "user", tool: tool, levels: present, waived: waived, rows: rows,
                absent: absent)
        } catch {
            victim.end()
            throw error
        }
    }

    private func plain(_ runner: Runner, _ level: IsolationLevel) throws(Problem) -> OutsideProcess {
        guard let tool else { return try runner.plain(level) }
        return try runner.inside(
            tool: tool, level, ["/bin/sh", "-c", "exit 7"], options: [], variables: [], leaked: -1)
    }

    private static func why(_ done: OutsideProcess) -> String {
        let lines = done.errors.split(separator: "\n").prefix(2).map(String.init)
        return lines.isEmpty ? "status \(done.status.map { String($0) } ?? "none")" : lines.joined(separator: "; ")
    }

    private func row(
        _ attack: Attack, _ place: borrowing Place, _ runner: Runner, _ variables: [String], _ levels: [IsolationLevel]
    ) throws(Problem) -> Matrix.Row {
        // Until this attack is over.
        let racer = try attack.race.map { (names) throws(Problem) -> Companion in
            let names = [place.filled(names.0), place.filled(names.1)]
            return try Companion(runner.program, ["codex32", "attack-program", "exchange"] + names, environment: [])
        }
        defer { racer?.end() }
        var control: Outcome?
        var lack: String?
        if let missing = Trial.lack(attack.control) {
            lack = missing
        } else {
            control = try self.control(attack, place, runner.withoutProfile, variables)
        }
        var cells: [IsolationLevel: Outcome] = [:]
        var bundles: [String: Outcome] = [:]
        for level in levels {
            if let missing = Trial.unmet(attack.needs, level, waived: waived) {
                cells[level] = Outcome(.impossible, missing)
                continue
            }
            var outcomes: [Outcome] = []
            if case .store(let attempts) = attack.probe {
                for attempt in attempts { outcomes.append(try runner.outcome(attempt, of: attack, level, place)) }
            }
            if case .bundle(let attempts) = attack.probe {
                for (index, attempt) in attempts.enumerated() {
                    // A bundle is not another one at another level, unless it says so itself.
                    let name = "\(index) \(runner.text(attempt, level))"
                    if bundles[name] == nil {
                        bundles[name] = try runner.outcome(attempt, of: attack, level, place)
                    }
                    if let outcome = bundles[name] { outcomes.append(outcome) }
                }
            }
            for options in attack.probe.isRun ? attack.options : [] {
                outcomes.append(
                    try inside(attack, place, runner, variables, level, options: options.map { place.filled($0) }))
            }
            let worst = Judge.worst(outcomes)
            // What this machine does not have outside either, no wall was needed for.
            if worst.kind == .stopped, control?.kind == .impossible {
                cells[level] = Outcome(.impossible, control?.detail ?? "")
            } else {
                cells[level] = worst
            }
        }
        return Matrix.Row(attack: attack, control: control, controlLack: lack, cells: cells)
    }

    private static func lack(_ control: Attack.Control) -> String? {
        switch control {
        case .outside(root: true), .weakened(_, _, root: true):
            Machine.isRoot ? nil : "an ordinary user cannot do it outside either"
        default: nil
        }
    }

    private static func unmet(_ need: Attack.Need?, _ level: IsolationLevel, waived: [String]) -> String? {
        switch need {
        case .memoryLimit:
            guard let place = try? CgroupPlace.find(), place.controllers.contains(.memory) else {
                return "memory cannot be limited here: it needs cgroup v2"
            }
            return level == .minimal || !waived.contains("cgroup") ? nil : "it was waived"
        case nil: return nil
        }
    }

    private func inside(
        _ attack: Attack, _ place: borrowing Place, _ runner: Runner, _ variables: [String], _ level: IsolationLevel,
        options: [String], as token: String = "ATTACK_TOKEN=\(Machine.randomHex(bytes: 8))"
    ) throws(Problem) -> Outcome {
        let leaked = try? Descriptor.open("\(place.path)/sentinel", [.read, .folder])
        var number: Int32 = -1
        switch leaked {
        case .some(let folder): number = folder.number
        case .none: break
        }
        let done: OutsideProcess
        if let tool {
            done = try runner.inside(
                tool: tool, level, attack.words, image: attack.image, options: options,
                variables: runner.known(attack, variables + [token]), leaked: number)
        } else {
            done = try runner.inside(
                attack, level, options: options, variables: variables + [token], leaked: number)
        }
        return Judge.outcome(
            attack, run(done, place, token, survivors: attack.evidence == .survivor), secret: place.secret,
            inSandbox: true)
    }

    private func control(
        _ attack: Attack, _ place: borrowing Place, _ runner: Runner, _ variables: [String]
    ) throws(Problem) -> Outcome {
        let token = "ATTACK_TOKEN=\(Machine.randomHex(bytes: 8))"
        switch attack.control {
        case .weakened(let options, let level, _):
            return try inside(
                attack, place, runner, variables, level, options: options.map { place.filled($0) }, as: token)
        case .store(let attempt, let level): return try runner.outcome(attempt, of: attack, level, place)
        case .bundle(let attempt, let level): return try runner.outcome(attempt, of: attack, level, place)
        case .outsideWords(let words):
            let bystander = try Bystander(runner.program)
            let identity = bystander.identity
            let done = try runner.outside(words.map { identity.filled(place.filled($0)) })
            var outcome = run(done, place, token, survivors: false)
            outcome.endedBystander = !bystander.wasLeftAlone()
            return Judge.outcome(attack, outcome, secret: place.secret, inSandbox: false)
        case .raced(let name):
            let done = try runner.outsideProgram("check-then-use", variables: ["ATTACK_RACED=\(place.filled(name))"])
            return Judge.outcome(
                attack, run(done, place, token, survivors: false), secret: place.secret, inSandbox: false)
        case .outside:
            let leaked = try? Descriptor.open("\(place.path)/sentinel", [.read, .folder])
            var number: Int32 = -1
            switch leaked {
            case .some(let folder): number = folder.number
            case .none: break
            }
            let done = try runner.outside(attack, variables: variables + [token], leaked: number)
            let survivors = attack.evidence == .survivor
            return Judge.outcome(
                attack, run(done, place, token, survivors: survivors), secret: place.secret, inSandbox: false)
        }
    }

    private func run(_ done: OutsideProcess, _ place: borrowing Place, _ token: String, survivors: Bool) -> Judge.Run {
        Judge.Run(
            status: done.status, output: done.output, outputBytes: done.outputBytes, errors: done.errors,
            change: place.change(), survivor: survivors && Survivors.end(with: token))
    }
}
