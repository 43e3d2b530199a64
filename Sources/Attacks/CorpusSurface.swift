internal import Sandbox

/// What codex32 itself reads: images, options, names.
extension Corpus {
    private static let look = "cat /proc/file /sys/file /dev/file 2>/dev/null; echo x >/dev/file; echo x >/sys/file; :"

    private static func linked(_ name: String, _ flaw: String) -> Attack {
        Attack(
            "image-\(name)-link", .surface, flaw, success: "a host folder in the place of it, read or written",
            probe: .words(["sh", "-c", look]), promised: .every,
            control: .outsideWords(["cat", "@place@/images/\(name)-link/\(name)/file"]), evidence: .secret,
            root: .hostile("\(name)-link"))
    }

    static let images: [Attack] = [
        linked("proc", "CVE-2023-27561: the image's /proc is a link"),
        linked("sys", "CVE-2023-28642: the image's /sys is a link"),
        linked("dev", "CVE-2026-41579: the image's /dev is a link"),
        Attack(
            "image-null-link", .surface, "CVE-2025-31133: the image's /dev/null, of which masks are made, is a link",
            success: "a host file is shown, or overwritten",
            probe: .words(["sh", "-c", "cat /dev/null /proc/keys; echo overwritten >/dev/null; :"]), promised: .every,
            control: .outsideWords(["cat", "@place@/images/null-link/dev/null"]), evidence: .secret,
            root: .hostile("null-link")),
        Attack(
            "image-console-link", .surface, "CVE-2025-52565: the image's /dev/console is a link",
            success: "a host file is shown, or overwritten",
            probe: .words(["sh", "-c", "read -t 0.1 x </dev/console; echo $x; echo overwritten >/dev/console; :"]),
            promised: .every,
            control: .outsideWords(["cat", "@place@/images/null-link/dev/console"]), evidence: .secret,
            options: [["-t"], []], root: .hostile("null-link")),
        Attack(
            "image-tmp-link", .surface, "the image's /tmp is a link: what is mounted there is written outside",
            success: "a file is made in a host folder", probe: .words(["sh", "-c", "echo x >/tmp/new; cat /tmp/file"]),
            promised: .every, control: .outsideWords(["cat", "@place@/images/tmp-link/tmp/file"]), evidence: .secret,
            root: .hostile("tmp-link")),
        Attack(
            "volume-target-link", .surface,
            "CVE-2021-30465, CVE-2026-87766: a volume's target is a link out of the image, or by pid 1 to the old root",
            success: "something is made in a host folder",
            probe: .words(["sh", "-c", "cat /data/file /up/file; :"]), promised: .every,
            control: .outsideWords(["cat", "@place@/images/data-link/data/file"]), evidence: .secret,
            options: ["data", "up", "old"].map { ["-v", "@place@/volume:/\($0)/new"] }, root: .hostile("data-link")),
        Attack(
            "working-folder-link", .surface, "CVE-2024-21626: the working folder is a link of the image's",
            success: "a host folder", probe: .words(["sh", "-c", "cat file; echo x >new; :"]), promised: .every,
            control: .outsideWords(["cat", "@place@/images/data-link/data/file"]), evidence: .secret,
            options: [["-w", "/data"], ["-w", "/up"], ["-w", "/descriptor"]], root: .hostile("data-link")),
    ]

    /// Names in an image that somebody exchanges for links while codex32 sets up. Each is run several times.
    private static func raced(
        _ name: String, _ flaw: String, _ script: String, options: [String] = [], names: (String, String)
    ) -> Attack {
        Attack(
            "race-\(name)", .surface, flaw, success: "a host file is shown, made or overwritten",
            probe: .words(["sh", "-c", script]), promised: .every,
            control: .raced("@place@/images/race/\(names.0)"), evidence: .secret,
            options: [[String]](repeating: options, count: 6), root: .hostile("race"),
            race: ("@place@/images/race/\(names.0)", "@place@/images/race/\(names.1)"))
    }

    static let races: [Attack] = [
        raced(
            "volume-target", "CVE-2021-30465, CVE-2024-45310: a volume's target is exchanged for a link",
            "cat /data/file /data/new/file; echo x >/data/new/x; :", options: ["-v", "@place@/volume:/data/new"],
            names: ("data", "data-link")),
        raced(
            "proc", "CVE-2025-52881: the image's /proc is exchanged for a link",
            "cat /proc/file; echo x >/proc/file; :",
            names: ("proc", "proc-link")),
        raced(
            "dev", "CVE-2026-41579, raced: the image's /dev is exchanged for a link",
            "cat /dev/file; echo x >/dev/file; echo x >/dev/null; :", names: ("dev", "dev-link")),
        raced(
            "null", "CVE-2025-31133, raced: the image's /dev/null is exchanged for a link",
            "cat /dev/null /proc/keys; echo overwritten >/dev/null; :", names: ("dev/null", "dev/link")),
        raced(
            "console", "CVE-2025-52565, raced: the image's /dev/console is exchanged for a link",
            "read -t 0.1 x </dev/console; echo $x; echo overwritten >/dev/console; :", options: ["-t"],
            names: ("dev/console", "dev/console-link")),
    ]

    static let surface: [Attack] = [
        Attack(
            "mount-over-proc", .surface, "CVE-2019-16884: a mount in the place of /proc/self/attr",
            success: "labels are written nowhere", probe: .words(["echo", "RAN"]), promised: .every,
            control: .weakened(["--tmpfs", "/other"], .strict, root: false), evidence: .ran,
            options: [["--tmpfs", "/proc"], ["--tmpfs", "/proc/self/attr"], ["-v", "@place@/volume:/proc/sys"]]),
        Attack(
            "user-overflow", .surface, "CVE-2024-40635: a user number that wraps around to root", success: "root",
            probe: .words(["echo", "RAN"]), promised: .every, control: .weakened(["-u", "0"], .strict, root: false),
            evidence: .ran, options: [["-u", "4294967296"], ["-u", "0:4294967296"], ["-u", "-1"]]),
        Attack(
            "volume-climb", .surface, "a target that climbs out", success: "a mount outside",
            probe: .words(["echo", "RAN"]), promised: .every,
            control: .weakened(["-v", "@place@/volume:/tmp/x"], .strict, root: false), evidence: .ran,
            options: [["-v", "@place@/volume:/tmp/../../x"], ["-v", "@place@/volume:/"]]),
        Attack(
            "escape-sequence", .surface, "a name with a terminal's escape sequence in it",
            success: "the terminal does what the name says", probe: .words(["\u{1b}]0;title\u{7}"]), promised: .every,
            control: .outsideWords(["printf", "\\033]0;title\\007"]), evidence: .escapeCharacter,
            options: [[], ["--name", "\u{1b}[2J"], ["--image", "/\u{1b}[2J"], ["-e", "\u{1b}[2J"]]),
        Attack(
            "profile-of-nobody", .surface, "a seccomp profile with a key that nobody knows",
            success: "the filter is not what it says", probe: .words(["echo", "RAN"]), promised: .every,
            control: .weakened(["--seccomp", allowAll], .standard, root: false), evidence: .ran,
            options: [["--seccomp", "@place@/unknown.json"]]),
    ]
}
