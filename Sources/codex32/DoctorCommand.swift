internal import Engine
internal import LinuxKernel
internal import OCISpec

/// `codex32 doctor`: what this machine offers, and the least that would add what it lacks.
enum DoctorCommand {
    struct Draft: VerbDraft {
        var format = "table"
        var help = false
        var storage: String?
    }

    static let command = Command<Draft>(
        name: "doctor", synopsis: "codex32 doctor [--format table|json]",
        summary: "tell what this machine offers, level by level",
        details: "The exit status is 0 when every level can start, with waivers named where strict needs them.",
        groups: [
            (
                "Options",
                [
                    .option("--format", value: "FORMAT", help: "table or json", choices: ["table", "json"]) {
                        draft, text throws(Problem) in
                        guard ["table", "json"].contains(text) else {
                            throw Value.wrong("--format", text, "table or json")
                        }
                        draft.format = text
                    },
                    .flag("-h", "--help", help: "print this and exit") { $0.help = true },
                ]
            )
        ])

    static let verb = Verb(command) { words throws(Problem) in try run(words) }

    private static func run(_ words: [String]) throws(Problem) -> Int32 {
        guard let (draft, _) = try command.read(words, Draft(), count: 0...0, what: "word") else { return 0 }
        let findings = Diagnosis.all()
        let levels = Diagnosis.levels(findings)
        if draft.format == "json" {
            StandardStream.output.print(json(findings, levels))
        } else {
            StandardStream.output.print(table(findings, levels))
        }
        return levels.allSatisfy { $0.verdict != .no } ? 0 : 1
    }

    private static func json(_ findings: [Diagnosis.Finding], _ levels: [Diagnosis.Level]) -> String {
        JSON.members([
            "schema": .integer(1),
            "checks": .array(
                findings.map {
                    .members([
                        "check": .string($0.name), "ok": .bool($0.isThere), "found": .string($0.found),
                        "change": .text($0.change),
                    ])
                }),
            "levels": .array(
                levels.map {
                    .members([
                        "level": .string($0.name), "works": .string($0.verdict.rawValue), "lacks": .list($0.lacks),
                    ])
                }),
        ]).text(pretty: true) + "\n"
    }

    private static func table(_ findings: [Diagnosis.Finding], _ levels: [Diagnosis.Level]) -> String {
        var text = Table.text(["CHECK", "", "FOUND"], findings.map { [$0.name, $0.isThere ? "yes" : "no", $0.found] })
        let changes = findings.filter { !$0.isThere && $0.change != nil }
        if !changes.isEmpty {
            text += "\nTo add what is missing:\n"
            for finding in changes { text += "  \(finding.name): \(finding.change ?? "")\n" }
        }
        text += "\n"
        text += Table.text(
            ["LEVEL", "WORKS", "WITHOUT"],
            levels.map { [$0.name, $0.verdict.rawValue, $0.lacks.joined(separator: ", ")] })
        return text
    }
}
