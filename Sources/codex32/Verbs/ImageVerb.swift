internal import Engine
internal import Images
internal import LinuxKernel

/// `codex32 image`: the images of the store. Each part is a command of its own.
enum ImageVerb {
    static let command = Command<PlainDraft>(
        name: "image", synopsis: "codex32 image PART [OPTIONS] [WORDS...]",
        summary: "load, build, pull, look at, name, push, save and remove images",
        details: """
            load [--name NAME[:TAG]] FILE|FOLDER|-  bring in an OCI layout, or what docker save wrote
            build --from IMAGE [--copy SRC:DST] ... make one of another, files and commands
            pull HOST/NAME[:TAG|@DIGEST]...         bring it in from a registry
            push IMAGE [HOST/NAME[:TAG]]            take it to one
            list [--format FORMAT] [-q]             the images that there are
            inspect [--format FORMAT] IMAGE...      all that is known of them
            history IMAGE                           how it was made, layer by layer
            tag IMAGE NAME[:TAG]                    give it another name
            remove [-f] IMAGE...                    take a name away, and the image with its last one
            prune [-f]                              take away what has no name and no container uses
            verify [IMAGE...]                       sum up all bytes again
            mount [IMAGE...], unmount IMAGE...      its files, to look at (as root)
            save [-o FILE] IMAGE...                 write a docker archive, for load and others
            codex32 image PART --help tells more. codex32 login is for registries that want one.
            """,
        groups: [CommonOptions.group()])

    static let verb = Verb(command) { words throws(Problem) in
        // The options that all parts have may stand before it, as with the other verbs.
        var place = 0
        while place < words.count, words[place].hasPrefix("--root") { place += words[place] == "--root" ? 2 : 1 }
        guard place < words.count, !words[place].hasPrefix("-") else {
            guard let (_, parts) = try command.read(words, PlainDraft(), count: 1...Int.max, what: "part") else {
                return 0
            }
            throw Problem(
                "cannot use \(words[place])", "it stands before \(parts[0]), whose option it may be",
                hint: "codex32 image \(parts[0]) --help")
        }
        let part = words[place]
        let rest = Array(words[..<place] + words[(place + 1)...])
        switch part {
        case "load": return try ImageLoadVerb.run(rest)
        case "build": return try ImageBuildVerb.run(rest)
        case "list", "ls": return try ImageListVerb.run(rest)
        case "inspect": return try ImageInspectVerb.inspect(rest)
        case "history": return try ImageInspectVerb.history(rest)
        case "tag": return try ImageChangeVerb.tag(rest)
        case "remove", "rm": return try ImageChangeVerb.remove(rest)
        case "prune": return try ImageChangeVerb.prune(rest)
        case "verify": return try ImageInspectVerb.verify(rest)
        case "mount": return try ImageMountVerb.mount(rest)
        case "unmount", "umount": return try ImageMountVerb.unmount(rest)
        case "save": return try ImageLoadVerb.save(rest)
        case "pull": return try ImagePullVerb.pull(rest)
        case "push": return try ImagePullVerb.push(rest)
        default:
            throw Problem(
                "cannot use \(part)", "image has no such part",
                hint:
                    "load, build, pull, push, list, inspect, history, tag, remove, prune, verify, mount, unmount or save"
            )
        }
    }

    static func store(_ draft: some VerbDraft) throws(Problem) -> ImageStore {
        ImageStore(data: try Storage.current(option: draft.storage).data)
    }
}
