internal import Engine
internal import Images
internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// `codex32 image build`.
enum ImageBuildVerb {
    struct Draft: VerbDraft {
        var help = false
        var storage: String?
        var quiet = false
        var base: String?
        var steps: [BuildStep] = []
        var names: [ImageName] = []
        /// The commands' sandbox.
        var run = RunDraft()
        var limits = ImageStore.Limits()
    }

    private static let command = Command<Draft>(
        name: "image build", synopsis: "codex32 image build --from IMAGE [OPTIONS]",
        summary: "make an image of another one, files and commands",
        details: """
            IMAGE is a loaded image, template:busybox, template:debian, template:python, or a folder with a root file system.
            The other options under "Steps" work in the order in which they stand, as the lines of a Dockerfile do: a --run
            has the variables, the working folder and the user of those before it. Each --copy and each --run is a layer of
            its own; the layers of IMAGE are shared with it. --requirements is one too: pip is the image's own, and its
            index and options are those that are set for pip on this machine (PIP_INDEX_URL, pip.conf). Commands run in a sandbox, at standard or strict, without a
            network unless asked for, and with /bin/sh of the image; what they leave in /tmp is gone. Their output goes to
            standard error. One that fails ends the build, of which nothing is left then; what a killed build leaves,
            codex32 image prune takes away.
            """,
        groups: [("Steps", steps), ("The commands' sandbox", sandbox), ("Options", others), CommonOptions.group()])

    private static let steps: [Option<Draft>] = [
        .option("--from", value: "IMAGE", help: "what it begins with") { $0.base = $1 },
        .option(
            "--copy", value: "SRC:DST", help: "files of the machine's, as root's: a file, or what is in a folder"
        ) {
            draft, text throws(Problem) in draft.steps.append(try copy(text))
        },
        .option("--run", value: "COMMAND", help: "a shell command, in a sandbox; what it changes is kept") {
            draft, text throws(Problem) in
            guard !text.isEmpty else { throw wrong("--run", text, "a shell command") }
            draft.steps.append(.run(text))
        },
        .option(
            "--requirements", value: "FILE",
            help: "install its Python packages: pip, in a sandbox which has the network alone among the steps"
        ) {
            draft, path throws(Problem) in
            draft.steps.append(.requirements(try RequirementsFile.named(path), try PipSettings.current()))
        },
        .option("-e", "--env", value: "NAME=VALUE", help: "a variable of the image") { draft, text throws(Problem) in
            let (name, value) = try pair(text, option: "--env")
            draft.steps.append(.set(.environment(name: name, value: value)))
        },
        .option("-w", "--workdir", value: "FOLDER", help: "the working folder") { draft, text throws(Problem) in
            draft.steps.append(.set(.workingFolder(try Value.inside(text, option: "--workdir"))))
        },
        .option("-u", "--user", value: "USER[:GROUP]", help: "who runs it: numbers, or names that the image knows") {
            draft, text throws(Problem) in
            let parts = text.split(separator: ":", omittingEmptySubsequences: false)
            guard parts.count <= 2, parts.allSatisfy({ !$0.isEmpty && $0.utf8.count <= 256 }),
                !Value.hasControls(text), !text.contains(" ")
            else { throw wrong("--user", text, "UID[:GID] or NAME[:GROUP]") }
            draft.steps.append(.set(.user(text)))
        },
        .option("--cmd", value: "WORDS", help: "what runs when nothing else is asked for: words, or a JSON array") {
            draft, text throws(Problem) in draft.steps.append(.set(.command(try words(text, option: "--cmd"))))
        },
        .option("--entrypoint", value: "WORDS", help: "what stands before them; it takes the base's own words away") {
            draft, text throws(Problem) in
            draft.steps.append(.set(.entrypoint(try words(text, option: "--entrypoint"))))
        },
        .option("-l", "--label", value: "NAME=VALUE", help: "a label of the image") { draft, text throws(Problem) in
            let (name, value) = try pair(text, option: "--label")
            draft.steps.append(.set(.label(name: name, value: value)))
        },
    ]

    /// Of the options of `run` those that a command in a build has use for.
    private static var sandbox: [Option<Draft>] {
        let names: Set = ["--isolation", "--network", "--userns", "--waive", "-m", "--cpus", "--pids-limit"]
        return [1, 2].flatMap { RunOptions.sandboxGroup($0)?.options ?? [] }
            .filter { $0.names.contains { names.contains($0) } }.map { $0.within(\.run) }
    }

    private static let others: [Option<Draft>] = [
        .option("-t", "--tag", value: "NAME[:TAG]", help: "its name; may be given more than once") {
            draft, text throws(Problem) in draft.names.append(try ImageName(asked: text))
        },
        .option("--max-size", value: "SIZE", help: "of one layer's files together (default 32g)") {
            draft, text throws(Problem) in draft.limits.bytes = try Value.size(text, option: "--max-size")
        },
        .option("--max-files", value: "NUMBER", help: "in one layer (default 1000000)") { draft, text throws(Problem) in
            draft.limits.files = try Value.whole(text, option: "--max-files", 1...1_000_000_000)
        },
        .flag("-q", "--quiet", help: "nothing but the image's name, and errors") { $0.quiet = true },
    ]

    // MARK: Values

    private static func wrong(_ option: String, _ text: String, _ wanted: String) -> Problem {
        Problem(
            "cannot use \(option) \(text)", "it must be \(wanted)",
            hint: "codex32 image build --help explains \(option)"
        )
    }

