internal import Sandbox

/// What codex32 keeps of containers and reads again, and the socket by which it is asked: see ``StoreAttack``.
extension Corpus {
    private static let sleeping = ["sleep", "1000"]
    private static let state = ["inspect", "-f", "{{.State.Status}}", "@name@"]

    static let stores: [Attack] = [
        Attack(
            "record-process", .surface, "a record that names a process outside as its program",
            success: "that process is ended", probe: .store(["@start@", "1"].map(named)), promised: .every,
            control: .outsideWords(["kill", "-KILL", "@bystander@"]), evidence: .bystander),
        Attack(
            "record-path", .surface, "a record whose id or name climbs out of the store",
            success: "a file outside is taken away",
            probe: .store(
                ["id", "name"].map { member in
                    StoreAttack(
                        words: ["true"], tampering: .record([member: #""../../sentinel/file""#]),
                        verbs: [["list", "-a"], ["rename", "@name@", "other"], ["remove", "-f", "@name@"]])
                }), promised: .every, control: .outsideWords(["cat", "@place@/sentinel/file"]), evidence: .secret),
        Attack(
            "record-escape-sequence", .surface, "a record with a terminal's escape sequences in it",
            success: "the terminal does what the record says",
            probe: .store(
                [
                    "labels": #"{"\u001b[2J": "\u001b]0;title\u0007"}"#, "health": #""\u001b[2J""#,
                    "name": #""\u001b[2J""#,
                ]
                .sorted { $0.key < $1.key }.map { member, value in
                    StoreAttack(
                        words: ["true"], tampering: .record([member: value]),
                        verbs: [
                            ["list", "-a"], ["list", "-a", "--format", "{{.Name}} {{.Labels}}"], ["inspect", "@name@"],
                        ])
                }), promised: .every, control: .outsideWords(["printf", "\\033]0;title\\007"]),
            evidence: .escapeCharacter),
        Attack(
            "log-link", .surface, "CVE-2026-53488: a link in the place of a container's log",
            success: "a host file is shown, made or written",
            probe: .store(
                [("log/log.json", "@place@/sentinel/file"), ("log", "@place@/sentinel")].map { name, to in
                    StoreAttack(
                        words: ["echo", "overwritten"], tampering: .link(name, to: to),
                        verbs: [["logs", "@name@"], ["start", "-a", "@name@"], ["logs", "@name@"]])
                }), promised: .every, control: .outsideWords(["cat", "@place@/sentinel/file"]), evidence: .secret),
        Attack(
            "log-escape-sequence", .surface, "a log whose times and streams have escape sequences in them",
            success: "the terminal does what the log says",
            probe: .store([
                StoreAttack(
                    words: ["true"],
                    tampering: .log(#"{"log":"text\n","stream":"\u001b[2J","time":"\u001b]0;title\u0007"}"# + "\n"),
                    verbs: [["logs", "-t", "@name@"], ["logs", "--tail", "1", "@name@"]])
            ]), promised: .every, control: .outsideWords(["printf", "\\033]0;title\\007"]), evidence: .escapeCharacter),
        Attack(
            "socket-peer", .surface, "packets to a supervisor by somebody who reaches its socket",
            success: "the supervisor ends, and its program with it",
            probe: .store([
                StoreAttack(
                    words: sleeping, runs: true,
                    tampering: .packets([
                        "", "{}", "[]", #"{"verb":5}"#, #"{"verb":"fly"}"#, String(repeating: "[", count: 60_000),
                        #"{"verb":"kill"}"#, #"{"verb":"kill","signal":65}"#, #"{"verb":"stop","timeout":-1}"#,
                        #"{"verb":"rename","name":"../x"}"#, #"{"verb":"update","change":5}"#,
                        #"{"verb":"attach","rows":-1,"columns":5}"#, "\0", String(repeating: "x", count: 150_000),
                    ]), verbs: [["kill", "-s", "CONT", "@name@"], state])
            ]), promised: .every,
            control: .store(
                StoreAttack(
                    words: sleeping, runs: true, tampering: .packets([#"{"verb":"kill","signal":9}"#]),
                    verbs: [["wait", "@name@"], state]), .standard), evidence: .silence(of: "running")),
        Attack(
            "log-flood", .exhaustion, "a log without end", success: "more than its files may hold",
            probe: .store([flood(["--log-max-size", "128k", "--log-max-files", "2"])]), promised: .every,
            control: .store(flood(["--log-max-size", "10m"]), .standard), evidence: .output(over: 600 << 10)),
        Attack(
            "exec-user", .surface, "CVE-2026-30892: a user given to exec is forgotten", success: "root",
            probe: .store([asUser("1"), asUser("1:1"), asUser("nobody")]), promised: .every,
            control: .store(asUser("0"), .standard), evidence: .ran),
        Attack(
            "exec-working-folder", .surface, "CVE-2024-21626: a descriptor as exec's working folder",
            success: "a host folder",
            probe: .store([
                StoreAttack(
                    words: sleeping, runs: true, verbs: (3...14).map { entering(folder: "/proc/self/fd/\($0)") })
            ]), promised: .every,
            control: .store(StoreAttack(words: sleeping, runs: true, verbs: [entering(folder: "/tmp")]), .standard),
            evidence: .ran),
    ]

    /// - Parameter start: of the process, as the record has it: right, or another's.
    private static func named(start: String) -> StoreAttack {
        let process = #"{"pid": @bystander@, "startTime": \#(start), "boot": "@boot@"}"#
        return StoreAttack(
            words: ["true"],
            tampering: .record([
                "state": #"{"status": "running", "process": \#(process), "startedAt": "2026-01-01T00:00:00Z"}"#,
                "supervisor": process,
            ]),
            verbs: [["stop", "-t", "0", "@name@"], ["kill", "@name@"], ["list", "-a"], ["remove", "-f", "@name@"]])
    }

    private static func flood(_ options: [String]) -> StoreAttack {
        StoreAttack(
            options: options, words: ["sh", "-c", "yes 0123456789012345678901234567890123456789 | head -c 800000"],
            runs: true, verbs: [["wait", "@name@"], ["logs", "@name@"]])
    }

    private static func asUser(_ user: String) -> StoreAttack {
        StoreAttack(
            words: sleeping, runs: true,
            verbs: [["exec", "-u", user, "@name@", "sh", "-c", "test $(id -u) != 0 || echo RAN"]])
    }

    private static func entering(folder: String) -> [String] {
        ["exec", "-w", folder, "@name@", "sh", "-c", "cat ../../../../../../../../..$ATTACK_SENTINEL; echo RAN"]
    }
}
