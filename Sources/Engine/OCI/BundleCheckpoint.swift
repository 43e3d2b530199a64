public import LinuxKernel
internal import OCISpec
internal import Sandbox

/// What `checkpoint` and `restore` are asked for: CRIU's own options by their names.
public struct BundleImages: Sendable {
    /// Where CRIU's images are, or will be.
    public var folder = "checkpoint"
    /// Where it writes its log; nil: the same.
    public var work: String?
    public var leaveRunning = false
    /// Options that CRIU is given as they are: `--tcp-established` and so on.
    public var passed: [String] = []
    public init() {}
}

/// `checkpoint`: a container's processes as files, by CRIU, which is a program of its own (criu(8)).
extension BundleRuntime {
    public func checkpoint(_ id: String, _ images: BundleImages) throws(Problem) {
        let what = "cannot checkpoint \(id)"
        let criu = try CRIU(what)
        let folder = try open(id)
        let lock = try BundleRuntime.lock(folder, what)
        let (state, status) = try BundleRuntime.load(id, folder)
        guard status == .running, let process = state.process, process.isAlive else {
            throw Problem(
                what, status == .stopped ? "container not running" : "the container is \(status.rawValue)")
        }
        let spec = try BundleRuntime.configuration(id, folder)
        try CRIU.check(spec, state, what)
        var record = try CheckpointRecord(of: process.pid)
        if record.rights["NoNewPrivs"] == "1", try !criu.restoresNoNewPrivileges(what) {
            throw Problem(
                what, "this CRIU would give it back without no_new_privs",
                hint: "CRIU 3.18 keeps it; podman run without --security-opt no-new-privileges does not ask for it")
        }
        record.streams = try BundleStreams(of: process.pid, as: state.streams, what).names
        let place = try explaining("cannot use \(images.folder)") { () throws(KernelError) in
            try makeFolders(images.folder)
        }
        let text = record.json.text()
        var words = ["dump", "--tree", String(process.pid), "--images-dir", images.folder]
        for stream in Set(record.streams.compactMap { $0 }).sorted() where stream.hasPrefix("file[") {
            words += ["--external", stream]
        }
        if CRIU.sharesNetwork(spec) != nil, let inode = Namespace.of(process.pid, .network) {
            words += ["--external", "net[\(inode)]:\(CRIU.network)"]
        }
        if images.leaveRunning { words.append("--leave-running") }
        // First: a container that is files by now could not be restored without it.
        try explaining("cannot use \(images.folder)") { () throws(KernelError) in
            try place.put(CheckpointRecord.file, with: text, mode: 0o600, durable: false)
        }
        try criu.run(words + images.passed, log: "dump.log", images, what)
        _ = consume lock
    }
}

/// CRIU, by its command line.
struct CRIU {
    static let network = "codex32-network"
    private let path: String

    init(_ what: String) throws(Problem) {
        guard let path = HostProgram.find("criu") else {
            throw Problem(what, "CRIU is not installed", hint: "apt-get install criu")
        }
        guard Machine.isRoot, !Machine.isRootOfNamespace else {
            throw Problem(what, "CRIU needs root", hint: "run it as root, outside of user namespaces")
        }
        self.path = path
    }

    /// What CRIU would not bring back as it was, or codex32 has not tried, by name.
    static func check(_ spec: RuntimeSpec, _ state: BundleState?, _ what: String) throws(Problem) {
        let spaces = spec.linux.namespaces
        let isNew = { (type: String) in spaces.contains { $0.type == type && $0.path == nil } }
        let reasons: [(String, Bool)] = [
            ("process.terminal: terminals are not supported", spec.process.terminal),
            ("linux.namespaces: it needs pid and mount namespaces of its own", !isNew("pid") || !isNew("mount")),
            ("linux.namespaces: a user namespace is not supported", spaces.contains { $0.type == "user" }),
            (
                "linux.namespaces: by path only a network namespace is supported",
                spaces.contains { $0.path != nil && $0.type != "network" }
            ),
            ("hooks: only poststop hooks are supported", spec.hooks.isInCreate || spec.hooks.isAtStart),
            ("hooks: only poststop hooks are supported", !spec.hooks.poststart.isEmpty),
            ("mounts: mapped owners are not supported", spec.mounts.contains { $0.mapsOwners }),
            ("linux.memoryPolicy is not kept", spec.linux.memoryPolicy != nil),
            ("linux.personality is not kept", spec.linux.personality != nil),
            ("process.ioPriority is not kept", spec.process.ioPriority != nil),
            ("linux.intelRdt is not supported", spec.linux.resctrl != nil),
            ("linux.netDevices are not supported", !spec.linux.networkDevices.isEmpty),
            ("it is isolated strictly, and Landlock's walls are not kept", state?.tightening != nil),
            ("it has no cgroup of its own", state.map { $0.cgroup == nil } ?? false),
            ("a scope of systemd's is not supported", state?.scope != nil),
        ]
        if let reason = reasons.first(where: \.1)?.0 { throw Problem(what, reason) }
    }

    static func sharesNetwork(_ spec: RuntimeSpec) -> String? {
        spec.linux.namespaces.first { $0.type == "network" && $0.path != nil }?.path
    }

    /// Since 3.18.
    func restoresNoNewPrivileges(_ what: String) throws(Problem) -> Bool {
        let pipe = try explaining(what) { () throws(KernelError) in try Descriptor.pipe() }
        let reader = Descriptor(owning: pipe.read)
        let writer = Descriptor(owning: pipe.write)
        _ = try explaining(what) { () throws(KernelError) in
            try HostProgram.run(path, ["criu", "--version"], output: writer.number)
        }
        _ = consume writer
        let text = try explaining(what) { () throws(KernelError) in
            String(decoding: try reader.readAll(limit: 4096), as: UTF8.self)
        }
        guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix("Version: ") }) else { return false }
        let numbers = line.dropFirst(9).split(separator: ".").map { Int($0) ?? 0 }
        return (numbers.first ?? 0, numbers.dropFirst().first ?? 0) >= (3, 18)
    }

    /// - Throws: with the last error of its log.
    /// - Parameter cgroup: the folder of the cgroup for it and all that it makes: what it leaves when it is killed is
    ///   found there.
    func run(
        _ words: [String], log: String, _ images: BundleImages, _ what: String, cgroup: Int32 = -1
    ) throws(Problem) {
        let work = images.work ?? images.folder
        // Mounts from outside are found again by their places; cgroups are the caller's to make.
        let common = ["--log-file", log, "--external", "mnt[]:sm", "--manage-cgroups=soft", "--work-dir", work]
        let status = try explaining(what) { () throws(KernelError) in
            let place = try makeFolders(work)
            // What it, and the programs that it runs, have to say is no word of the container's.
            let said = try place.open("criu.txt", [.write, .create, .truncate, .noFollow])
            return try HostProgram.run(path, ["criu"] + words + common, output: said.number, cgroup: cgroup)
        }
        guard status != 0 else { return }
        let text = (try? Descriptor.contents(of: "\(work)/\(log)", limit: 64 << 20)) ?? ""
        let line = text.split(separator: "\n").first { String($0).holds("Error") }
        throw Problem(
            what, "CRIU failed: \(line.map { String($0.prefix(300)) } ?? "status \(status)")",
            hint: "its log is \(work)/\(log)")
    }
}

extension SpecMount {
    fileprivate var mapsOwners: Bool {
        !uidMappings.isEmpty || options.contains("idmap") || options.contains("ridmap")
    }
}