    /// At the last colon with a "/" behind it, since the place in the image begins with one.
    private static func copy(_ text: String) throws(Problem) -> BuildStep {
        let bytes = Array(text.utf8)
        let colon = bytes.indices.dropLast().last { bytes[$0] == 0x3a && bytes[$0 + 1] == 0x2f }
        guard let colon, colon > 0 else {
            throw Problem(
                "cannot use --copy \(text)", "it must be SRC:DST, and DST must begin with /",
                hint: "--copy ./bots:/bots")
        }
        let source = String(decoding: bytes[..<colon], as: UTF8.self)
        let destination = String(decoding: bytes[(colon + 1)...], as: UTF8.self)
        let plain = try Value.inside(destination, option: "--copy")
        // It says that a file goes into a folder.
        return .copy(source: source, destination: destination.hasSuffix("/") && plain != "/" ? plain + "/" : plain)
    }

    private static func pair(_ text: String, option: String) throws(Problem) -> (name: String, value: String) {
        // By bytes: an "=" with a combining sign behind it is one Character, and no "=".
        guard let equals = text.utf8.firstIndex(of: UInt8(ascii: "=")), equals != text.startIndex,
            !Value.hasControls(String(text[..<equals]))
        else { throw wrong(option, text, "NAME=VALUE") }
        return (String(text[..<equals]), String(text[text.utf8.index(after: equals)...]))
    }

    /// Words with blanks between them, or a JSON array of words. What only a shell would understand is no word.
    static func words(_ text: String, option: String) throws(Problem) -> [String] {
        let trimmed = text.drop { $0 == " " }
        if trimmed.first == "[" {
            guard case .array(let values)? = try? JSONReader.read(Array(trimmed.utf8)) else {
                throw wrong(option, text, "words, or a JSON array of strings")
            }
            var words: [String] = []
            for value in values {
                guard case .string(let word) = value, !word.utf8.contains(0) else {
                    throw wrong(option, text, "words, or a JSON array of strings")
                }
                words.append(word)
            }
            return words
        }
        let signs = "'\"\\$`|&;<>()*?\n\t"
        guard !text.contains(where: { signs.contains($0) }) else {
            throw Problem(
                "cannot use \(option) \(text)", "there is no shell that would read its signs",
                hint: #"for a shell: \#(option) '["sh", "-c", "..."]'"#)
        }
        let words = text.split(separator: " ").map(String.init)
        guard !words.isEmpty else { throw wrong(option, text, "words, or a JSON array of strings") }
        return words
    }

    // MARK: The build

    static func run(_ words: [String]) throws(Problem) -> Int32 {
        guard let (draft, _) = try command.read(words, Draft(), count: 0...0, what: "word") else { return 0 }
        guard let base = draft.base else {
            throw Problem(
                "no base", "image build needs one",
                hint: "codex32 image build --from template:python --copy ./bots:/bots")
        }
        let storage = try Storage.current(option: draft.storage)
        let reference = try ImageReference.asked(base, data: storage.data)
        var build = Build(base: reference, steps: draft.steps, names: draft.names, storage: storage)
        (build.quiet, build.limits) = (draft.quiet, draft.limits)
        var run = draft.run
        (run.storage, run.quiet, run.image) = (draft.storage, draft.quiet, "template:host")
        build.request = try run.configuration(arguments: []).request
        guard build.request.level != .minimal || !build.runsCommands && !run.levelWasChosen else {
            throw Problem(
                "cannot build at minimal", "there a command is not kept from the machine",
                hint: "--isolation standard or strict")
        }
        var told: Set<String> = []
        let digest = try build.run { image, step throws(Problem) in
            try sandbox(run, image, step, quiet: draft.quiet)
        } report: { line in
            // Each command has the same sandbox: its warnings are told once.
            guard line.hasPrefix("step ") || told.insert(line).inserted else { return }
            StandardStream.error.print(line.hasPrefix("hint:") ? "\(line)\n" : "codex32: \(line)\n")
        }
        if draft.names.isEmpty, !draft.quiet {
            StandardStream.error.print(
                "codex32: note: the image has no name: codex32 image tag \(digest.short) NAME\n")
        }
        let text = draft.names.isEmpty ? "\(digest)" : draft.names.map(\.description).joined(separator: "\n")
        StandardStream.output.print(text + "\n")
        return 0
    }

    /// How a command runs in the image as it is by then: with its variables, working folder and user.
    static func sandbox(
        _ draft: RunDraft, _ image: StoredImage, _ step: BuildStep, quiet: Bool
    ) throws(Problem) -> RunConfiguration {
        var run = draft
        run.image = image.name
        run.pull = .never
        try run.meetImage()
        // What the image has where volumes would be is a part of it.
        run.ownVolumes = []
        if case .run(let script) = step {
            run.entrypoint = (run.imageConfig?.shell ?? ["/bin/sh", "-c"]) + [script]
        }
        run.readOnly = false
        if run.request.network == .host { try useResolver(&run.request, of: image, storage: draft.storage) }
        var configuration = try run.configuration(arguments: [])
        configuration.output = quiet ? .none : .error
        if case .requirements(let file, let settings) = step { try configuration.install(file, settings) }
        return configuration
    }

    /// The machine's name servers, unless the image has its own, or a link there.
    private static func useResolver(
        _ request: inout SandboxRequest, of image: StoredImage, storage: String?
    ) throws(Problem) {
        let store = ImageStore(data: try Storage.current(option: storage).data)
        let layers = try store.layerFolders(image.digest)
        let there = try explaining("cannot look into the image") { () throws(KernelError) in
            try LayeredCopy.find("etc", in: layers)?.node(FileName("resolv.conf"))
        }
        if there == nil { request.showResolver() }
    }
}
