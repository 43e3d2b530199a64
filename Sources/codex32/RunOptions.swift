internal import Engine
internal import Images
internal import LinuxKernel
internal import Sandbox

/// `codex32 run`.
enum RunOptions {
    static let command = Command<RunDraft>(
        name: "run",
        synopsis: "codex32 run [OPTIONS] IMAGE [COMMAND...]\n       codex32 run [OPTIONS] --image IMAGE -- COMMAND...",
        summary: "run a program in a sandbox and wait for its end",
        details: """
            IMAGE is a script or program (./bot.py), a folder with a root file system, template:NAME, or the NAME[:TAG]
            of a loaded image (codex32 image load).
            The exit status is the program's own; 128+n: ended by signal n; 124: the wall-time limit;
            125: codex32 could not do it; 126: not executable; 127: not found.
            """
    ) { number in
        switch number - sandboxGroupCount {
        case ..<0: sandboxGroup(number)
        case 0: ("Results", resultFiles)
        case 1: ("In the background", background)
        case 2: planGroup
        default: nil
        }
    }

    static let sandboxGroupCount = 5

    /// What a sandbox is made of, for `run` and `create` alike.
    static func sandboxGroup(_ number: Int) -> (title: String, options: [Option<RunDraft>])? {
        switch number {
        case 0: ("What runs", what)
        case 1: ("Isolation", isolation)
        case 2: ("Limits", limits)
        case 3: ("Files", files)
        case 4: ("Streams and ends", streams)
        default: nil
        }
    }

    static var planGroup: (title: String, options: [Option<RunDraft>]) { ("Plan and help", plan) }

    /// With -d, `run` is `create` and `start` in one.
    private static let background: [Option<RunDraft>] =
        [
            .flag("-d", "--detach", help: "start it, print its id, and leave it running") { $0.life.detach = true }
        ] + LifecycleOptions.all

    private static let what: [Option<RunDraft>] = [
        .option("--image", value: "IMAGE", help: "a script, a program, a folder, template:NAME, or a loaded image") {
            $0.image = $1
        },
        .option("--entrypoint", value: "PROGRAM", help: "instead of the image's own; '' for none") {
            $0.entrypoint = $1.isEmpty ? [] : [$1]
        },
        .option("--platform", value: "OS/ARCH", help: "the image must be for this one (default: this machine's)") {
            draft, text throws(Problem) in draft.platform = try Platform(asked: text)
        },
        .option(
            "--pull", value: "WHEN", help: "bring a registry's image: always, missing (default) or never",
            choices: PullPolicy.allCases.map(\.rawValue)
        ) {
            draft, text throws(Problem) in
            guard let policy = PullPolicy(rawValue: text) else {
                throw Value.wrong("--pull", text, "always, missing or never")
            }
            draft.pull = policy
        },
        .option(
            "--requirements", value: "HOW",
            help:
                "a requirements.txt beside a Python script: use (default; strict wants it said where pip needs a network), refresh, ignore",
            choices: RequirementsOption.allCases.map(\.rawValue)
        ) {
            draft, text throws(Problem) in
            guard let how = RequirementsOption(rawValue: text) else {
                throw Value.wrong("--requirements", text, "use, refresh or ignore")
            }
            draft.requirements = how
        },
        .option("--name", value: "NAME", help: "a name for it, unique while it runs") { draft, text throws(Problem) in
            draft.name = try Value.name(text, option: "--name")
        },
        .option("-e", "--env", value: "NAME[=VALUE]", help: "set a variable, or pass the caller's on") {
            draft, text throws(Problem) in
            try EnvironmentValue.set(text, in: &draft)
        },
        .option("--env-file", value: "FILE", help: "set variables from lines NAME=VALUE") {
            draft, path throws(Problem) in
            try EnvironmentValue.read(path, into: &draft)
        },
        .option("-w", "--workdir", value: "FOLDER", help: "the working folder inside") { draft, text throws(Problem) in
            draft.workingFolder = try Value.inside(text, option: "-w")
        },
        .option("-u", "--user", value: "USER[:GROUP]", help: "run as this user: numbers, or names the image knows") {
            $0.user = $1
        },
        .option("--hostname", value: "NAME", help: "the host name inside (default: the name)") {
            draft, text throws(Problem) in
            draft.hostname = try Value.hostname(text)
        },
        .flag("--init", help: "a small pid 1 that passes signals on and reaps what the program leaves") {
            $0.request.reaper = true
        },
        .flag("--rm", help: "remove it at its end (in the foreground run always does)") {
            $0.life.removesItself = true
        },
    ]

