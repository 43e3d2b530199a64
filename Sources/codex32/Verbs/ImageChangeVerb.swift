internal import Engine
internal import Images
internal import LinuxKernel
internal import OCISpec

/// `codex32 image tag`, `remove` and `prune`.
enum ImageChangeVerb {
    private static let tagCommand = Command<PlainDraft>(
        name: "image tag", synopsis: "codex32 image tag IMAGE NAME[:TAG]", summary: "give an image another name",
        details: "A name that meant another image means this one from then on.", groups: [CommonOptions.group()])

    static func tag(_ words: [String]) throws(Problem) -> Int32 {
        guard let (draft, names) = try tagCommand.read(words, PlainDraft(), count: 2...2, what: "image and name") else {
            return 0
        }
        let store = try ImageVerb.store(draft)
        try store.name(try ImageName(asked: names[1]), try store.require(names[0]))
        return 0
    }

    struct Draft: VerbDraft {
        var help = false
        var storage: String?
        var force = false
        var all = false
    }

    private static let removeCommand = Command<Draft>(
        name: "image remove", synopsis: "codex32 image remove [OPTIONS] IMAGE...",
        summary: "take names of images away, and images with their last names",
        details: "A digest stands for the image with all of its names. Layers that other images have stay.",
        groups: [
            (
                "Options",
                [
                    .flag(
                        "-f", "--force", help: "take the name away though the image is in use; that stays until prune"
                    ) {
                        $0.force = true
                    }
                ]
            ), CommonOptions.group(),
        ])

    static func remove(_ words: [String]) throws(Problem) -> Int32 {
        guard let (draft, names) = try removeCommand.read(words, Draft(), count: 1...Int.max, what: "image") else {
            return 0
        }
        let store = try ImageVerb.store(draft)
        let containers = try CommonOptions.containers(draft)
        return forEach(names) { text throws(Problem) in
            let done = try store.remove(text, force: draft.force) { () throws(Problem) in
                try containers.imagesInUse()
            }
            for name in done.untagged { StandardStream.output.print("untagged \(name)\n") }
            for digest in done.swept.images { StandardStream.output.print("removed \(digest)\n") }
        }
    }

    private static let pruneCommand = Command<Draft>(
        name: "image prune", synopsis: "codex32 image prune [OPTIONS]",
        summary: "take away images without a name that no container uses",
        details: """
            And layers and blobs that no image has. It waits for what is being loaded, and removes nothing in use. What is
            kept for scripts with a requirements.txt goes once no start needed it for 30 days.
            """,
        groups: [
            (
                "Options",
                [
                    .flag("-f", "--force", help: "do not ask") { $0.force = true },
                    .flag("-a", "--all", help: "what is kept for scripts with a requirements.txt too") {
                        $0.all = true
                    },
                ]
            ), CommonOptions.group(),
        ])

    static func prune(_ words: [String]) throws(Problem) -> Int32 {
        guard let (draft, _) = try pruneCommand.read(words, Draft(), count: 0...0, what: "word") else { return 0 }
        if !draft.force {
            guard StandardStream.input.isTerminal, StandardStream.error.isTerminal else {
                throw Problem(
                    "cannot ask whether to prune", "there is no terminal to ask on",
                    hint: "codex32 image prune -f does not ask")
            }
            StandardStream.error.print(
                "This takes away all images without a name that no container uses. Go on? [y/N] ")
            let answer = StandardStream.input.readSome(64)?.first
            guard answer == UInt8(ascii: "y") || answer == UInt8(ascii: "Y") else { return 0 }
        }
        let containers = try CommonOptions.containers(draft)
        let before = draft.all ? Int64.max : Clock.realtime / 1_000_000_000 - ImageStore.readyFor
        let swept = try ImageVerb.store(draft).prune(readyBefore: before) { () throws(Problem) in
            try containers.imagesInUse()
        }
        for digest in swept.images { StandardStream.output.print("removed \(digest)\n") }
        StandardStream.output.print(
            "freed \(Quantity.bytes(swept.bytes)) (\(swept.layers) layers, \(swept.blobs) blobs)\n")
        return 0
    }
}
