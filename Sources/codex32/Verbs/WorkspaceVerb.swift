internal import Engine
internal import LinuxKernel
internal import OCISpec

/// `codex32 workspace`: what a run or a container with --workspace changed, to look at, to take over, or to throw away.
enum WorkspaceVerb {
    private static let command = Command<PlainDraft>(
        name: "workspace", synopsis: "codex32 workspace list | diff ID | apply ID [PATH...] | discard ID...",
        summary: "look at, apply or discard what runs and containers with --workspace changed",
        details: """
            diff prints A (added), C (changed) or D (deleted) and the path within the folder. apply replaces each file whole,
            by a rename, and does nothing where the folder itself changed since the run began; files belong to whom the
            replaced ones did, and lose set-id bits. After an apply of everything the workspace is gone. Links are taken
            over as they are: look before you follow them. A container's workspace lasts with it, has its id, and answers to its
            name; stop it first. remove keeps a workspace with changes, and says so.
            """,
        groups: [CommonOptions.group()])

    static let verb = Verb(command) { words throws(Problem) in
        guard let (draft, words) = try command.read(words, PlainDraft(), count: 1...Int.max, what: "part") else {
            return 0
        }
        let storage = try Storage.current(option: draft.storage)
        let rest = Array(words.dropFirst())
        let part = words[0]
        switch part {
        case "list", "ls":
            guard rest.isEmpty else { throw Problem("cannot use \(rest[0])", "list takes no more words") }
            let rows = Workspace.all(storage).map { [$0.id, Timestamp.text($0.started), $0.source] }
            StandardStream.output.print(Table.text(["ID", "STARTED", "FOLDER"], rows))
            return 0
        case "diff", "apply", "discard": break
        default:
            throw Problem(
                "cannot use \(part)", "workspace has no such part", hint: "list, diff, apply or discard")
        }
        guard let id = rest.first else {
            throw Problem("no workspace", "\(part) needs one", hint: "codex32 workspace list shows them")
        }
        switch part {
        case "diff":
            let workspace = try Workspace.find(id, storage)
            try workspace.take()
            show(try workspace.changes())
            return 0
        case "discard":
            return forEach(rest) { text throws(Problem) in
                let workspace = try Workspace.find(text, storage)
                try workspace.take()
                try workspace.discard()
            }
        default:
            let workspace = try Workspace.find(id, storage)
            try workspace.take()
            let paths = rest.dropFirst().map { path in FileName(path.hasPrefix("/") ? path : "/" + path) }
            show(try workspace.apply(Array(paths)))
            if try workspace.changes().isEmpty { try workspace.discard() }
            return 0
        }
    }

    private static func show(_ changes: [FileChange]) {
        for change in changes {
            let line = [change.kind.letter, 0x20] + Array(change.path.description.quotedForTerminal.utf8) + [0x0a]
            StandardStream.output.write(line[...])
        }
    }
}
