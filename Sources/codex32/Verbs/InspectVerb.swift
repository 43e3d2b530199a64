internal import Engine
internal import LinuxKernel
internal import OCISpec

/// `codex32 inspect`: all that is known of containers.
enum InspectVerb {
    struct Draft: VerbDraft {
        var help = false
        var storage: String?
        var format = Format.json
        var receipt = false
    }

    static let command = Command<Draft>(
        name: "inspect", synopsis: "codex32 inspect [OPTIONS] CONTAINER...",
        summary: "tell all that is known of containers, as JSON",
        details: "With --receipt it tells what the last start had in force, as the kernel's own files had it.",
        groups: [
            (
                "Options",
                [
                    .option("-f", "--format", value: "FORMAT", help: "json, or a template: '{{.State.Status}}'") {
                        draft, text throws(Problem) in draft.format = try Format(text)
                    },
                    .flag("--receipt", help: "what the last start had in force") { $0.receipt = true },
                ]
            ), CommonOptions.group(),
        ])

    static let verb = Verb(command) { words throws(Problem) in
        guard let (draft, names) = try command.read(words, Draft(), count: 1...Int.max, what: "container") else {
            return 0
        }
        let containers = try CommonOptions.containers(draft)
        var documents: [JSON] = []
        let status = forEach(names) { name throws(Problem) in
            documents.append(try document(containers, name, receipt: draft.receipt))
        }
        switch draft.format {
        case .json, .table: StandardStream.output.print(JSON.array(documents).text(pretty: true) + "\n")
        case .template(let template):
            for document in documents { StandardStream.output.print(try template.text(document) + "\n") }
        }
        return status
    }

    private static func document(_ containers: Containers, _ name: String, receipt: Bool) throws(Problem) -> JSON {
        let container = try containers.store.find(name)
        let record = try containers.view(container)
        guard receipt else {
            guard let health = container.healthReport(), case .object(let members) = record.document else {
                return record.document
            }
            return .object(members + [.init("healthChecks", health)])
        }
        guard let text = container.receipt() else {
            throw Problem(
                "no receipt of \(record.name)", "it was never started", hint: "codex32 start \(record.name)")
        }
        return text
    }
}
