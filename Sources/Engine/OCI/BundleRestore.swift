public import LinuxKernel
internal import OCISpec
internal import Sandbox

/// `restore`: a container from what `checkpoint` wrote.
extension BundleRuntime {
    /// Its processes come back stopped; they go on only once they are seen to be as closed as they were.
    public func restore(_ id: String, _ creation: Creation, _ images: BundleImages) throws(Problem) {
        let what = "cannot restore \(id)"
        try BundleRuntime.check(id)
        let criu = try CRIU(what)
        let bundle = creation.bundle.hasPrefix("/") ? creation.bundle : "\(Machine.workingFolder)/\(creation.bundle)"
        let (spec, text) = try BundleRuntime.spec(in: bundle)
        guard creation.cgroups, !creation.systemd else {
            throw Problem(what, "it needs a cgroup of its own", hint: "--cgroup-manager cgroupfs")
        }
        let tightening = try BundleTightening(
            spec, usual: creation.isolation ?? BundleRuntime.usualLevel, abi: Machine.landlockABI)
        guard tightening == nil else { throw Problem(what, "strict's walls of Landlock are not kept") }
        try CRIU.check(spec, nil, what)
        // All that would be refused at `create` is refused here.
        let plan = try BundlePlan(
            spec, bundle: bundle, rights: .effective, cgroups: true, keyring: creation.keyring, filters: filters)
        let record = try CRIU.record(in: images.folder, what)
        if let name = record.lacks(
            spec.process, bounding: try plan.bounding(), hasFilter: spec.linux.seccomp != nil)
        {
            throw Problem(
                what, "the bundle asks for \(name), and what was checkpointed had not as much",
                hint: "restore it for the bundle that it was made with")
        }
        var state = BundleState(spec: spec, id: id, bundle: bundle)
        state.cgroup = try BundleCgroup.path(spec.linux, id: id)
        guard state.cgroup != nil else { throw Problem(what, "it needs a cgroup of its own") }
        state.devices = try BundleRuntime.digest(spec.linux.resources)
        state.streams = BundleStreams.own
        let states = try explaining("cannot use \(root)") { () throws(KernelError) in try makeFolders(root) }
        do throws(KernelError) { try states.makeFolder(id) } catch {
            throw Problem(
                what, error.number == Errno.exists ? "container with id exists already: \(id)" : error.description)
        }
        do throws(Problem) {
            let folder = try explaining(what) { () throws(KernelError) in
                try states.open(id, [.read, .folder, .noFollow])
            }
            let lock = try BundleRuntime.lock(folder, what)
            let document = state.json.text()
            try explaining(what) { () throws(KernelError) in
                try folder.open(BundleState.configuration, [.write, .create, .exclusive]).write(bytes: text)
                // It names the cgroup: whoever deletes what a killed `restore` left finds all of it.
                try folder.replace(BundleState.file, with: document, durable: false)
            }
            try restore(&state, spec, plan, record, criu, images, folder, creation)
            _ = consume lock
        } catch {
            try? BundleScope.remove(state, what)
            try? states.removeTree(id)
            throw error
        }
    }

