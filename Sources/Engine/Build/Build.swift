public import Images
public import LinuxKernel
internal import OCISpec
public import Sandbox

/// One step of a build, in the order in which a person gave them.
public enum BuildStep: Sendable {
    case copy(source: String, destination: String)
    /// A shell's command.
    case run(String)
    /// The Python packages of a `requirements.txt`, by pip.
    case requirements(RequirementsFile, PipSettings)
    case set(ImageSetting)

    /// As a line of a Dockerfile, for people and for the image's history.
    var line: String {
        switch self {
        case .copy(let source, let destination): "COPY \(source) \(destination)"
        case .run(let script): "RUN \(script)"
        case .requirements(let file, let settings):
            "RUN pip install -r \(file.path) (\(file.count == 1 ? "1 package" : "\(file.count) packages"), from \(settings.index))"
        case .set: ""
        }
    }

    /// For a message: a command may be a whole script.
    var shortLine: String { line.utf8.count <= 200 ? line : line.prefix(200) + "..." }
}

/// `codex32 image build`: an image of another one, files, and commands that ran in a sandbox.
public struct Build {
    public let base: ImageReference
    public let steps: [BuildStep]
    public let names: [ImageName]
    public let storage: Storage
    public var limits = ImageStore.Limits()
    /// Tells nothing but errors.
    public var quiet = false
    /// What the commands' sandbox is, but for the image's part.
    public var request = SandboxRequest()
    /// Under which the image is kept for starts, and what it was made of (``ImageStore/Ready``).
    public var ready: (name: String, source: String)?

    public init(base: ImageReference, steps: [BuildStep], names: [ImageName], storage: Storage) {
        (self.base, self.steps, self.names, self.storage) = (base, steps, names, storage)
    }

    public var runsCommands: Bool {
        steps.contains { step in
            switch step {
            case .run, .requirements: true
            case .copy, .set: false
            }
        }
    }

    /// Makes the image.
    ///
    /// - Parameters:
    ///   - sandbox: how a command is run in an image, which has the settings so far.
    ///   - report: told of each step.
    /// - Throws: what went wrong; nothing is left then.
    public func run(
        sandbox: (StoredImage, BuildStep) throws(Problem) -> RunConfiguration, report: @escaping (String) -> Void
    ) throws(Problem) -> Digest {
        let sources = try openSources()
        try protectProgram()
        let tell = quiet ? { (_: String) in } : report
        let build = try begin(tell)
        do throws(Problem) {
            let count = steps.count { !$0.line.isEmpty }
            var number = 0
            for (step, source) in zip(steps, sources) {
                if !step.line.isEmpty {
                    number += 1
                    tell("step \(number)/\(count): \(step.shortLine)".quotedForTerminal)
                }
                let time = Timestamp.exact(Clock.realtime)
                switch step {
                case .set(let setting): build.apply(setting, at: time)
                case .copy(_, let destination):
                    guard let source else { continue }
                    try build.copy(
                        source.place.value, name: source.name, to: destination, by: step.line, at: time)
                case .run, .requirements:
                    let digest = try build.image()
                    let image = StoredImage(name: "step@\(digest)", digest: digest)
                    try execute(try sandbox(image, step), step, number, build, report)
                }
            }
            let digest = try build.finish(names, ready: ready)
            clear(build, report)
            return digest
        } catch {
            clear(build, report)
            throw error
        }
    }

    /// The failure itself is the one to be told: what stays now is no harm.
    private func clear(_ build: ImageBuild, _ report: (String) -> Void) {
        do throws(Problem) {
            try build.clear { () throws(Problem) in try Containers(storage).imagesInUse() }
        } catch {
            report("warning: what was made on the way stays: \(error.what): \(error.why)".quotedForTerminal)
            report("hint: codex32 image prune takes it away")
        }
    }

    /// Before anything is made: one that is not there is told at once, and what was named is what is copied.
    private func openSources() throws(Problem) -> [SourcePlace?] {
        var places: [SourcePlace?] = []
        for step in steps {
            guard case .copy(let source, _) = step else {
                places.append(nil)
                continue
            }
            places.append(try SourcePlace(source, followLinks: true, in: WalkedTree()))
        }
        return places
    }

    /// It may begin codex32 anew, so that it comes before everything else.
    private func protectProgram() throws(Problem) {
        guard runsCommands else { return }
        var request = request
        request.root = .assembled([])
        try Run.protectProgram(request, try Run.offer(for: request))
    }

    // MARK: The base

    private func begin(_ tell: @escaping (String) -> Void) throws(Problem) -> ImageBuild {
        let store = ImageStore(data: storage.data)
        let note = { (text: String) in tell("note: \(text)".quotedForTerminal) }
        if case .stored(let image) = base {
            if let steps = try store.image(image.digest).config.document["config"]?["OnBuild"], steps != .null {
                note("the ONBUILD lines of \(base.text) are not carried out")
            }
            return try ImageBuild(store, from: image.digest, limits, progress: { _ in }, notice: note)
        }
        let what = "cannot build from \(base.text)"
        let image = try base.resolve(store: storage.data) { tell($0.quotedForTerminal) }
        guard image.entrypoint.isEmpty, case .folder(let path, let status) = image.root else {
            throw Problem(
                what, "it has no root file system of its own",
                hint: "--from template:busybox, template:debian, template:python, a folder or a loaded image")
        }
        let root = try explaining(what) { () throws(KernelError) in
            let root = try Descriptor.open(path, [.pathOnly, .folder])
            let now = try root.status()
            guard now.device == status.device, now.inode == status.inode else {
                throw KernelError("open", path, number: Errno.missing)
            }
            return root
        }
        let build = try ImageBuild(
            store, from: nil, command: image.command, limits, progress: { _ in }, notice: note)
        tell("packing \(base.text)".quotedForTerminal)
        do throws(Problem) {
            // An ordinary user's root may have files of the ids that are theirs in a container.
            let own = Machine.isRoot ? nil : IdentityMap.subordinate() ?? Build.single
            try pack(root, own, .layer(.tree, leavesOut: []), into: build, by: "FROM \(base.text)", note)
        } catch {
            clear(build, tell)
            throw error
        }
        return build
    }

