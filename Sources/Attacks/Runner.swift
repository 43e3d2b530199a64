internal import LinuxKernel
internal import Sandbox

/// How an attack is run: by the program under test, as any caller would, or outside.
struct Runner {
    let place: String
    private let secret: String
    let waived: [String]
    /// A learned profile that the sandboxes are under.
    private var profile: String?

    init(_ place: String, secret: String, waived: [String], profile: String? = nil) {
        self.profile = profile
        self.place = place
        self.secret = secret
        self.waived = waived
    }

    /// For controls: what is shown there is that an attack is alive.
    var withoutProfile: Runner {
        var other = self
        other.profile = nil
        return other
    }

    var program: String { "\(place)/codex32" }

    /// codex32's caller has secrets in its environment, as callers do.
    private var environment: [String] {
        [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=\(place)", "LANG=C.UTF-8",
            "TERM=dumb", "ATTACK_SECRET=\(secret)", "ATTACK_INHERITED=\(secret)",
        ]
    }

    var victimEnvironment: [String] {
        environment + ["ATTACK_SENTINEL=\(place)/sentinel/file", "ATTACK_SOCKET_PATH=\(place)/socket"]
    }

    /// What an attacker may know; where things are is no secret.
    var fixedVariables: [String] {
        [
            "ATTACK_SENTINEL=\(place)/sentinel/file", "ATTACK_SOCKET_PATH=\(place)/socket",
            "ATTACK_HOSTNAME=\(Runner.hostName)", "ATTACK_MOUNT=\(Runner.ownMount)",
        ]
    }

    /// Where the machine has something mounted that no sandbox would have too; empty: nowhere.
    private static var ownMount: String {
        let table = (try? Descriptor.contents(of: "/proc/self/mountinfo")) ?? ""
        let usual = ["/proc", "/sys", "/dev", "/tmp", "/run"]
        for line in table.split(separator: "\n") {
            let fields = line.split(separator: " ")
            guard fields.count > 5, fields[4] != "/" else { continue }
            let place = String(fields[4])
            if !usual.contains(where: { place == $0 || place.hasPrefix($0 + "/") }) { return place }
        }
        return ""
    }

    private static var hostName: String {
        let text = (try? Descriptor.contents(of: "/proc/sys/kernel/hostname")) ?? ""
        return String(text.prefix { $0 != "\n" })
    }

    private func start(_ level: IsolationLevel) -> [String] {
        var words = ["codex32", "run", "--root", "\(place)/storage", "-q", "--isolation", level.rawValue]
        if level == .strict { for item in waived { words += ["--waive", item] } }
        if let profile { words += ["--profile", profile] }
        return words + ["--timeout", "60s", "--image", "template:busybox"]
    }

    /// Whether a level starts at all: status 7.
    func plain(_ level: IsolationLevel) throws(Problem) -> OutsideProcess {
        try OutsideProcess.run(
            program, start(level) + ["--", "sh", "-c", "exit 7"], environment: environment)
    }

    func inside(
        _ attack: Attack, _ level: IsolationLevel, options: [String], variables: [String], leaked: Int32
    ) throws(Problem) -> OutsideProcess {
        var words = start(level)
        if case .hostile(let image) = attack.root { words += ["--image", "\(place)/images/\(image)"] }
        words += [
            "-v", "\(place)/volume:/volume:rw", "-v", "\(place)/read-only:/read-only:ro",
            "-v", "\(program):/attack:ro",
        ]
        for variable in known(attack, variables) { words += ["-e", variable] }
        words += options + ["--"]
        return try OutsideProcess.run(program, words + attack.words, environment: environment, leaked: leaked)
    }

    /// What the attack is told, inside.
    func known(_ attack: Attack, _ variables: [String]) -> [String] {
        variables + ["ATTACK_VOLUME=/volume", "ATTACK_READ_ONLY=/read-only", "ATTACK_PLACE=/tmp"] + bound(attack)
    }

    /// In another sandbox: `tool PLACE WORDS...` runs the words over the root file system PLACE/images/plain, with
    /// PLACE/volume, PLACE/read-only and PLACE/codex32 at /volume, /read-only (read-only) and /attack, and hands on
    /// the variables that are named in ATTACK_VARIABLES.
    ///
    /// For attacks that need more: ATTACK_IMAGE is the image's name where it is another one, ATTACK_OPTIONS has the
    /// options of `codex32 run` that make the attack, one a line, and ATTACK_LEVEL is strict, or the level of a control.
    func inside(
        tool: String, _ level: IsolationLevel, _ words: [String], image: String = "plain", options: [String],
        variables: [String], leaked: Int32
    ) throws(Problem) -> OutsideProcess {
        let names = variables.map { String($0.prefix { $0 != "=" }) }.joined(separator: " ")
        let told = [
            "ATTACK_VARIABLES=\(names)", "ATTACK_IMAGE=\(image)", "ATTACK_LEVEL=\(level.rawValue)",
            "ATTACK_OPTIONS=\(options.joined(separator: "\n"))",
        ]
        return try OutsideProcess.run(
            tool, [tool, place] + words, environment: environment + variables + told, leaked: leaked)
    }

    func outside(_ attack: Attack, variables: [String], leaked: Int32) throws(Problem) -> OutsideProcess {
        let name: String
        switch attack.probe {
        case .program(let own): name = own
        case .words(let words): name = words.last ?? ""
        case .store, .bundle: name = ""
        }
        return try outsideProgram(name, variables: variables + bound(attack), leaked: leaked)
    }

    /// A program of the corpus, outside, as a control.
    func outsideProgram(_ name: String, variables: [String], leaked: Int32 = -1) throws(Problem) -> OutsideProcess {
        let known = [
            "ATTACK_CONTROL=1", "ATTACK_VOLUME=\(place)/volume", "ATTACK_READ_ONLY=\(place)/read-only",
            "ATTACK_PLACE=\(place)",
        ]
        return try OutsideProcess.run(
            program, ["codex32", "attack-program", "try", name], environment: environment + variables + known,
            leaked: leaked)
    }

    /// Any verb of the program under test, in its own storage folder.
    func verb(_ words: [String]) throws(Problem) -> OutsideProcess {
        try OutsideProcess.run(
            program, ["codex32", words[0], "--root", "\(place)/storage"] + words.dropFirst(), environment: environment)
    }

    /// A run of these words, with these options, in the busybox image.
    func run(_ level: IsolationLevel, _ options: [String], _ words: [String]) throws(Problem) -> OutsideProcess {
        try OutsideProcess.run(program, start(level) + options + ["--"] + words, environment: environment)
    }

    /// Options that a level needs to start here.
    func waivers(_ level: IsolationLevel) -> [String] {
        level == .strict ? waived.flatMap { ["--waive", $0] } : []
    }

    func outside(_ words: [String]) throws(Problem) -> OutsideProcess {
        guard let path = HostProgram.find(words[0]) else {
            throw Problem("cannot run \(words[0])", "it is not installed", hint: "apt-get install coreutils")
        }
        return try OutsideProcess.run(path, words, environment: environment)
    }

    private func bound(_ attack: Attack) -> [String] { attack.bound.map { ["ATTACK_BOUND=\($0)"] } ?? [] }
}
