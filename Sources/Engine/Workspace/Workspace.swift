internal import Images
public import LinuxKernel
internal import OCISpec
internal import Sandbox

/// A run's or a container's changes to a folder of the host, kept beside it until a person applies or discards them: `workspaces/ID` of
/// the storage folder, with overlayfs's two folders, what the folder was like (`base`), and `record.json`. Whoever works
/// with one holds its lock; with a container's, the container's too.
public final class Workspace {
    public let id: String
    /// The folder, by its path.
    public let source: String
    /// When the run began: nanoseconds since 1970.
    public let started: Int64
    let place: Owned<Descriptor>
    let storage: Storage
    /// Of the container that it belongs to, while somebody works with it.
    var containerLock: Owned<ContainerLock>?
    private let device: UInt64
    private let inode: UInt64

    static func folder(_ storage: Storage) -> String { "\(storage.data)/workspaces" }

    private init(
        id: String, source: String, started: Int64, place: Owned<Descriptor>, storage: Storage, device: UInt64,
        inode: UInt64
    ) {
        (self.id, self.source, self.started, self.place, self.storage) = (id, source, started, place, storage)
        (self.device, self.inode) = (device, inode)
    }

    // MARK: Of a run

    /// Makes a workspace for a run that is about to start.
    static func make(id: String, _ path: String, _ storage: Storage, started: Int64) throws(Problem) -> Workspace {
        let what = "cannot make a workspace of \(path)"
        let source = Preparation.absolute(path)
        let (folder, status) = try explaining(what) { () throws(KernelError) -> (Owned<Descriptor>, FileStatus) in
            let folder = try Descriptor.open(source, [.read, .folder])
            let status = try folder.status()
            return (Owned(folder), status)
        }
        let base = try WorkspaceBase(of: folder.value)
        return try explaining(what) { () throws(KernelError) in
            let all = try makeFolders(Workspace.folder(storage))
            // Whole under its own name at once, so that a killed run leaves one that can be discarded.
            try all.makeFolder(".\(id)")
            let place = try all.open(".\(id)", [.read, .folder, .noFollow])
            for name in ["upper", "work"] {
                try place.makeFolder(name)
                try place.open(name, [.read, .folder]).setMode(name == "upper" ? status.mode & 0o1777 : 0o755)
            }
            let file = try place.open("base", [.write, .create, .exclusive, .noFollow])
            try file.write(bytes: base.bytes)
            let record = JSON.members([
                "schema": .integer(1), "source": .string(source), "started": .number(started),
                "device": .number(status.device), "inode": .number(status.inode),
            ])
            try place.replace("record.json", with: record.text(), durable: true)
            // Before anybody can see it: nobody takes it for one whose run is over.
            _ = try place.lock(wait: false)
            try all.rename(".\(id)", to: id)
            return Workspace(
                id: id, source: source, started: started, place: Owned(place), storage: storage,
                device: status.device, inode: status.inode)
        }
    }

    /// For a plan that nothing comes of: its folder need not be there.
    static func planned(_ path: String, _ target: String, _ storage: Storage) throws(Problem) -> WorkspaceMount {
        try explaining("cannot plan a workspace of \(path)") { () throws(KernelError) in
            let status = try Descriptor.status(ofPath: path)
            return WorkspaceMount(
                source: HostPath(Preparation.absolute(path), status), target: target,
                layer: HostPath("\(Workspace.folder(storage))/ID", status))
        }
    }

    /// For the plan.
    func mount(at target: String) throws(Problem) -> WorkspaceMount {
        let what = "cannot use the workspace \(id)"
        let (status, own) = try explaining(what) { () throws(KernelError) in
            (try Descriptor.status(ofPath: source), try place.value.status())
        }
        guard status.device == device, status.inode == inode else {
            throw Problem(
                what, "\(source) is another folder than the one whose changes it has",
                hint: "codex32 workspace discard \(id)")
        }
        return WorkspaceMount(
            source: HostPath(source, status), target: target,
            layer: HostPath("\(Workspace.folder(storage))/\(id)", own))
    }

    /// Gives it to the program.
    func give(to plan: LaunchPlan) throws(Problem) {
        guard Machine.isRoot else { return }
        let identity = plan.identity
        try explaining("cannot give the workspace to the container") { () throws(KernelError) in
            let root = (identity?.hostUID(0) ?? 0, identity?.hostGID(0) ?? 0)
            try place.value.open("work", [.read, .folder, .noFollow]).setOwner(uid: root.0, gid: root.1)
            try place.value.open("upper", [.read, .folder, .noFollow]).setOwner(
                uid: identity?.hostUID(plan.user.uid) ?? plan.user.uid,
                gid: identity?.hostGID(plan.user.gid) ?? plan.user.gid)
            // Its owner has to come as far as them.
            try place.value.setMode(0o711)
        }
    }

