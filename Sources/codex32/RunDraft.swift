internal import Engine
internal import Images
internal import LinuxKernel
internal import Sandbox

/// What the words behind `run` have said so far.
struct RunDraft: Sendable {
    var request = SandboxRequest()
    var levelWasChosen = false
    var image: String?
    /// What it means; see ``meetImage()``.
    var reference: ImageReference?
    var imageConfig: ImageConfig?
    var platform: Platform?
    var pull = PullPolicy.missing
    /// Nil: as `use`, but at strict no network is taken for it unasked.
    var requirements: RequirementsOption?
    var entrypoint: [String]?
    var name: String?
    var storage: String?
    var hostname: String?
    var workingFolder: String?
    var readOnly: Bool?
    var wallTime: Int64?
    var cpuTime: Int64?
    var outputLimit: UInt64?
    var stopSignal: Int32?
    var stopTimeout: Int64 = 10_000_000_000
    var interactive = false
    var resultFile: String?
    var receiptFile: String?
    var quiet = false
    var dryRun = false
    var format = "text"
    var formatWasChosen = false
    var help = false
    var user: String?
    var environment: [(name: String, value: String)] = []
    var ownVolumes: [String] = []
    var workspace: (path: String, target: String)?
    var memorySwap: String?
    var life = LifecycleDraft()
    /// A file that `learn` wrote.
    var profile: String?
    var learn = LearnDraft()

    mutating func setEnvironment(_ name: String, _ value: String) {
        environment.removeAll { $0.name == name }
        environment.append((name, value))
    }

    /// The configuration that was meant.
    func configuration(arguments: [String]) throws(Problem) -> RunConfiguration {
        guard let image else {
            throw Problem(
                "no image", "run needs one", hint: "codex32 run ./bot.py, or codex32 run template:host -- COMMAND")
        }
        if formatWasChosen && !dryRun {
            throw Problem("cannot use --format", "it is the form of --dry-run's plan", hint: "add --dry-run")
        }
        let meant: ImageReference
        if let reference { meant = reference } else { meant = try ImageReference(image) }
        var configuration = RunConfiguration(image: meant, storage: try Storage.current(option: storage))
        var request = request
        var learned: ProfileOption?
        if let profile { learned = try ProfileOption(profile) }
        if !levelWasChosen { request.level = try RunDraft.levelFromEnvironment() ?? .standard }
        if learned != nil { try chooseLevel(&request, &learned) }
        request.hostname = hostname ?? name ?? "codex32"
        if request.hostname.utf8.count > 64 { request.hostname = "codex32" }
        if request.hostname.utf8.contains(UInt8(ascii: "_")) {
            request.hostname = String(request.hostname.map { $0 == "_" ? "-" : $0 })
        }
        try applySwap(&request)
        if let user { request.user = try parse(user, of: configuration) }
        request.environment = environmentWords(request)
        if let cpuTime { request.cpuSeconds = UInt64((cpuTime + 999_999_999) / 1_000_000_000) }
        configuration.request = request
        configuration.arguments = arguments
        configuration.entrypoint = entrypoint
        configuration.name = name
        configuration.ownVolumes = ownVolumes
        configuration.workspace = workspace
        configuration.workingFolder = workingFolder ?? workspace?.target
        configuration.readOnly = readOnly
        configuration.wallTime = wallTime
        configuration.cpuTime = cpuTime
        configuration.outputLimit = outputLimit
        configuration.stopSignal = stopSignal ?? Signal.terminate
        configuration.stopTimeout = stopTimeout
        configuration.interactive = interactive
        configuration.resultFile = resultFile
        configuration.receiptFile = receiptFile
        configuration.quiet = quiet
        try checkTargets(request)
        if learned != nil { try use(&learned, in: &configuration) }
        return configuration
    }

    private func chooseLevel(_ request: inout SandboxRequest, _ learned: inout ProfileOption?) throws(Problem) {
        let fromEnvironment = try RunDraft.levelFromEnvironment()
        let isChosen = levelWasChosen || fromEnvironment != nil
        request.level = try learned?.level(isChosen ? request.level : nil) ?? request.level
    }

    private func use(_ learned: inout ProfileOption?, in configuration: inout RunConfiguration) throws(Problem) {
        try learned?.apply(to: &configuration)
        if quiet { return }
        for words in learned?.words ?? [] {
            StandardStream.error.print("codex32: warning: \(words.quotedForTerminal)\n")
        }
    }

    private func parse(_ user: String, of configuration: RunConfiguration) throws(Problem) -> UserIdentity {
        guard case .stored(let stored) = configuration.image else {
            return try UserValue.parse(user, image: configuration.image.text, store: configuration.storage.data)
        }
        let roots = try ImageStore(data: configuration.storage.data).layerFolders(stored.digest)
        return try UserValue.parse(user, roots: roots, hint: UserValue.hint)
    }

    private static func levelFromEnvironment() throws(Problem) -> IsolationLevel? {
        for variable in ["CODEX32_ISOLATION_LEVEL", "CONTAINER_ISOLATION_LEVEL"] {
            guard let text = Machine.environment(variable) else { continue }
            return try level(text, option: variable)
        }
        return nil
    }

    static func level(_ text: String, option: String) throws(Problem) -> IsolationLevel {
        guard let level = IsolationLevel(rawValue: text) else {
            throw Problem(
                "cannot use \(option) \(text)", "there is no such level", hint: "the levels are \(IsolationLevel.names)"
            )
        }
        return level
    }

