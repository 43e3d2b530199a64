internal import Engine
internal import LinuxKernel
internal import OCISpec

/// `codex32 system`: the store as a whole.
enum SystemVerb {
    struct Draft: VerbDraft {
        var help = false
        var storage: String?
        var format = Format.table
    }

    static let command = Command<Draft>(
        name: "system", synopsis: "codex32 system recover [OPTIONS]",
        summary: "look after the store",
        details: """
            recover  put in order what killed supervisors and commands left; the commands that meet it do so too
            """,
        groups: [
            (
                "Options",
                [
                    .option("--format", value: "FORMAT", help: "table or json", choices: Format.choices) {
                        draft, text throws(Problem) in draft.format = try Format(text)
                    }
                ]
            ), CommonOptions.group(),
        ])

    static let verb = Verb(command) { words throws(Problem) in
        guard let (draft, names) = try command.read(words, Draft(), count: 1...1, what: "part of it") else { return 0 }
        switch names[0] {
        case "recover": return try recover(draft)
        default:
            throw Problem("cannot use \(names[0])", "system has no such part", hint: "codex32 system --help")
        }
    }

    private static func recover(_ draft: Draft) throws(Problem) -> Int32 {
        let findings = try CommonOptions.containers(draft).recover()
        if case .json = draft.format {
            let list = findings.map { finding -> JSON in
                .members(["id": .string(finding.id), "name": .string(finding.name), "what": .string(finding.what)])
            }
            StandardStream.output.print(JSON.array(list).text(pretty: true) + "\n")
            return 0
        }
        for finding in findings {
            let name = finding.name.isEmpty ? finding.id : finding.name
            StandardStream.output.print("\(name.quotedForTerminal) \(finding.what)\n")
        }
        if findings.isEmpty { StandardStream.output.print("all is in order\n") }
        return 0
    }
}