    /// An ordinary user alone, as root.
    static var single: IdentityMap {
        IdentityMap(
            uids: [IdentityRange(inside: 0, outside: Machine.uid, count: 1)],
            gids: [IdentityRange(inside: 0, outside: Machine.gid, count: 1)], byHelper: false, deniesGroups: true)
    }

    // MARK: Commands

    private func execute(
        _ configuration: RunConfiguration, _ step: BuildStep, _ number: Int, _ build: ImageBuild,
        _ report: @escaping (String) -> Void
    ) throws(Problem) {
        let what = "cannot build the image"
        let note = { (text: String) in if !quiet { report("note: \(text)".quotedForTerminal) } }
        let status: Int32
        // One that the command did not take is for codex32.
        defer { try? Supervision.releaseSignals() }
        do throws(Problem) {
            status = try Run.run(
                configuration,
                taking: { layer, plan, request throws(Problem) in
                    try Supervision.releaseSignals()
                    // What codex32 mounted in there is no work of the command's.
                    let leavesOut = Planner.mountPoints(of: request) + ["/sys"]
                    try take(layer, plan.identity, request.root, leavesOut, into: build, by: step.line, note)
                }, report: report)
        } catch {
            // As a command of its own it would have a status of its own: here it is the build that failed.
            throw Problem(error.what, error.why, hint: error.hint)
        }
        guard status == 0 else {
            if case .requirements(let file, let settings) = step { throw file.failed(status, settings) }
            throw Problem(
                what, "step \(number), \(step.shortLine), ended with status \(status)",
                hint: status == 127
                    ? "127: a program was not found; --from chooses a base that has it" : Build.hint(configuration))
        }
    }

    private static func hint(_ configuration: RunConfiguration) -> String {
        configuration.request.network == .host
            ? "its own words stand above"
            : "its own words stand above; a command that needs the network: --network host"
    }

    /// Makes a layer of what a command changed.
    ///
    /// - Parameters:
    ///   - layer: the folder with an overlay's `upper` in it, or a copy of the image.
    ///   - image: what was below, or was copied.
    private func take(
        _ layer: HostPath, _ identity: IdentityMap?, _ image: RootSource, _ leavesOut: [String],
        into build: ImageBuild, by line: String, _ note: (String) -> Void
    ) throws(Problem) {
        let what = "cannot build the image"
        let folder = try explaining(what) { () throws(KernelError) in
            try Descriptor.open(layer.path, [.read, .folder, .noFollow])
        }
        guard let since = try explaining(what, { () throws(KernelError) in try LayerCopy.made(folder) }) else {
            let upper = try explaining(what) { () throws(KernelError) in
                try folder.open("upper", [.pathOnly, .folder, .noFollow])
            }
            return try pack(upper, identity, .layer(.overlay, leavesOut: leavesOut), into: build, by: line, note)
        }
        let (copy, original) = try explaining(what) { () throws(KernelError) in
            (Owned(try folder.open(LayerCopy.tree, [.read, .folder, .noFollow])), try LayeredFolder(image.folders))
        }
        let changes: [FileChange]
        if !Machine.isRoot, let identity {
            let mapping = try MappingNamespace(identity)
            changes = try LayerComparison.changes(
                copy, original, since: since, inside: (copy.value.number, mapping.namespace.number))
        } else {
            changes = try LayerComparison.changes(copy, original, since: since, inside: nil)
        }
        // In a file: a pipe's writer ends with its reader.
        let list = try explaining(what) { () throws(KernelError) in
            let list = try folder.open("changes", [.readWrite, .create, .exclusive, .noFollow])
            try list.write(bytes: changes.flatMap(\.bytes))
            try list.seek(to: 0)
            return list
        }
        try pack(
            copy.value, identity, .layer(.listed, leavesOut: leavesOut), input: list.number, into: build, by: line,
            note)
    }

    /// Has a process with the ids that the files belong to write them as a layer.
    private func pack(
        _ root: borrowing Descriptor, _ identity: IdentityMap?, _ work: InsideProcess.Work, input: Int32? = nil,
        into build: ImageBuild, by line: String, _ note: (String) -> Void
    ) throws(Problem) {
        guard let identity else {
            return try pack(root, namespace: nil, work, input, into: build, by: line, note)
        }
        let mapping = try MappingNamespace(identity)
        try pack(root, namespace: mapping.namespace.number, work, input, into: build, by: line, note)
    }

    private func pack(
        _ root: borrowing Descriptor, namespace: Int32?, _ work: InsideProcess.Work, _ input: Int32?,
        into build: ImageBuild, by line: String, _ note: (String) -> Void
    ) throws(Problem) {
        let pipe = try explaining("cannot make a pipe") { () throws(KernelError) in try Descriptor.pipe() }
        let source = ByteStream(Descriptor(owning: pipe.read))
        let helper: InsideProcess.Running
        do {
            let writing = Descriptor(owning: pipe.write)
            let null = try explaining("cannot open /dev/null") { () throws(KernelError) in
                try Descriptor.open("/dev/null", [.read])
            }
            helper = try InsideProcess.start(
                work, root: root.number, namespace: namespace, input: input ?? null.number, output: writing.number)
        }
        try build.add(source, by: line, at: Timestamp.exact(Clock.realtime)) { () throws(Problem) in
            try helper.finish(note: note)
        }
    }
}