    private func restore(
        _ state: inout BundleState, _ spec: RuntimeSpec, _ plan: BundlePlan, _ record: CheckpointRecord, _ criu: CRIU,
        _ images: BundleImages, _ folder: borrowing Descriptor, _ creation: Creation
    ) throws(Problem) {
        let what = "cannot restore \(state.id)"
        let path = state.cgroup ?? ""
        let group = try BundleCgroup.make(path, spec.linux.resources)
        // Before there is a process: CRIU makes no devices in it.
        try BundleCgroup.attach(plan, to: group)
        let rootPath = spec.rootPath.hasPrefix("/") ? spec.rootPath : "\(state.bundle)/\(spec.rootPath)"
        try explaining("cannot use \(rootPath)") { () throws(KernelError) in
            try Machine.stageRoot(rootPath, readOnly: spec.rootReadOnly)
        }
        let pidFile = "restored.pid"
        var words = [
            "restore", "--images-dir", images.folder, "--root", rootPath, "--restore-detached", "--restore-sibling",
            "--leave-stopped", "--cgroup-root", String(path.dropFirst("/sys/fs/cgroup".count)), "--pidfile",
            "\(root)/\(state.id)/\(pidFile)",
        ]
        // Open until this process ends.
        for (stream, number) in try CRIU.streams(record, what) {
            words += ["--inherit-fd", "fd[\(number)]:\(stream)"]
        }
        var network: Descriptor?
        if let space = CRIU.sharesNetwork(spec) {
            let opened = try explaining("cannot open the net namespace \(space)") { () throws(KernelError) in
                let opened = try Descriptor.open(space, [.read])
                try opened.clearCloseOnExec()
                return opened
            }
            words += ["--inherit-fd", "fd[\(opened.number)]:\(CRIU.network)"]
            network = consume opened
        }
        try criu.run(words + images.passed, log: "restore.log", images, what, cgroup: group.folder.number)
        _ = network.take()
        let text = try explaining(what) { () throws(KernelError) in try folder.contents(of: pidFile) }
        guard let pid = Int32(text.prefix { $0 != "\n" }), let process = ProcessIdentity(of: pid) else {
            throw Problem(what, "CRIU does not say which process came back")
        }
        try explaining(what) { () throws(KernelError) in try folder.remove(pidFile) }
        state.process = process
        try CRIU.compare(record, state, what)
        let document = state.json.text()
        try explaining(what) { () throws(KernelError) in
            try folder.replace(BundleState.file, with: document, durable: false)
        }
        if let file = creation.pidFile { try BundleRuntime.write(pid, to: file) }
        try BundleProcesses.signal(state, Signal.resume)
    }
}

extension CRIU {
    fileprivate static func record(in folder: String, _ what: String) throws(Problem) -> CheckpointRecord {
        let text: String
        do throws(KernelError) {
            text = try Descriptor.contents(of: "\(folder)/\(CheckpointRecord.file)", limit: 16 << 20)
        } catch {
            throw Problem(
                what, error, hint: "it takes a checkpoint that codex32 made: else nothing is known to compare with")
        }
        do throws(DocumentError) { return try CheckpointRecord(text) } catch {
            throw Problem(what, "\(folder)/\(CheckpointRecord.file): \(error.description)")
        }
    }

    /// This process's own streams in the place of the container's, under numbers that CRIU's own output has not.
    fileprivate static func streams(
        _ record: CheckpointRecord, _ what: String
    ) throws(Problem) -> [(stream: String, number: Int32)] {
        var list: [(stream: String, number: Int32)] = []
        for (number, stream) in record.streams.enumerated() {
            guard let stream, !list.contains(where: { $0.stream == stream }),
                let own = StandardStream(rawValue: Int32(number))
            else { continue }
            let copy = try explaining(what) { () throws(KernelError) in
                let copy = try own.duplicate()
                try copy.clearCloseOnExec()
                return copy
            }
            list.append((stream, copy.release()))
        }
        return list
    }

    /// While all of them are stopped.
    fileprivate static func compare(
        _ record: CheckpointRecord, _ state: BundleState, _ what: String
    ) throws(Problem) {
        guard let first = state.process, let path = state.cgroup else { return }
        let now = try CheckpointRecord(of: first.pid)
        if let difference = record.difference(to: now) {
            throw Problem(what, "CRIU did not bring it back as it was: \(difference)", hint: "it was ended again")
        }
        let members = try BundleProcesses.members(state)
        guard members.contains(first.pid) else { throw Problem(what, "it is not in its cgroup \(path)") }
        for pid in members {
            let status = try explaining(what) { () throws(KernelError) in
                try Descriptor.contents(of: "/proc/\(pid)/status")
            }
            guard record.closes(status) else {
                throw Problem(what, "CRIU did not bring its process \(pid) back as it was", hint: "it was ended again")
            }
        }
        // One that came back elsewhere would be nobody's.
        for found in ProcessSnapshot().members(of: first.pid) where !found.isZombie && !members.contains(found.pid) {
            throw Problem(what, "its process \(found.pid) is not in its cgroup \(path)")
        }
    }
}
