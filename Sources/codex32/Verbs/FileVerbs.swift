internal import Engine
internal import Images
internal import LinuxKernel
internal import OCISpec

/// The verbs for a container's files.
enum FileVerbs {
    private static func note(_ text: String) {
        StandardStream.error.print("codex32: note: \(text.quotedForTerminal)\n")
    }

    // MARK: cp

    struct CopyDraft: VerbDraft {
        var help = false
        var storage: String?
        var owners = false
        var follow = false
        var quiet = false
    }

    private static let cpCommand = Command<CopyDraft>(
        name: "cp",
        synopsis: "codex32 cp [OPTIONS] CONTAINER:PATH DEST|-   or   codex32 cp [OPTIONS] SRC|- CONTAINER:PATH",
        summary: "copy files between a container, running or not, and the machine",
        details: """
            As docker cp: into a folder that is there, or under a new name; SRC/. means what is in SRC. With - an archive \
            (tar) comes from standard input or goes to standard output. Files that come in belong to the container's \
            root, those that come out to you; -a keeps their ids. Devices and sockets are left out.
            """,
        groups: [
            (
                "Options",
                [
                    .flag("-a", "--archive", help: "files keep their owners' ids, and their attributes") {
                        $0.owners = true
                    },
                    .flag("-L", "--follow-link", help: "if SRC is a link, copy what it leads to") { $0.follow = true },
                    .flag("-q", "--quiet", help: "no progress, and no notes on what was left out") { $0.quiet = true },
                ]
            ), CommonOptions.group(),
        ])

    static let cp = Verb(cpCommand) { words throws(Problem) in
        guard let (draft, names) = try cpCommand.read(words, CopyDraft(), count: 2...2, what: "source and destination")
        else { return 0 }
        let containers = try CommonOptions.containers(draft)
        var options = CopyOptions()
        (options.owners, options.followLinks) = (draft.owners, draft.follow)
        let bar = ProgressBar("copying", total: size(names[0]), quiet: draft.quiet)
        options.passed = { bar.update($0) }
        if !draft.quiet {
            options.note = {
                bar.finish()
                note($0)
            }
        }
        defer { bar.finish() }
        let hint = "codex32 cp CONTAINER:PATH DEST, or codex32 cp SRC CONTAINER:PATH"
        switch (ContainerPath(names[0]), ContainerPath(names[1])) {
        case (let from?, nil):
            if names[1] == "-" { try refuseTerminal("cp") }
            try containers.copy(from: from.container, from.path, to: names[1] == "-" ? nil : names[1], options)
        case (nil, let to?):
            if names[0] == "-", StandardStream.input.isTerminal {
                throw Problem("cannot read the archive", "standard input is a terminal", hint: "give it a file or pipe")
            }
            try containers.copy(names[0] == "-" ? nil : names[0], to: to.container, to.path, options)
        case (.some, .some):
            throw Problem(
                "cannot copy between containers", "both words name one", hint: "by way of a pipe: cp ... - | cp - ...")
        case (nil, nil): throw Problem("cannot copy", "neither word names a container", hint: hint)
        }
        return 0
    }

    /// A single file's size is known beforehand.
    private static func size(_ path: String) -> UInt64? {
        guard ContainerPath(path) == nil, let status = try? Descriptor.status(ofPath: path), status.kind == .file else {
            return nil
        }
        return UInt64(status.size)
    }

    private static func refuseTerminal(_ verb: String) throws(Problem) {
        guard StandardStream.output.isTerminal else { return }
        throw Problem(
            "cannot write the archive", "standard output is a terminal",
            hint: verb == "export" ? "codex32 export -o FILE CONTAINER, or into a pipe" : "into a file or a pipe")
    }

    // MARK: diff

    struct DiffDraft: VerbDraft {
        var help = false
        var storage: String?
        var format = Format.table
    }

    private static let diffCommand = Command<DiffDraft>(
        name: "diff", synopsis: "codex32 diff [OPTIONS] CONTAINER",
        summary: "show what a container changed of its image",
        details:
            "A: added, C: changed, or something in it was; D: deleted. Volumes and temporary folders are not the image's.",
        groups: [
            (
                "Options",
                [
                    .option("--format", value: "FORMAT", help: Format.help, choices: Format.choices) {
                        draft, text throws(Problem) in draft.format = try Format(text)
                    }
                ]
            ), CommonOptions.group(),
        ])

    static let diff = Verb(diffCommand) { words throws(Problem) in
        guard let (draft, names) = try diffCommand.read(words, DiffDraft(), count: 1...1, what: "container") else {
            return 0
        }
        let changes = try CommonOptions.containers(draft).difference(names[0])
        let documents = changes.map { change -> JSON in
            .members(["kind": .string(change.kind.rawValue), "path": .string(change.path.description)])
        }
        switch draft.format {
        case .json: StandardStream.output.print(JSON.array(documents).text(pretty: true) + "\n")
        case .template(let template):
            for document in documents { StandardStream.output.print(try template.text(document) + "\n") }
        case .table:
            for change in changes {
                let letter = Character(Unicode.Scalar(change.kind.letter))
                StandardStream.output.print("\(letter) \(change.path.description.quotedForTerminal)\n")
            }
        }
        return 0
    }

    // MARK: export

    struct ExportDraft: VerbDraft {
        var help = false
        var storage: String?
        var file: String?
        var quiet = false
    }

