internal import Engine
internal import LinuxKernel
internal import OCISpec

/// `codex32 prune`: takes away what does not run.
enum PruneVerb {
    struct Draft: VerbDraft {
        var help = false
        var storage: String?
        var force = false
        var volumes = false
        var format = Format.table
        var selection = PruneSelection()
    }

    static let command = Command<Draft>(
        name: "prune", synopsis: "codex32 prune [OPTIONS]",
        summary: "take all containers away that do not run",
        details: """
            Also those that never ran. Their changes and logs go with them; volumes of their own (-v /DST) only with
            --volumes, and then also those whose container is gone already. On a terminal it asks first.
            """,
        groups: [
            (
                "Options",
                [
                    .flag("-f", "--force", help: "do not ask") { $0.force = true },
                    .flag("--volumes", help: "volumes that no container is left for, too") { $0.volumes = true },
                    .option(
                        "--filter", value: "KEY=VALUE",
                        help: "label=KEY[=VALUE], label!=KEY[=VALUE], until=TIME (made before)"
                    ) {
                        draft, text throws(Problem) in try filter(text, &draft.selection)
                    },
                    .option("--format", value: "FORMAT", help: "table or json", choices: Format.choices) {
                        draft, text throws(Problem) in draft.format = try Format(text)
                    },
                ]
            ), CommonOptions.group(),
        ])

    private static func filter(_ text: String, _ selection: inout PruneSelection) throws(Problem) {
        let parts = text.split(separator: "=", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
        let value = parts.count == 3 ? parts[2] : nil
        switch parts[0] {
        case "label" where parts.count > 1, "label!" where parts.count > 1:
            selection.labels.append(.init(key: parts[1], value: value, isWanted: parts[0] == "label"))
        case "until" where parts.count == 2: selection.until = try Moment.parse(parts[1], "--filter until=")
        default:
            throw Problem(
                "cannot use --filter \(text)", "it must be KEY=VALUE", hint: "the keys are label, label! and until")
        }
    }

    static let verb = Verb(command) { words throws(Problem) in
        guard let (draft, _) = try command.read(words, Draft(), count: 0...0, what: "word") else { return 0 }
        let containers = try CommonOptions.containers(draft)
        if !draft.force, try !confirm(containers, draft) { return 0 }
        var status: Int32 = 0
        let pruned = try containers.prune(draft.selection, volumes: draft.volumes) { problem in
            StandardStream.error.print("codex32: \(problem)\n")
            status = problem.status
        }
        show(pruned, draft.format)
        return status
    }

    private static func confirm(_ containers: Containers, _ draft: Draft) throws(Problem) -> Bool {
        guard StandardStream.input.isTerminal, StandardStream.error.isTerminal else {
            throw Problem(
                "cannot ask whether to prune", "there is no terminal to ask on", hint: "codex32 prune -f does not ask")
        }
        let count = try containers.prunable(draft.selection).count
        let volumes = draft.volumes ? ", and all volumes that no container is left for" : ""
        StandardStream.error.print(
            "This takes away \(count) container\(count == 1 ? "" : "s") that do\(count == 1 ? "es" : "") not run, with changes and logs\(volumes). Go on? [y/N] "
        )
        var answer: [UInt8] = []
        while let bytes = StandardStream.input.readSome(64), !bytes.isEmpty {
            answer += bytes
            if answer.contains(10) || answer.count > 64 { break }
        }
        return answer.first == UInt8(ascii: "y") || answer.first == UInt8(ascii: "Y")
    }

    private static func show(_ pruned: Containers.Pruned, _ format: Format) {
        if case .json = format {
            let document = JSON.members([
                "containers": .list(pruned.containers.map(\.id)), "volumes": .list(pruned.volumes),
                "freedBytes": .number(pruned.freed.bytes), "complete": .bool(pruned.freed.isComplete),
            ])
            return StandardStream.output.print(document.text(pretty: true) + "\n")
        }
        var text = pruned.containers.map { $0.id + "\n" }.joined()
        text += pruned.volumes.map { "volume \($0)\n" }.joined()
        text += "freed \(pruned.freed.isComplete ? "" : "at least ")\(Quantity.bytes(pruned.freed.bytes))\n"
        StandardStream.output.print(text)
    }
}
