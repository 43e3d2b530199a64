internal import LinuxKernel

/// A root file system from Debian's packages, by mmdebstrap(1).
///
/// It runs in namespaces of codex32's own: a mount and a pid namespace, so that nothing of it outlives
/// codex32, and for an ordinary user the user namespace that its containers have, so that files belong to
/// the ids they will belong to there. Packages are fetched into a folder that is kept: what is there, whole
/// or in part, is not fetched again.
struct DebianTemplate {
    let name: String
    let suite: String
    let packages: [String]
    /// An empty folder: the tree comes about in `root`, and what is only needed meanwhile in `tmp`.
    let working: String
    let cache: String
    let log: String

    private var what: String { "cannot build the template \(name)" }

    func build(progress: (String) -> Void) throws(Problem) {
        guard let program = HostProgram.find("mmdebstrap") else {
            throw Problem(what, "mmdebstrap is not installed", hint: "apt-get install mmdebstrap")
        }
        let identity = IdentityMap.subordinate()
        if identity == nil && !Machine.isRoot {
            throw Problem(
                what, "Debian's packages need more than one id, and this user has no subordinate ones",
                hint: "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER")
        }
        progress("building template:\(name): Debian \(suite) with \(packages.joined(separator: ", "))")
        let kept = try explaining(what) { () throws(KernelError) in try makeFolders(cache) }
        let lock = try explaining(what) { () throws(KernelError) in
            try kept.open("codex32.lock", [.write, .create, .noFollow])
        }
        try explaining(what) { () throws(KernelError) in
            if try !lock.lock(wait: false) {
                progress("waiting for another codex32 that fetches packages of \(suite)")
                _ = try lock.lock(wait: true)
            }
        }
        let output = try explaining(what) { () throws(KernelError) in
            try Descriptor.open(log, [.readWrite, .create, .truncate, .noFollow])
        }
        let arguments = try explaining(what) { () throws(KernelError) in
            let scratch = try makeFolders("\(working)/tmp")
            return try words(proxies: DebianSources.proxies(scratch: scratch))
        }
        let end = try run(program, arguments, identity, output, progress)
        guard end.exitCode == 0 else {
            let text = (try? Descriptor.contents(of: log, limit: 16 << 20)) ?? ""
            throw Problem(
                what, DebianTemplate.reason(text) ?? "mmdebstrap failed",
                hint:
                    "it needs Debian's package servers; all of its words are in \(log). What was fetched is kept: try again"
            )
        }
        try explaining(what) { () throws(KernelError) in
            try Descriptor.open(working, [.read, .folder]).open("root", [.read, .folder]).setMode(0o755)
        }
    }

    /// The first complaint in mmdebstrap's words: apt's, where it is apt that failed.
    static func reason(_ log: String) -> String? {
        let lines = log.split(separator: "\n")
        let line =
            lines.first { $0.hasPrefix("Err:") || $0.hasPrefix("E: Failed to fetch") }
            ?? lines.first { $0.hasPrefix("E: ") }
        return line.map { line in
            let at = lines.firstIndex(of: line) ?? 0
            // apt's "Err:1 URL" has its reason on the next line.
            let isHead = line.hasPrefix("Err:") && at + 1 < lines.count && lines[at + 1].hasPrefix("  ")
            let reason = isHead ? lines[at + 1].drop { $0 == " " } : line.drop { $0 != " " }.dropFirst()
            return String(reason.prefix(300))
        }
    }

    private func words(proxies: [String]) -> [String] {
        let quoted = "'" + cache.map { $0 == "'" ? "'\\''" : String($0) }.joined() + "'"
        let archives = "\"$1\"/var/cache/apt/archives"
        var words = [
            "mmdebstrap", "--mode=unshare", "--variant=minbase", "--format=directory",
            "--include=\(packages.joined(separator: ","))",
            // The packages already there must not be removed once they are installed.
            "--skip=essential/unlink", "--setup-hook=mkdir -p \(archives)",
            "--setup-hook=mount --bind \(quoted) \(archives)", "--customize-hook=umount \(archives)",
            // A tree that is not whole is thrown away: nothing has to reach the disk meanwhile.
            "--dpkgopt=force-unsafe-io",
            "--customize-hook=rm -f \"$1\"/etc/dpkg/dpkg.cfg.d/99mmdebstrap \"$1\"/etc/apt/apt.conf.d/99mmdebstrap",
        ]
        words += proxies.map { "--aptopt=\($0)" }
        return words + [suite, "\(working)/root"] + DebianSources.lines(suite: suite)
    }

    private func run(
        _ program: String, _ arguments: [String], _ identity: IdentityMap?, _ output: borrowing Descriptor,
        _ progress: (String) -> Void
    ) throws(Problem) -> ProcessEnd {
        let proc = Slot(0)
        var environment = [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8",
            "HOME=\(working)/tmp", "TMPDIR=\(working)/tmp",
        ]
        for name in ["http_proxy", "https_proxy", "no_proxy"] {
            if let value = Machine.environment(name) { environment.append("\(name)=\(value)") }
        }
        let none = try explaining(what) { () throws(KernelError) in try Descriptor.open("/dev/null", [.read]) }
        let input = LaunchInput(
            namespaces: identity == nil ? [.pid, .mount] : [.user, .pid, .mount],
            steps: [
                .becomeRoot(uid: 0, gid: 0, dropGroups: true), .privateMounts,
                .newFileSystem(
                    "proc", options: [], attributes: [.noSetuid, .noDevices, .noExecute], workingFolder: nil, into: proc
                ),
                .useRoot(nil), .attach(proc, at: "/proc", .systemFolder), .umask(0o022),
                .changeFolder("/", make: false), .execute,
            ],
            slotCount: 1, standard: (none.number, output.number, output.number), terminal: false, candidates: [program],
            arguments: arguments, environment: environment)
        // The maps of an ordinary user are written by a helper, which needs a dumpable process.
        Machine.setDumpable(true)
        defer { Machine.setDumpable(false) }
        let child = try explaining(what, hint: "codex32 doctor says what this machine offers") {
            () throws(KernelError) in
            try Child.launch(input, sources: SlotNumbers(), cgroup: nil)
        }
        do {
            try identity?.apply(to: child.pid)
            return try explaining(what) { () throws(KernelError) in
                try child.go()
                let message = try child.receive()
                switch consume message {
                case .failed(_, let error, _): throw error
                case .unborn(let error): throw error
                default: break
                }
                return try watch(child, progress)
            }
        } catch {
            child.kill()
            throw error
        }
    }

    /// Of all that mmdebstrap says, its stages.
    static func isProgress(_ line: String) -> Bool {
        line.hasPrefix("I: ") && line.hasSuffix("...")
            && !["hook", "requested", "signed-by", "received"].contains { line.holds($0) }
    }

    /// Waits for the end, and passes on what mmdebstrap says of its way: lines "I: ...".
    private func watch(_ child: borrowing Child, _ progress: (String) -> Void) throws(KernelError) -> ProcessEnd {
        let reader = try Descriptor.open(log, [.read])
        var rest: [UInt8] = []
        while true {
            let end = try child.reap(wait: false)
            rest += try reader.readAll(limit: 64 << 20)
            while let line = rest.firstIndex(of: 10) {
                let text = String(decoding: rest[..<line], as: UTF8.self)
                rest.removeSubrange(...line)
                if DebianTemplate.isProgress(text) {
                    progress("template:\(name): \(text.dropFirst(3))")
                }
            }
            if let end { return end }
            Clock.sleep(milliseconds: 100)
        }
    }
}