    private static let exportCommand = Command<ExportDraft>(
        name: "export", synopsis: "codex32 export [OPTIONS] CONTAINER",
        summary: "write a container's root file system as a tar archive",
        details:
            "Its own files and those of its image, with the ids that it sees; not its volumes, /proc, /sys or /dev.",
        groups: [
            (
                "Options",
                [
                    .option("-o", "--output", value: "FILE", help: "write to a file (default: standard output)") {
                        $0.file = $1
                    },
                    .flag("-q", "--quiet", help: "no progress and no notes") { $0.quiet = true },
                ]
            ), CommonOptions.group(),
        ])

    static let export = Verb(exportCommand) { words throws(Problem) in
        guard let (draft, names) = try exportCommand.read(words, ExportDraft(), count: 1...1, what: "container") else {
            return 0
        }
        if draft.file == nil { try refuseTerminal("export") }
        let bar = ProgressBar("exporting \(names[0])", quiet: draft.quiet)
        defer { bar.finish() }
        try CommonOptions.containers(draft).export(names[0], to: draft.file, options(bar, draft.quiet))
        return 0
    }

    private static func options(_ bar: ProgressBar, _ quiet: Bool) -> CopyOptions {
        var options = CopyOptions()
        options.passed = { bar.update($0) }
        if !quiet {
            options.note = {
                bar.finish()
                note($0)
            }
        }
        return options
    }

    // MARK: import and commit

    struct ImageDraft: VerbDraft {
        var help = false
        var storage: String?
        var quiet = false
        var limits = ImageImport.Limits()
    }

    private static let imageOptions: (title: String, options: [Option<ImageDraft>]) = (
        "Options",
        [
            .option("--max-size", value: "SIZE", help: "of all files together (default 32g)") {
                draft, text throws(Problem) in draft.limits.bytes = try Value.size(text, option: "--max-size")
            },
            .option("--max-files", value: "NUMBER", help: "files, folders and links (default 1000000)") {
                draft, text throws(Problem) in
                draft.limits.files = try Value.whole(text, option: "--max-files", 1...1_000_000_000)
            },
            .flag("-q", "--quiet", help: "no progress and no notes") { $0.quiet = true },
        ]
    )

    private static let importCommand = Command<ImageDraft>(
        name: "import", synopsis: "codex32 import [OPTIONS] FILE|- FOLDER",
        summary: "make an image folder of a tar archive",
        details: """
            FOLDER must be new or empty; it is there whole or not at all. The archive is tar (ustar, pax, GNU's long names), \
            plain or compressed: by its first bytes, whatever its name, this machine's gzip, zstd, xz or bzip2 reads it. \
            Devices are left out. Root keeps owners and set-id bits; an ordinary user owns all files.
            """,
        groups: [imageOptions, CommonOptions.group()])

    static let importImage = Verb(importCommand) { words throws(Problem) in
        guard let (draft, names) = try importCommand.read(words, ImageDraft(), count: 2...2, what: "archive and folder")
        else { return 0 }
        let isStream = names[0] == "-"
        if isStream, StandardStream.input.isTerminal {
            throw Problem("cannot read the archive", "standard input is a terminal", hint: "give it a file or pipe")
        }
        let file = try explaining("cannot read \(names[0])") { () throws(KernelError) in
            isStream ? try StandardStream.input.duplicate() : try Descriptor.open(names[0], [.read])
        }
        let isPlain = (try? ArchiveSource.isCompressed(file)) == false
        let bar = ProgressBar("importing", total: isPlain && !isStream ? size(names[0]) : nil, quiet: draft.quiet)
        defer { bar.finish() }
        let source = try ArchiveSource(file, passed: { bar.update($0) })
        try ImageImport.unpack(
            source, into: names[1], draft.limits, note: options(bar, draft.quiet).note,
            finish: { () throws(Problem) in try source.finish() })
        tellOwners(draft.quiet)
        return 0
    }

    private static let commitCommand = Command<ImageDraft>(
        name: "commit", synopsis: "codex32 commit [OPTIONS] CONTAINER FOLDER",
        summary: "make an image folder of a container's root as it is now",
        details: """
            FOLDER must be new or empty; codex32 run FOLDER then starts from there. Volumes and temporary folders are not \
            part of it. Root keeps owners and set-id bits; an ordinary user owns all files.
            """,
        groups: [imageOptions, CommonOptions.group()])

    static let commit = Verb(commitCommand) { words throws(Problem) in
        guard
            let (draft, names) = try commitCommand.read(words, ImageDraft(), count: 2...2, what: "container and folder")
        else { return 0 }
        let bar = ProgressBar("copying the root of \(names[0])", quiet: draft.quiet)
        defer { bar.finish() }
        try CommonOptions.containers(draft).commit(names[0], to: names[1], draft.limits, options(bar, draft.quiet))
        tellOwners(draft.quiet)
        return 0
    }

    private static func tellOwners(_ quiet: Bool) {
        if !quiet, !Machine.isRoot { note("all files belong to you, whoever owned them in the archive") }
    }
}

/// "CONTAINER:PATH"; nil for a path of the machine's, "-" among them. As with Docker, what begins with "/" or "." is a
/// path, whatever follows.
struct ContainerPath: Equatable {
    let container: String
    let path: String

    init?(_ text: String) {
        guard text.first != "/", text.first != ".", let colon = text.firstIndex(of: ":"), colon != text.startIndex
        else {
            return nil
        }
        container = String(text[..<colon])
        if container.contains("/") { return nil }
        let rest = String(text[text.index(after: colon)...])
        path = rest.isEmpty ? "/" : rest
    }
}
