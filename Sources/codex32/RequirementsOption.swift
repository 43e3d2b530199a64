internal import Engine
internal import Images
internal import LinuxKernel
internal import Sandbox

/// `--requirements`: what a start does with a `requirements.txt` beside a Python script.
enum RequirementsOption: String, CaseIterable, Sendable {
    /// Starts over template:python with these packages, which are installed the first time.
    case use
    /// Installs them again: versions that the file leaves open may be newer ones since.
    case refresh
    /// Starts over the machine's own Python.
    case ignore
}

extension RunDraft {
    private static let template = "python"

    /// The image with the packages that stand beside a script, made where it is not ready; nil: nothing does.
    func scriptImage(_ path: String) throws(Problem) -> StoredImage? {
        guard requirements != .ignore, let file = try RequirementsFile.beside(path), try ScriptImage.isPython(path),
            file.count > 0
        else { return nil }
        let settings = try PipSettings.current()
        let storage = try Storage.current(option: storage)
        let store = ImageStore(data: storage.data)
        let refuse = { () throws(Problem) in try refuseMaking(path, file, settings) }
        let base = try base(store, refuse)
        let key = try RequirementsKey.make(
            file, settings, base: try content(store, base), version: VersionCommand.version)
        let name = "requirements-\(key)"
        if requirements != .refresh, let ready = store.ready(name) {
            store.touch(ready)
            return StoredImage(name: path, digest: ready.digest, isScript: true)
        }
        try refuse()
        Child.endEarly()
        let before = store.ready(name)?.digest
        let claim = try store.claim(name) {
            tell("waiting for another codex32 that installs the packages of \(file.path)")
        }
        defer { withExtendedLifetime(claim) {} }
        // Who waited takes what the other one made, also where it was to be made anew.
        if let ready = store.ready(name), requirements != .refresh || ready.digest != before {
            return StoredImage(name: path, digest: ready.digest, isScript: true)
        }
        var build = Build(
            base: .stored(StoredImage(name: "template:\(RunDraft.template)", digest: base)),
            steps: [.requirements(file, settings)] + labels(file, settings), names: [], storage: storage)
        build.ready = (name, "")
        let digest = try carryOut(&build)
        return StoredImage(name: path, digest: digest, isScript: true)
    }

    /// What `image inspect`, and `inspect` of a container, tell of it.
    private func labels(_ file: RequirementsFile, _ settings: PipSettings) -> [BuildStep] {
        let network = Requirements.needsNetwork(file, settings) ? "host" : "none"
        return [("packages", "\(file.count)"), ("index", settings.index), ("network", network)].map {
            .set(.label(name: "codex32.requirements.\($0.0)", value: $0.1))
        }
    }

    /// By what is in it: built anew with the same files it is the same.
    private func content(_ store: ImageStore, _ base: Digest) throws(Problem) -> Digest {
        guard let last = try store.image(base).chain.last else {
            throw Problem("cannot use the image \(base.short)", "it has no layer", hint: "codex32 image remove it")
        }
        return last
    }

    /// template:python as an image of the store. Where its folder is gone, the image still is what it was made of.
    private func base(_ store: ImageStore, _ refuse: () throws(Problem) -> Void) throws(Problem) -> Digest {
        let name = "template-\(RunDraft.template)"
        let isCurrent = { (ready: ImageStore.Ready) in
            let source = store.source(ofTemplate: RunDraft.template)
            return source == nil || source == ready.source
        }
        if let ready = store.ready(name), isCurrent(ready) {
            store.touch(ready)
            return ready.digest
        }
        try refuse()
        Child.endEarly()
        let claim = try store.claim(name) {
            tell("waiting for another codex32 that makes an image of template:\(RunDraft.template)")
        }
        defer { withExtendedLifetime(claim) {} }
        if let ready = store.ready(name), isCurrent(ready) { return ready.digest }
        let storage = try Storage.current(option: storage)
        // Built first: which folder it is has to be known before it is packed.
        do throws(Problem) {
            _ = try ImageReference.template(RunDraft.template).resolve(store: storage.data) { tell($0) }
        } catch {
            let way = "--requirements ignore runs the script over this machine's own Python"
            throw Problem(error.what, error.why, hint: (error.hint.map { "\($0); " } ?? "") + way)
        }
        var build = Build(base: .template(RunDraft.template), steps: [], names: [], storage: storage)
        build.ready = (name, store.source(ofTemplate: RunDraft.template) ?? "")
        return try carryOut(&build)
    }

    /// Where packages are not ready, and are not to be made either.
    ///
    /// Strict is for code that nobody trusts, and what lies beside a script is such: with the machine's network it could
    /// reach what only this machine can.
    private func refuseMaking(
        _ path: String, _ file: RequirementsFile, _ settings: PipSettings
    ) throws(Problem) {
        if dryRun {
            throw Problem(
                "cannot show the plan", "the packages of \(file.path) are not installed, and --dry-run starts nothing",
                hint: "codex32 create installs them; --requirements ignore shows the plan without them")
        }
        guard requirements == nil, Requirements.needsNetwork(file, settings), try level() == .strict else { return }
        throw Problem(
            "cannot use the image \(path)",
            "the packages of \(file.path) come over the network, and strict takes none unasked",
            hint:
                "--requirements use gives it to pip, for this one step; --requirements ignore runs the script without them"
        )
    }

    private func level() throws(Problem) -> IsolationLevel { try configuration(arguments: []).request.level }

    private func carryOut(_ build: inout Build) throws(Problem) -> Digest {
        build.quiet = quiet
        var sandbox = RunDraft()
        (sandbox.storage, sandbox.quiet, sandbox.image) = (storage, quiet, "template:host")
        // At the level of the script itself, but never without walls; what was waived for that one is for this one too.
        sandbox.request.level = try level() == .strict ? .strict : .standard
        sandbox.levelWasChosen = true
        sandbox.request.waived = request.waived
        sandbox.request.userNamespace = request.userNamespace
        build.request = try sandbox.configuration(arguments: []).request
        if build.runsCommands {
            build.request.network = .host
            if !quiet { tellNetwork(build, sandbox.request.level) }
        }
        return try build.run { image, step throws(Problem) in
            try ImageBuildVerb.sandbox(sandbox, image, step, quiet: quiet)
        } report: { line in
            StandardStream.error.print(line.hasPrefix("hint:") ? "\(line)\n" : "codex32: \(line)\n")
        }
    }

    private func tellNetwork(_ build: Build, _ level: IsolationLevel) {
        for case .requirements(let file, let settings) in build.steps {
            let way = Requirements.needsNetwork(file, settings) ? "with this machine's network" : "without a network"
            tell(
                "installing the packages of \(file.path) from \(settings.index): pip runs in a sandbox at \(level), \(way)"
            )
        }
    }

    private func tell(_ text: String) {
        if !quiet { StandardStream.error.print("codex32: \(text.quotedForTerminal)\n") }
    }
}
