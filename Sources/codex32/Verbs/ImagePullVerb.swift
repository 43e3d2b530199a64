internal import Images
internal import LinuxKernel

/// `codex32 image pull` and `push`.
enum ImagePullVerb {
    struct Draft: VerbDraft {
        var help = false
        var storage: String?
        var quiet = false
        var platform = Platform.machine
        var limits = ImageStore.Limits()
        var settings = RegistrySettings()
        /// Nil: those of the configuration.
        var mirrors: [RegistryMirror]?
    }

    /// How a registry is reached.
    static let connection: [Option<Draft>] = [
        .option(
            "--insecure", value: "REGISTRY",
            help: "plain HTTP or unverified TLS will do for this one, named HOST[:PORT]"
        ) {
            draft, text throws(Problem) in draft.settings.insecure.insert(try RegistryReference.host(text))
        },
        .option("--tls-ca", value: "FILE", help: "trust these certificates (PEM) beside the machine's") {
            draft, path throws(Problem) in draft.settings.authority = try authority(path)
        },
        .option("--idle-timeout", value: "TIME", help: "a connection without a byte for so long is dead (default 30s)")
        {
            draft, text throws(Problem) in draft.settings.idle = try idle(text)
        },
        .flag("-q", "--quiet", help: "no progress and no notes") { $0.quiet = true },
    ]

    static func authority(_ path: String) throws(Problem) -> String {
        let what = "cannot use --tls-ca \(path)"
        let kind = try explaining(what) { () throws(KernelError) in try Descriptor.status(ofPath: path).kind }
        guard kind == .file else { throw Problem(what, "it is no file", hint: "give it a PEM file of certificates") }
        return path.hasPrefix("/") ? path : "\(Machine.workingFolder)/\(path)"
    }

    static func idle(_ text: String) throws(Problem) -> UInt64 {
        let seconds = try Value.duration(text, option: "--idle-timeout") / 1_000_000_000
        guard (1...3600).contains(seconds) else { throw Value.wrong("--idle-timeout", text, "1s to 1h") }
        return UInt64(seconds)
    }

    private static let pullCommand = Command<Draft>(
        name: "image pull", synopsis: "codex32 image pull [OPTIONS] HOST[:PORT]/NAME[:TAG|@DIGEST]...",
        summary: "bring images from registries",
        details: """
            The name says from which registry: none is ever guessed. Every byte is verified; a pull that was broken off
            goes on where it was. Logins come from Docker's config.json and its credential helpers (codex32 login), identity
            tokens too. HTTPS_PROXY, HTTP_PROXY and NO_PROXY say which way it goes. In certs.d/HOST:PORT of
            ~/.config/containers, ~/.config/docker, /etc/docker and /etc/containers, *.crt are whom to trust, and NAME.cert
            with NAME.key is your own certificate, for a registry that wants one.
            Mirrors are asked before the registry, which is asked for what none of them gives. ~/.config/codex32/registries.json,
            else /etc/codex32/registries.json, names them: {"mirrors": {"docker.io": ["mirror.example:5000", "cache.example/hub"]}}.
            The image keeps its own name. No mirror gets the registry's login. What a tag means, a mirror may say; by a digest,
            every byte is what was asked for.
            """,
        groups: [
            (
                "Options",
                [
                    .option("--platform", value: "OS/ARCH", help: "which of several (default: this machine's)") {
                        draft, text throws(Problem) in draft.platform = try Platform(asked: text)
                    },
                    .option(
                        "--mirror", value: "HOST[:PORT][/PATH]",
                        help: "ask this one first; may be given more than once; none: no mirror at all"
                    ) {
                        draft, text throws(Problem) in
                        draft.mirrors = try (draft.mirrors ?? []) + (text == "none" ? [] : [RegistryMirror(text)])
                    },
                    .option("--max-size", value: "SIZE", help: "of one layer, packed and unpacked (default 32g)") {
                        draft, text throws(Problem) in draft.limits.bytes = try Value.size(text, option: "--max-size")
                    },
                    .option("--max-files", value: "NUMBER", help: "in one layer (default 1000000)") {
                        draft, text throws(Problem) in
                        draft.limits.files = try Value.whole(text, option: "--max-files", 1...1_000_000_000)
                    },
                ] + connection
            ), CommonOptions.group(),
        ])

    static func pull(_ words: [String]) throws(Problem) -> Int32 {
        guard let (draft, names) = try pullCommand.read(words, Draft(), count: 1...Int.max, what: "image") else {
            return 0
        }
        let store = try ImageVerb.store(draft)
        return forEach(names) { text throws(Problem) in
            let loaded = try pull(
                try RegistryReference(text, to: "pull"), into: store, draft.platform, draft.limits, draft.settings,
                mirrors: draft.mirrors, quiet: draft.quiet)
            if loaded.names.isEmpty, !draft.quiet {
                StandardStream.error.print(
                    "codex32: note: the image has no name: codex32 image tag \(loaded.digest.short) NAME\n")
            }
            let text = loaded.names.first?.description ?? "\(loaded.digest)"
            StandardStream.output.print(text + "\n")
        }
    }

    /// With progress on a terminal.
    static func pull(
        _ reference: RegistryReference, into store: ImageStore, _ platform: Platform,
        _ limits: ImageStore.Limits = .init(), _ settings: RegistrySettings = .init(),
        mirrors: [RegistryMirror]? = nil, quiet: Bool
    ) throws(Problem) -> ImageLoad.Loaded {
        let shows = !quiet && StandardStream.error.isTerminal
        var bar: ProgressBar?
        defer { bar?.finish() }
        let pull = ImagePull(
            store, reference, platform: platform, limits,
            progress: { line in
                bar?.finish()
                if shows { StandardStream.error.print("codex32: \(line.quotedForTerminal)\n") }
            },
            brought: { done, total in
                if bar == nil { bar = ProgressBar("bringing \(reference)", total: total, quiet: quiet) }
                bar?.update(done)
            }, notice: { if !quiet { StandardStream.error.print("codex32: note: \($0.quotedForTerminal)\n") } })
        // One that is itself the registry would be asked twice.
        let asked = if let mirrors { mirrors } else { try RegistryMirrors.of(reference.registry) }
        return try pull.run(settings, mirrors: asked.filter { "\($0)" != reference.registry })
    }

    // MARK: push

    private static let pushCommand = Command<Draft>(
        name: "image push", synopsis: "codex32 image push [OPTIONS] IMAGE [HOST[:PORT]/NAME[:TAG]]",
        summary: "take an image to a registry",
        details: "Under its own name, which says to which registry, or under the second one.",
        groups: [("Options", connection), CommonOptions.group()])

    static func push(_ words: [String]) throws(Problem) -> Int32 {
        guard let (draft, names) = try pushCommand.read(words, Draft(), count: 1...2, what: "image") else { return 0 }
        let store = try ImageVerb.store(draft)
        let shows = !draft.quiet && StandardStream.error.isTerminal
        let target = try RegistryReference(names.count == 2 ? names[1] : names[0], to: "push")
        let digest = try store.require(names[0])
        try ImagePush(store, digest, to: target).run(draft.settings) {
            if shows { StandardStream.error.print("codex32: \($0)\n") }
        }
        StandardStream.output.print("\(target)@\(digest)\n")
        return 0
    }
}