    /// Docker's `--memory-swap` is memory and swap together; -1 is without limit.
    func applySwap(_ request: inout SandboxRequest) throws(Problem) {
        guard let memorySwap else { return }
        if memorySwap == "-1" || memorySwap == "none" {
            request.limits.swapMax = CgroupLimits.none
            return
        }
        let both = try Value.memory(memorySwap, option: "--memory-swap")
        let memory = request.limits.memoryMax ?? 512 << 20
        guard memory != CgroupLimits.none else {
            throw Problem(
                "cannot use --memory-swap \(memorySwap)", "it counts memory and swap together, and memory has no limit",
                hint: "--memory-swap none")
        }
        guard both >= memory else {
            throw Problem(
                "cannot use --memory-swap \(memorySwap)",
                "it counts memory and swap together, and is less than the memory limit", hint: "give the sum of both")
        }
        request.limits.swapMax = both - memory
    }

    /// Nothing is inherited but PATH (minimal), TERM and LANG.
    private func environmentWords(_ request: SandboxRequest) -> [String] {
        let standardPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        var list = [
            "PATH=" + (request.level == .minimal ? Machine.environment("PATH") ?? standardPath : standardPath)
        ]
        if let terminal = Machine.environment("TERM") { list.append("TERM=" + terminal) }
        if let language = Machine.environment("LANG") { list.append("LANG=" + language) }
        if request.level == .minimal {
            list.append("HOME=" + (Machine.environment("HOME") ?? "/"))
        } else {
            list.append(request.user.uid == 0 ? "HOME=/root" : "HOME=/home")
            list.append("HOSTNAME=" + request.hostname)
        }
        for (name, value) in environment {
            let beginning = name + "="
            // By bytes: a sign that combines with the "=" would hide it from a comparison by Characters.
            list.removeAll { $0.utf8.starts(with: beginning.utf8) }
            list.append(beginning + value)
        }
        return list
    }

    private func checkTargets(_ request: SandboxRequest) throws(Problem) {
        var seen: Set<String> = []
        for target in request.volumes.map(\.target) + request.temporary.map(\.target) + ownVolumes
        where !seen.insert(target).inserted {
            throw Problem("cannot mount at \(target)", "two mounts have this target", hint: "give each its own")
        }
    }
}

/// `-u`: uid, uid:gid, name, name:group, by the image's own files (CVE-2026-30892).
enum UserValue {
    /// `store` is where built templates are: their names are known once they are built.
    static func parse(_ text: String, image: String, store: String) throws(Problem) -> UserIdentity {
        let isTemplate = image.hasPrefix("template:")
        let image = isTemplate ? "\(store)/templates/\(image.dropFirst(9))" : image
        return try parse(
            text, roots: [image], hint: hint + (isTemplate ? ", or let the template be built first" : ""))
    }

    static let hint = "use the number: -u 1000:1000"

    /// - Parameter roots: the folders of the root, top first.
    static func parse(_ text: String, roots image: [String], hint: String) throws(Problem) -> UserIdentity {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count <= 2, parts.allSatisfy({ !$0.isEmpty }) else {
            throw Value.wrong("-u", text, "UID[:GID] or NAME[:GROUP]")
        }
        var user = UserIdentity()
        user.chosen = true
        if parts[0].allSatisfy({ $0.isASCII && $0.isNumber }) {
            user.uid = try Value.identity(parts[0], option: "-u")
            let entry = lookup(image, "etc/passwd") { $0.count > 3 && $0[2] == String(user.uid) }
            user.gid = entry.flatMap { UInt32($0[3]) } ?? 0
        } else {
            guard let entry = lookup(image, "etc/passwd", where: { $0.count > 3 && $0[0] == parts[0] }),
                let uid = UInt32(entry[2]), let gid = UInt32(entry[3])
            else {
                throw Problem(
                    "cannot use -u \(text)", "the image knows no user \(parts[0])", hint: hint)
            }
            user.uid = uid
            user.gid = gid
        }
        guard parts.count == 2 else { return user }
        if parts[1].allSatisfy({ $0.isASCII && $0.isNumber }) {
            user.gid = try Value.identity(parts[1], option: "-u")
        } else {
            guard let entry = lookup(image, "etc/group", where: { $0.count > 2 && $0[0] == parts[1] }),
                let gid = UInt32(entry[2])
            else {
                throw Problem(
                    "cannot use -u \(text)", "the image knows no group \(parts[1])", hint: hint)
            }
            user.gid = gid
        }
        return user
    }

    /// Where a user is at home; nil: the image does not know.
    static func home(_ uid: UInt32, _ roots: [String]) -> String? {
        guard let entry = lookup(roots, "etc/passwd", where: { $0.count > 5 && $0[2] == String(uid) }) else {
            return nil
        }
        return entry[5].hasPrefix("/") && !entry[5].utf8.contains(0) ? entry[5] : nil
    }

    /// A line of the image's own file, walked inside the image; a script's sandbox knows root and nobody.
    private static func lookup(_ roots: [String], _ file: String, where matches: ([String]) -> Bool) -> [String]? {
        let own =
            file == "etc/passwd"
            ? "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
            : "root:x:0:\nnogroup:x:65534:\n"
        var text = own
        for path in roots {
            guard let root = try? Descriptor.open(path, [.pathOnly, .folder]) else { continue }
            // What a layer does not have may be in one below; what it hides is there as a device.
            if roots.count > 1, (try? root.open(inRoot: file, [.pathOnly])) == nil { continue }
            guard let opened = try? root.open(inRoot: file, [.read]), let status = try? opened.status(),
                status.kind == .file,
                let bytes = try? opened.readAll(limit: 1 << 20)
            else { return nil }
            text = String(decoding: bytes, as: UTF8.self)
            break
        }
        for line in text.split(separator: "\n") {
            let fields = line.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
            if matches(fields) { return fields }
        }
        return nil
    }
}
