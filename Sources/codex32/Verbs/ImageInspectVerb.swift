internal import Engine
internal import Images
internal import LinuxKernel
internal import OCISpec

/// `codex32 image inspect`, `history` and `verify`.
enum ImageInspectVerb {
    struct Draft: VerbDraft {
        var help = false
        var storage: String?
        var format = Format.json
    }

    private static let formatOption: (title: String, options: [Option<Draft>]) = (
        "Options",
        [
            .option("-f", "--format", value: "FORMAT", help: Format.help, choices: Format.choices) {
                draft, text throws(Problem) in draft.format = try Format(text)
            }
        ]
    )

    private static let inspectCommand = Command<Draft>(
        name: "image inspect", synopsis: "codex32 image inspect [OPTIONS] IMAGE...",
        summary: "tell all that is known of images, as JSON", details: "Its config stands there as it was loaded.",
        groups: [formatOption, CommonOptions.group()])

    static func inspect(_ words: [String]) throws(Problem) -> Int32 {
        guard let (draft, names) = try inspectCommand.read(words, Draft(), count: 1...Int.max, what: "image") else {
            return 0
        }
        let store = try ImageVerb.store(draft)
        let all = try store.names()
        var documents: [JSON] = []
        let status = forEach(names) { text throws(Problem) in
            let image = try store.image(try store.require(text))
            documents.append(document(image, all.filter { $0.digest == image.digest }.map(\.name.description), store))
        }
        switch draft.format {
        case .json, .table: StandardStream.output.print(JSON.array(documents).text(pretty: true) + "\n")
        case .template(let template):
            for document in documents { StandardStream.output.print(try template.text(document) + "\n") }
        }
        return status
    }

    private static func document(_ image: ImageStore.Stored, _ names: [String], _ store: ImageStore) -> JSON {
        .members([
            "id": .string("\(image.digest)"), "names": .list(names), "bytes": .number(image.size),
            "configDigest": .string("\(image.manifest.config.digest)"),
            "layers": .array(
                zip(image.manifest.layers, zip(image.config.diffIDs, image.chain)).map { layer, ids in
                    .members([
                        "digest": .string("\(layer.digest)"), "mediaType": .string(layer.mediaType),
                        "bytes": .number(layer.size), "diffID": .string("\(ids.0)"), "chainID": .string("\(ids.1)"),
                    ])
                }), "config": image.config.document,
        ])
    }

    private static let historyCommand = Command<Draft>(
        name: "image history", synopsis: "codex32 image history [OPTIONS] IMAGE",
        summary: "tell how an image was made, newest first", details: "As its own config says.",
        groups: [formatOption, CommonOptions.group()])

    static func history(_ words: [String]) throws(Problem) -> Int32 {
        var start = Draft()
        start.format = .table
        guard let (draft, names) = try historyCommand.read(words, start, count: 1...1, what: "image") else { return 0 }
        let store = try ImageVerb.store(draft)
        let image = try store.image(try store.require(names[0]))
        var sizes = image.manifest.layers.map(\.size)[...]
        var rows: [JSON] = []
        for step in image.config.history {
            let size = step.isEmpty ? 0 : sizes.popFirst() ?? 0
            rows.append(
                .members([
                    "createdAt": .string(step.created), "createdBy": .string(step.by), "comment": .string(step.comment),
                    "bytes": .number(size), "size": .string(Quantity.bytes(size)),
                ]))
        }
        rows.reverse()
        switch draft.format {
        case .json: StandardStream.output.print(JSON.array(rows).text(pretty: true) + "\n")
        case .template(let template):
            for row in rows { StandardStream.output.print(try template.text(row) + "\n") }
        case .table:
            StandardStream.output.print(
                Table.text(
                    ["CREATED", "SIZE", "CREATED BY"],
                    rows.map { row in
                        ["createdAt", "size", "createdBy"].map { name in
                            if case .string(let text)? = row[name] { text.quotedForTerminal } else { "" }
                        }
                    }))
        }
        return 0
    }

    private static let verifyCommand = Command<PlainDraft>(
        name: "image verify", synopsis: "codex32 image verify [IMAGE...]",
        summary: "sum up all bytes of images again",
        details: """
            Manifest, config and layers as they were loaded; all images, where none is named. Of the unpacked layers it
            tells only whether they are there. The exit status is 125 where something is damaged.
            """, groups: [CommonOptions.group()])

    static func verify(_ words: [String]) throws(Problem) -> Int32 {
        guard let (draft, names) = try verifyCommand.read(words, PlainDraft(), count: 0...Int.max, what: "image") else {
            return 0
        }
        let store = try ImageVerb.store(draft)
        let all = names.isEmpty ? try store.all().map { "\($0)" } : names
        return forEach(all) { text throws(Problem) in
            let digest = try store.require(text)
            let wrong = store.verify(digest)
            guard wrong.isEmpty else {
                throw Problem(
                    "the image \(names.isEmpty ? digest.short : text) is damaged", wrong.joined(separator: "; "),
                    hint: "remove it, and load it again")
            }
            StandardStream.output.print("\(names.isEmpty ? digest.short : text) is whole\n")
        }
    }
}