    private static let isolation: [Option<RunDraft>] = [
        .option(
            "--isolation", value: "LEVEL", help: "minimal, standard (default) or strict",
            choices: IsolationLevel.allCases.map(\.rawValue)
        ) {
            draft, text throws(Problem) in
            draft.request.level = try RunDraft.level(text, option: "--isolation")
            draft.levelWasChosen = true
        },
        .option(
            "--network", value: "MODE", help: "none (default; at minimal: host) or host",
            choices: NetworkMode.allCases.map(\.rawValue)
        ) {
            draft, text throws(Problem) in
            guard let mode = NetworkMode(rawValue: text) else { throw Value.wrong("--network", text, "none or host") }
            draft.request.network = mode
        },
        .flag("--read-only", help: "the root cannot be written (always so at strict)") { $0.readOnly = true },
        .option("--cap-add", value: "CAP", help: "give a capability (ALL: every one)") { draft, text throws(Problem) in
            draft.request.addedCapabilities.formUnion(try capability(text, option: "--cap-add"))
        },
        .option("--cap-drop", value: "CAP", help: "take a capability away (ALL: every one)") {
            draft, text throws(Problem) in
            draft.request.droppedCapabilities.formUnion(try capability(text, option: "--cap-drop"))
        },
        .option(
            "--seccomp", value: "PROFILE.json", help: "a seccomp profile in Docker's format, instead of the level's"
        ) {
            draft, path throws(Problem) in
            let bytes = try explaining(
                "cannot read the seccomp profile \(path)", hint: "name a JSON file in Docker's format"
            ) {
                () throws(KernelError) in try Descriptor.open(path, [.read]).readAll(limit: 4 << 20)
            }
            draft.request.seccompProfile = (path, bytes)
        },
        .option(
            "--profile", value: "FILE", help: "no more than codex32 learn saw it need: calls, volumes, limits, level"
        ) {
            draft, path throws(Problem) in
            guard !path.isEmpty else { throw Value.wrong("--profile", path, "a file that codex32 learn wrote") }
            draft.profile = path
        },
        .option("--device", value: "/dev/NAME", help: "show a device of the machine") { draft, text throws(Problem) in
            draft.request.devices.append(try MountValue.device(text))
        },
        .option(
            "--sysctl", value: "NAME=VALUE",
            help: "set net.*, kernel.shm*, kernel.msg*, kernel.sem or fs.mqueue.* inside"
        ) {
            draft, text throws(Problem) in
            let given = try SysctlValue.parse(text)
            // Of two with a name the later one counts, as with Docker: a record has each name once.
            draft.request.sysctls.removeAll { $0.name == given.name }
            draft.request.sysctls.append(given)
        },
        .option(
            "--userns", value: "MODE", help: "auto, single (one id) or subordinate (65,536 ids)",
            choices: UserNamespaceMode.allCases.map(\.rawValue)
        ) {
            draft, text throws(Problem) in
            guard let mode = UserNamespaceMode(rawValue: text) else {
                throw Value.wrong("--userns", text, "auto, single or subordinate")
            }
            draft.request.userNamespace = mode
        },
        .option(
            "--require", value: "ITEM,...", help: "start only if these are in force",
            choices: Item.allCases.map(\.name)
        ) {
            draft, text throws(Problem) in draft.request.required.formUnion(try items(text, option: "--require"))
        },
        .option(
            "--waive", value: "ITEM,...", help: "let strict start without these",
            choices: Item.waivable.map(\.name).sorted()
        ) {
            draft, text throws(Problem) in draft.request.waived.formUnion(try items(text, option: "--waive"))
        },
        .flag(
            "--explain",
            help: "tell what it was refused, and which option would allow it; in the verdict too (wait -f json)"
        ) { $0.request.explains = true },
    ]

