internal import Images
internal import LinuxKernel

/// `codex32 image mount` and `unmount`.
enum ImageMountVerb {
    private static let mountCommand = Command<PlainDraft>(
        name: "image mount", synopsis: "codex32 image mount [IMAGE...]",
        summary: "mount images to look at, read-only, and print where",
        details: "As root. Without an image: those that are mounted. A mounted image is not swept.",
        groups: [CommonOptions.group()])

    static func mount(_ words: [String]) throws(Problem) -> Int32 {
        guard let (draft, names) = try mountCommand.read(words, PlainDraft(), count: 0...Int.max, what: "image") else {
            return 0
        }
        let store = try ImageVerb.store(draft)
        if names.isEmpty {
            for (digest, path) in store.mounted() { StandardStream.output.print("\(digest.short) \(path)\n") }
            return 0
        }
        return forEach(names) { text throws(Problem) in
            StandardStream.output.print(try store.mount(try store.require(text)) + "\n")
        }
    }

    private static let unmountCommand = Command<PlainDraft>(
        name: "image unmount", synopsis: "codex32 image unmount IMAGE...", summary: "take mounts of images away",
        details: "", groups: [CommonOptions.group()])

    static func unmount(_ words: [String]) throws(Problem) -> Int32 {
        guard let (draft, names) = try unmountCommand.read(words, PlainDraft(), count: 1...Int.max, what: "image")
        else { return 0 }
        let store = try ImageVerb.store(draft)
        return forEach(names) { text throws(Problem) in try store.unmount(try store.require(text)) }
    }
}
