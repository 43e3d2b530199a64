internal import Engine
internal import LinuxKernel
internal import OCISpec

/// `codex32 system`: the store as a whole.
enum SystemVerb {
    struct Draft: VerbDraft {
        var help = false
        var storage: String?
        var format = Format.table
        var forUser = false
        var program: String?
    }

    static let command = Command<Draft>(
        name: "system", synopsis: "codex32 system boot|df|recover|unit [OPTIONS]",
        summary: "look after the store",
        details: """
            boot     after a start of the machine: put the store in order, and start the containers whose policy is
                     always, or unless-stopped where nobody stopped them
            df       what the store takes on its disk, and what could be had back
            recover  put in order what killed supervisors and commands left; the commands that meet it do so too
            unit     print the systemd unit that runs system boot; make install puts it in place
            """,
        groups: [
            (
                "Options",
                [
                    .option("--format", value: "FORMAT", help: "table or json", choices: Format.choices) {
                        draft, text throws(Problem) in draft.format = try Format(text)
                    },
                    .flag("--user", help: "for unit: that of a user's own systemd") { $0.forUser = true },
                    .option(
                        "--program", value: "PATH", help: "for unit: where codex32 is installed (default: this one)"
                    ) {
                        $0.program = $1
                    },
                ]
            ), CommonOptions.group(),
        ])

    static let verb = Verb(command) { words throws(Problem) in
        guard let (draft, names) = try command.read(words, Draft(), count: 1...1, what: "part of it") else { return 0 }
        switch names[0] {
        case "boot": return try SystemBoot.run(draft)
        case "df": return try SystemDisk.run(draft)
        case "recover": return try recover(draft)
        case "unit": return try SystemBoot.unit(draft)
        default:
            throw Problem("cannot use \(names[0])", "system has no such part", hint: "boot, df, recover or unit")
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