    private static let limits: [Option<RunDraft>] = [
        .option(
            "-m", "--memory-limit", "--memory", value: "SIZE",
            help: "memory (default 512m; a bare number is MiB; none: no limit)"
        ) {
            draft, text throws(Problem) in
            draft.request.limits.memoryMax = try Value.limit(text) { text throws(Problem) in
                try Value.memory(text, option: "-m")
            }
        },
        .option(
            "--memory-swap", value: "SIZE", help: "memory and swap together (default: no swap; none or -1: no limit)"
        ) {
            $0.memorySwap = $1
        },
        .option("--cpu-limit", value: "PERCENT", help: "CPU time, 100 is one CPU (default 100; none: no limit)") {
            draft, text throws(Problem) in
            draft.request.limits.cpuQuota = try cpuQuota(
                text, option: "--cpu-limit", scale: CgroupLimits.cpuPeriod / 100)
        },
        .option("--cpus", value: "NUMBER", help: "CPU time in CPUs: 0.5 is half of one; none: no limit") {
            draft, text throws(Problem) in
            draft.request.limits.cpuQuota = try cpuQuota(text, option: "--cpus", scale: CgroupLimits.cpuPeriod)
        },
        .option("--cpu-weight", value: "1-10000", help: "its share when CPUs are scarce (default 100)") {
            draft, text throws(Problem) in
            draft.request.limits.cpuWeight = try Value.whole(text, option: "--cpu-weight", 1...10000)
        },
        .option("--cpuset", "--cpuset-cpus", value: "LIST", help: "only these CPUs: 0-3,7; none: all") {
            draft, text throws(Problem) in
            draft.request.limits.cpus = try Value.cpus(text)
        },
        .option("--pids-limit", value: "NUMBER", help: "processes and threads (default 512; none: no limit)") {
            draft, text throws(Problem) in
            draft.request.limits.pidsMax = try Value.limit(text) { text throws(Problem) in
                try Value.whole(text, option: "--pids-limit", 1...4_194_304)
            }
        },
        .option(
            "--io-limit", value: "DEVICE:LIMITS",
            help: "rbps=, wbps=, riops=, wiops= for each second (none: no limit); DEVICE may be a path on it"
        ) {
            draft, text throws(Problem) in
            let limit = try MountValue.ioLimit(text)
            draft.request.limits.io[limit.device, default: [:]].merge(limit.limits) { $1 }
        },
        .option("--io-weight", value: "1-10000", help: "its share when disks are busy (default 100)") {
            draft, text throws(Problem) in
            draft.request.limits.ioWeight = try Value.whole(text, option: "--io-weight", 1...10000)
        },
        .option("--timeout", value: "TIME", help: "end it after this time: 30s, 5m; exit status 124") {
            draft, text throws(Problem) in
            draft.wallTime = try Value.duration(text, option: "--timeout")
        },
        .option("--cpu-time", value: "TIME", help: "end it after so much CPU time") { draft, text throws(Problem) in
            draft.cpuTime = try Value.duration(text, option: "--cpu-time")
        },
        .option("--output-limit", value: "SIZE", help: "end it after so much standard output and error") {
            draft, text throws(Problem) in
            draft.outputLimit = try Value.size(text, option: "--output-limit")
        },
        .option("--ulimit", value: "NAME=SOFT[:HARD]", help: "a resource limit, such as nofile=1024") {
            draft, text throws(Problem) in
            draft.request.resourceLimits.append(try UlimitValue.parse(text))
        },
        .option("--shm-size", value: "SIZE", help: "the size of /dev/shm (default 64m)") {
            draft, text throws(Problem) in
            let size = try Value.size(text, option: "--shm-size")
            guard size > 0 else { throw Value.wrong("--shm-size", text, "above 0") }
            draft.request.shmSize = size
        },
    ]

