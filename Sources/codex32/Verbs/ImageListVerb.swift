internal import Engine
internal import Images
internal import LinuxKernel
internal import OCISpec

/// `codex32 image list`.
enum ImageListVerb {
    struct Draft: VerbDraft {
        var help = false
        var storage: String?
        var format = Format.table
        var quiet = false
    }

    private static let command = Command<Draft>(
        name: "image list", synopsis: "codex32 image list [OPTIONS]", summary: "show the images that there are",
        details: """
            One line for each name; <none> for an image that lost its names; <requirements> and <template> for what is kept
            for scripts with a requirements.txt. The size is that of its blobs, as loaded.
            Fields for --format: ID Repository Tag Digest CreatedAt Size Bytes Layers.
            """,
        groups: [
            (
                "Options",
                [
                    .option("--format", value: "FORMAT", help: Format.help, choices: Format.choices) {
                        draft, text throws(Problem) in draft.format = try Format(text)
                    },
                    .flag("-q", "--quiet", help: "ids alone") { $0.quiet = true },
                ]
            ), CommonOptions.group(),
        ])

    static func run(_ words: [String]) throws(Problem) -> Int32 {
        guard let (draft, _) = try command.read(words, Draft(), count: 0...0, what: "word") else { return 0 }
        let store = try ImageVerb.store(draft)
        let names = try store.names()
        let ready = try store.allReady()
        let nameless = try store.all().filter { digest in
            !names.contains { $0.digest == digest } && !ready.contains { $0.digest == digest }
        }
        let lines =
            names.map { ($0.name.repository, $0.name.tag, $0.digest) }
            + ready.map { ($0.shown.kind, $0.shown.which, $0.digest) } + nameless.map { ("<none>", "<none>", $0) }
        var status: Int32 = 0
        var rows: [JSON] = []
        for (repository, tag, digest) in lines {
            do throws(Problem) { rows.append(row(repository, tag, try store.image(digest))) } catch {
                StandardStream.error.print("codex32: \(error)\n")
                status = error.status
            }
        }
        if draft.quiet {
            var seen: Set<String> = []
            for row in rows {
                if seen.insert(text(row, "id")).inserted { StandardStream.output.print(text(row, "id") + "\n") }
            }
            return status
        }
        switch draft.format {
        case .json: StandardStream.output.print(JSON.array(rows).text(pretty: true) + "\n")
        case .template(let template):
            for row in rows { StandardStream.output.print(try template.text(row) + "\n") }
        case .table:
            StandardStream.output.print(
                Table.text(
                    ["REPOSITORY", "TAG", "ID", "CREATED", "SIZE", "LAYERS"],
                    rows.map { row in
                        ["repository", "tag", "id", "createdAt", "size", "layers"].map { text(row, $0) }
                    }))
        }
        return status
    }

    private static func row(_ repository: String, _ tag: String, _ image: ImageStore.Stored) -> JSON {
        .members([
            "id": .string(image.digest.short), "repository": .string(repository), "tag": .string(tag),
            "digest": .string("\(image.digest)"),
            "createdAt": .string(image.config.created ?? ""), "size": .string(Quantity.bytes(image.size)),
            "bytes": .number(image.size), "layers": .number(image.chain.count),
        ])
    }

    private static func text(_ row: JSON, _ name: String) -> String {
        switch row[name] {
        case .string(let text)?: text.quotedForTerminal
        case let value?: value.text()
        case nil: ""
        }
    }
}
