internal import Engine
internal import LinuxKernel
internal import Sandbox

/// `codex32 run`.
enum RunVerb {
    static let verb = Verb(RunOptions.command) { words throws(Problem) in try run(words) }

    static func run(_ words: [String]) throws(Problem) -> Int32 {
        guard let (draft, arguments) = try RunDraft.read(RunOptions.command, words) else { return 0 }
        if draft.life.detach { return try detach(draft, arguments) }
        if let option = draft.life.lastingOption {
            throw Problem(
                "cannot use \(option)", "a foreground run is gone at its end", hint: "add -d, or use codex32 create")
        }
        let configuration = try draft.configuration(arguments: arguments)
        if draft.dryRun { return try PlanPage.print(configuration, draft.format) }
        return try Run.run(configuration) {
            StandardStream.error.print($0.hasPrefix("hint:") ? "\($0)\n" : "codex32: \($0)\n")
        }
    }

    /// `create` and `start` in one; a container that cannot be started is not left behind.
    private static func detach(_ draft: RunDraft, _ arguments: [String]) throws(Problem) -> Int32 {
        for (option, given) in [("--result-file", draft.resultFile), ("--receipt", draft.receiptFile)]
        where given != nil {
            throw Problem(
                "cannot use \(option) with -d", "the container's record has it",
                hint: "codex32 inspect CONTAINER, and inspect --receipt")
        }
        let configuration = try draft.containerConfiguration(arguments: arguments)
        if draft.dryRun { return try PlanPage.print(configuration.run, draft.format) }
        let containers = Containers(configuration.run.storage)
        let record = try containers.create(configuration, note: CreateVerb.note(draft.quiet))
        do throws(Problem) {
            try containers.start(record.id) { if !draft.quiet { warn($0) } }
        } catch {
            _ = try? containers.remove(record.id, force: true, volumes: true)
            throw error
        }
        try CreateVerb.tell(record.id, of: containers)
        return 0
    }
}