    // MARK: Afterwards

    /// All that there are, the oldest first.
    public static func all(_ storage: Storage) -> [Workspace] {
        guard let all = try? Descriptor.open(folder(storage), [.read, .folder]), let names = try? all.entries() else {
            return []
        }
        return names.filter(ContainerID.isValid).compactMap { try? open($0, storage) }.sorted {
            $0.started < $1.started
        }
    }

    /// By its id, or the beginning of one, or its container's name.
    public static func find(_ text: String, _ storage: Storage) throws(Problem) -> Workspace {
        if let workspace = try named(text, storage) { return workspace }
        let names = (try? Descriptor.open(folder(storage), [.read, .folder]).entries()) ?? []
        let found = names.filter { ContainerID.isValid($0) && $0.hasPrefix(text) }
        guard let first = found.first, !text.isEmpty else {
            throw Problem(
                "no workspace \(text)", "there is none", hint: "codex32 workspace list shows those that there are")
        }
        guard found.count == 1 else {
            throw Problem("cannot tell which workspace \(text) is", "\(found.count) begin so", hint: "give more of it")
        }
        return try open(first, storage)
    }

    static func open(_ id: String, _ storage: Storage) throws(Problem) -> Workspace {
        let what = "cannot use the workspace \(id)"
        let place = try explaining(what) { () throws(KernelError) in
            Owned(try Descriptor.open("\(folder(storage))/\(id)", [.read, .folder, .noFollow]))
        }
        let text = try explaining(what) { () throws(KernelError) in
            try place.value.contents(of: "record.json", limit: 65536)
        }
        do throws(DocumentError) {
            let record = try JSONObject(try JSONReader.read(Array(text.utf8)), at: "record")
            guard try record.unsigned("schema") == 1 else { throw DocumentError("record.schema", "is not known") }
            let started = try record.integer("started") ?? 0
            guard started >= 0 else { throw DocumentError("record.started", "is no time") }
            return Workspace(
                id: id, source: try record.required("source"), started: started,
                place: place, storage: storage, device: try record.unsigned("device") ?? 0,
                inode: try record.unsigned("inode") ?? 0)
        } catch { throw Problem(what, error.description, hint: "codex32 workspace discard \(id)") }
    }

    /// - Throws: the run goes on, or its container runs, or somebody else works with it.
    public func take() throws(Problem) {
        try takeContainer()
        let isFree = try explaining("cannot use the workspace \(id)") { () throws(KernelError) in
            try place.value.lock(wait: false)
        }
        guard isFree else {
            throw Problem(
                "cannot use the workspace \(id)", "its run goes on, or another command works with it",
                hint: "wait for its end")
        }
    }

    public func discard() throws(Problem) {
        let all = try explaining("cannot discard the workspace \(id)") { () throws(KernelError) in
            try Descriptor.open(Workspace.folder(storage), [.read, .folder])
        }
        // First out of sight: half a workspace is none.
        try explaining("cannot discard the workspace \(id)") { () throws(KernelError) in
            try all.rename(id, to: ".\(id)")
        }
        try all.removeContainerTree(".\(id)")
    }

    /// What changed, in the order of the paths. What was applied already is not among it.
    public func changes() throws(Problem) -> [FileChange] {
        let what = "cannot look at the workspace \(id)"
        let (upper, lower) = try opened(what)
        let below = try explaining(what) { () throws(KernelError) in try LayeredFolder([source]) }
        var changes: [FileChange] = []
        try LayerComparison.run(upper, below) { changes.append($0) }
        return changes.filter { change in
            change.kind != .changed || !WorkspaceFile.isSame(change.path, upper.value, lower.value)
        }
    }

    func opened(_ what: String) throws(Problem) -> (upper: Owned<Descriptor>, lower: Owned<Descriptor>) {
        try explaining(what) { () throws(KernelError) in
            let lower = try Descriptor.open(source, [.read, .folder])
            let status = try lower.status()
            // Another folder under the same name is not the one that the run saw.
            guard status.device == device, status.inode == inode else {
                throw KernelError("open", source, number: Errno.stale)
            }
            return (Owned(try place.value.open("upper", [.read, .folder, .noFollow])), Owned(lower))
        }
    }

    func base() throws(Problem) -> WorkspaceBase {
        let bytes = try explaining("cannot use the workspace \(id)") { () throws(KernelError) in
            try place.value.open("base", [.read, .noFollow]).readAll(limit: 1 << 30)
        }
        return try WorkspaceBase(bytes: bytes)
    }
}
