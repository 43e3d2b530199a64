public import Sandbox

/// One attack of the corpus: what is tried, what it stands for, and how it is known that it still works.
public struct Attack: Sendable {
    /// What the attack is after.
    public enum Family: String, CaseIterable, Sendable {
        /// Power over the machine: its files, its kernel, its other processes.
        case escape
        /// What the machine does not tell.
        case leak
        /// So much of something that others have none.
        case exhaustion
        /// codex32's own doors: what it reads of images, options and names.
        case surface
    }

    /// What is run inside.
    public enum Probe: Equatable, Sendable {
        /// A program of the corpus (`Sources/AttackPrograms`).
        case program(String)
        /// Words for the image's own programs.
        case words([String])
        /// What codex32 keeps of a container is tampered with, in each of these ways; see ``StoreAttack``.
        case store([StoreAttack])
        /// `codex32 oci run` with each of these bundles; see ``BundleAttack``.
        case bundle([BundleAttack])
    }

    /// By what success is known. That no file of the machine's has changed is looked at after every run.
    public enum Evidence: Equatable, Sendable {
        /// The program says what it got.
        case word
        /// The secret that was planted outside stands in the output.
        case secret
        /// codex32 started it at all, which it must refuse: the output says "RAN".
        case ran
        /// A process of the attack's lives on behind its end.
        case survivor
        /// More came out than so many bytes.
        case output(over: Int)
        /// A terminal's escape character stands in what codex32 itself says.
        case escapeCharacter
        /// A process outside that has nothing to do with it was ended.
        case bystander
        /// This does not stand in the output, as it does where all is well.
        case silence(of: String)
    }

    /// How it is shown that the attack is alive: this must succeed.
    public enum Control: Equatable, Sendable {
        /// The same program by the same user, outside of any sandbox.
        case outside(root: Bool)
        /// These words, outside.
        case outsideWords([String])
        /// A program that checks this name and then uses it, outside, in the same race.
        case raced(String)
        /// The same in a sandbox with these options instead of its own, at a level.
        case weakened([String], IsolationLevel, root: Bool)
        /// The same steps with what is no attack, at a level.
        case store(StoreAttack, IsolationLevel)
        /// A bundle that is no attack.
        case bundle(BundleAttack, IsolationLevel)

        public static let outside = Control.outside(root: false)
        /// Only root can do it outside, so an ordinary user has no control of it.
        public static let outsideAsRoot = Control.outside(root: true)
    }

    /// What the root file system of the sandbox is.
    public enum Root: Equatable, Sendable {
        case busybox
        /// An image that is the attacker's, see ``Place``: its name there.
        case hostile(String)
    }

    /// What has to be in force, or there, for a level to promise anything.
    public enum Need: Equatable, Sendable {
        case memoryLimit
    }

    public let name: String
    public let family: Family
    /// The flaw or the technique that it stands for.
    public let flaw: String
    /// What it would mean.
    public let success: String
    public let probe: Probe
    /// The levels that promise to stop it. At others it may succeed, and the matrix shows whether it does.
    public let promised: Set<IsolationLevel>
    public let control: Control
    public var evidence = Evidence.word
    /// Options of `codex32 run`, each list for a run of its own: it is stopped if all are.
    public var options: [[String]] = [[]]
    public var root = Root.busybox
    /// How much is enough, for a program that takes all it can get.
    public var bound: Int?
    public var needs: Need?
    /// Two names that are exchanged without end while it is tried, each as in an option.
    public var race: (String, String)?

    /// What is run inside.
    var words: [String] {
        switch probe {
        case .program(let name): ["/attack", "attack-program", "try", name]
        case .words(let own): own
        case .store, .bundle: []
        }
    }

    /// The name of the image that it is run in, among those of ``Place``.
    var image: String {
        switch root {
        case .busybox: "plain"
        case .hostile(let name): name
        }
    }

    /// It needs nothing of codex32's own: it can be tried in another sandbox too.
    public var isPortable: Bool {
        guard case .program = probe, case .busybox = root, race == nil, needs == nil else { return false }
        return options == [[]] && evidence != .survivor && control != .weakened([], .standard, root: false)
    }

    init(
        _ name: String, _ family: Family, _ flaw: String, success: String, probe: Probe? = nil,
        promised: Set<IsolationLevel>, control: Control, evidence: Evidence = .word, options: [[String]] = [[]],
        root: Root = .busybox, bound: Int? = nil, needs: Need? = nil,
        race: (String, String)? = nil
    ) {
        self.name = name
        self.family = family
        self.flaw = flaw
        self.success = success
        self.probe = probe ?? .program(name)
        self.promised = promised
        self.control = control
        self.evidence = evidence
        self.options = options
        self.root = root
        self.bound = bound
        self.needs = needs
        self.race = race
    }
}

extension Set<IsolationLevel> {
    static let every: Set = [.minimal, .standard, .strict]
    static let ownRoot: Set = [.standard, .strict]
    static let strictOnly: Set = [.strict]
}
