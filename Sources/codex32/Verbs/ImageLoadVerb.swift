internal import Engine
internal import Images
internal import LinuxKernel

/// `codex32 image load` and `save`.
enum ImageLoadVerb {
    struct Draft: VerbDraft {
        var help = false
        var storage: String?
        var quiet = false
        var name: String?
        var platform = Platform.machine
        var limits = ImageStore.Limits()
    }

    private static let loadCommand = Command<Draft>(
        name: "image load", synopsis: "codex32 image load [OPTIONS] FILE|FOLDER|-",
        summary: "bring images in",
        details: """
            An OCI layout (a folder, or a tar of one) or what docker save wrote; the tar and the layers may be plain, gzip
            or zstd. Every blob is verified before it counts. Devices in layers are left out. Root keeps owners and set-id
            bits; an ordinary user owns all files.
            """,
        groups: [
            (
                "Options",
                [
                    .option("--name", value: "NAME[:TAG]", help: "instead of the names that the archive has") {
                        $0.name = $1
                    },
                    .option(
                        "--platform", value: "OS/ARCH", help: "of several, and this one only (default: this machine's)"
                    ) {
                        draft, text throws(Problem) in draft.platform = try Platform(asked: text)
                    },
                    .option("--max-size", value: "SIZE", help: "of one layer's files together (default 32g)") {
                        draft, text throws(Problem) in draft.limits.bytes = try Value.size(text, option: "--max-size")
                    },
                    .option("--max-files", value: "NUMBER", help: "in one layer (default 1000000)") {
                        draft, text throws(Problem) in
                        draft.limits.files = try Value.whole(text, option: "--max-files", 1...1_000_000_000)
                    },
                    .flag("-q", "--quiet", help: "no progress and no notes") { $0.quiet = true },
                ]
            ), CommonOptions.group(),
        ])

    static func run(_ words: [String]) throws(Problem) -> Int32 {
        guard let (draft, names) = try loadCommand.read(words, Draft(), count: 1...1, what: "archive") else { return 0 }
        let path = names[0]
        var name: ImageName?
        if let text = draft.name { name = try ImageName(asked: text) }
        let shows = !draft.quiet && StandardStream.error.isTerminal
        let load = ImageLoad(
            try ImageVerb.store(draft), name: name, platform: draft.platform, draft.limits,
            progress: { if shows { StandardStream.error.print("codex32: \($0.quotedForTerminal)\n") } },
            notice: { if !draft.quiet { StandardStream.error.print("codex32: note: \($0.quotedForTerminal)\n") } })
        let loaded: [ImageLoad.Loaded]
        if path == "-" {
            guard !StandardStream.input.isTerminal else {
                throw Problem("cannot read the archive", "standard input is a terminal", hint: "give it a file or pipe")
            }
            let input = try explaining("cannot read the archive") { () throws(KernelError) in
                try StandardStream.input.duplicate()
            }
            loaded = try load.archive(ByteStream(input), "-")
        } else {
            let kind = try explaining("cannot load \(path)") { () throws(KernelError) in
                try Descriptor.status(ofPath: path).kind
            }
            if kind == .folder {
                loaded = try load.folder(path)
            } else {
                let file = try explaining("cannot load \(path)") { () throws(KernelError) in
                    try Descriptor.open(path, [.read])
                }
                loaded = try load.archive(ByteStream(file), path)
            }
        }
        for image in loaded {
            if image.names.isEmpty, !draft.quiet {
                StandardStream.error.print(
                    "codex32: note: the image has no name: codex32 image tag \(image.digest.short) NAME\n")
            }
            let text = image.names.isEmpty ? "\(image.digest)" : image.names.map(\.description).joined(separator: "\n")
            StandardStream.output.print(text + "\n")
        }
        return 0
    }

    // MARK: save

    struct SaveDraft: VerbDraft {
        var help = false
        var storage: String?
        var file: String?
    }

    private static let saveCommand = Command<SaveDraft>(
        name: "image save", synopsis: "codex32 image save [OPTIONS] IMAGE...",
        summary: "write images as an archive",
        details:
            "A tar of an OCI layout, with a docker-archive's manifest.json beside it. Every blob is verified on its way.",
        groups: [
            (
                "Options",
                [
                    .option("-o", "--output", value: "FILE", help: "whole or not at all (default: standard output)") {
                        $0.file = $1
                    }
                ]
            ), CommonOptions.group(),
        ])

    static func save(_ words: [String]) throws(Problem) -> Int32 {
        guard let (draft, names) = try saveCommand.read(words, SaveDraft(), count: 1...Int.max, what: "image") else {
            return 0
        }
        let store = try ImageVerb.store(draft)
        var images: [(digest: Digest, names: [ImageName])] = []
        for text in names {
            let digest = try store.require(text)
            let name = ImageName(text).flatMap { store.meaning(of: $0) == digest ? $0 : nil }
            if let index = images.firstIndex(where: { $0.digest == digest }) {
                if let name { images[index].names.append(name) }
            } else {
                images.append((digest, name.map { [$0] } ?? []))
            }
        }
        guard let file = draft.file else {
            guard !StandardStream.output.isTerminal else {
                throw Problem("cannot save to a terminal", "an archive is no text", hint: "-o FILE, or into a pipe")
            }
            let output = try explaining("cannot write the archive") { () throws(KernelError) in
                try StandardStream.output.duplicate()
            }
            try ImageSave(store).write(images, to: ByteStream(output))
            return 0
        }
        let output = try ExportFile(file)
        try ImageSave(store).write(images, to: output.stream)
        try output.finish()
        return 0
    }
}