    private static let files: [Option<RunDraft>] = [
        .option(
            "--storage-limit", value: "SIZE",
            help:
                "of the root's changes together: in memory, which -m counts; create, run -d: on a disk (root), or with --rm"
        ) {
            draft, text throws(Problem) in
            let size = try Value.size(text, option: "--storage-limit")
            guard size >= 65536 else { throw Value.wrong("--storage-limit", text, "64k or more") }
            draft.request.storageLimit = size
        },
        .option(
            "-v", "--volume", value: "[SRC:]DST[:OPT,...]",
            help: "show a folder or file inside: ro, rw, noexec, idmap, noidmap; /DST alone: a new volume of its own"
        ) {
            draft, text throws(Problem) in
            if text.hasPrefix("/"), !text.utf8.contains(UInt8(ascii: ":")) {
                draft.ownVolumes.append(try MountValue.target(text, option: "-v"))
            } else {
                draft.request.volumes.append(try MountValue.volume(text))
            }
        },
        .option(
            "--mount", value: "FIELDS",
            help: "type=bind,source=S,target=T[,readonly] or type=tmpfs,target=T[,tmpfs-size=N]"
        ) {
            draft, text throws(Problem) in try MountValue.mount(text, into: &draft.request)
        },
        .option("--tmpfs", value: "DST[:OPT,...]", help: "an empty folder in memory: size=64m, mode=1777, exec, ro") {
            draft, text throws(Problem) in draft.request.temporary.append(try MountValue.temporary(text))
        },
        .option(
            "--workspace", value: "DIR[:DST]",
            help:
                "show a folder whose changes are kept beside it, until codex32 workspace apply (default DST: /workspace)"
        ) {
            draft, text throws(Problem) in draft.workspace = try MountValue.workspace(text)
        },
        .option("--root", value: "FOLDER", help: "the storage folder") { $0.storage = $1 },
    ]

    private static let streams: [Option<RunDraft>] = [
        .flag("-i", "--interactive", help: "pass a terminal's input on; pipes and files always are") {
            $0.interactive = true
        },
        .flag("-t", "--tty", help: "give it a terminal") { $0.request.terminal = true },
        .option("--stop-signal", value: "SIGNAL", help: "what ends it (default TERM)") { draft, text throws(Problem) in
            draft.stopSignal = try Value.signal(text, option: "--stop-signal")
        },
        .option("--stop-timeout", value: "TIME", help: "then SIGKILL after this time (default 10s)") {
            draft, text throws(Problem) in
            draft.stopTimeout = text == "0" ? 1 : try Value.duration(text, option: "--stop-timeout")
        },
        .flag("-q", "--quiet", help: "no warnings and no progress") { $0.quiet = true },
    ]

    static let resultFiles: [Option<RunDraft>] = [
        .option("--result-file", value: "FILE", help: "write the verdict: how it ended and what it used, as JSON") {
            $0.resultFile = $1
        },
        .option("--receipt", value: "FILE", help: "write what is in force, read back from the kernel, as JSON") {
            $0.receiptFile = $1
        },
    ]

    private static let plan: [Option<RunDraft>] = [
        .flag("--dry-run", help: "print the plan and start nothing") { $0.dryRun = true },
        .option("--format", value: "FORMAT", help: "of --dry-run: text or json", choices: ["text", "json"]) {
            draft, text throws(Problem) in
            guard ["text", "json"].contains(text) else { throw Value.wrong("--format", text, "text or json") }
            draft.format = text
            draft.formatWasChosen = true
        },
        .flag("-h", "--help", help: "print this and exit") { $0.help = true },
    ]

    private static func capability(_ text: String, option: String) throws(Problem) -> CapabilitySet {
        if text.uppercased() == "ALL" { return .all }
        guard let capability = CapabilitySet(name: text) else {
            throw Problem(
                "cannot use \(option) \(text)", "there is no such capability",
                hint: "see capabilities(7): NET_ADMIN, CHOWN, ...")
        }
        return capability
    }

    private static func items(_ text: String, option: String) throws(Problem) -> CaseSet<Item> {
        var items = CaseSet<Item>()
        for part in text.utf8.split(separator: UInt8(ascii: ",")) {
            let word = String(part) ?? text
            guard let item = Item(name: word) else {
                throw Problem(
                    "cannot use \(option) \(word)", "there is no such item", hint: "the items are \(Item.names)")
            }
            items.insert(item)
        }
        guard !items.isEmpty else {
            throw Problem("cannot use \(option)", "it names no item", hint: "the items are \(Item.names)")
        }
        return items
    }

    private static func cpuQuota(_ text: String, option: String, scale: UInt64) throws(Problem) -> UInt64 {
        if text == "none" { return CgroupLimits.none }
        let quota = try Value.decimal(text, option: option, scale: scale)
        // cgroup-v2.rst: cpu.max takes 1 ms or more in each period.
        guard quota >= 1000 else {
            throw Problem(
                "cannot use \(option) \(text)", "the least is 1 % of one CPU",
                hint: "\(option) \(scale == 1000 ? "1" : "0.01")")
        }
        return quota
    }
}
