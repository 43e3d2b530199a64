internal import Images
public import LinuxKernel
internal import OCISpec
internal import Sandbox

extension Containers {
    /// What a container has changed of its image, in the order of the paths.
    ///
    /// A root that is put together at every start is compared with what a start puts there.
    public func difference(_ reference: String) throws(Problem) -> [FileChange] {
        let container = try store.find(reference)
        let record = try view(container)
        let request = try Containers.request(of: record, storage: storage)
        guard request.root != .host else {
            throw Problem(
                "cannot compare \(record.name)", "at minimal it runs on the machine's own tree and has none of its own",
                hint: "its files are the machine's")
        }
        guard !request.isKeptInMemory else {
            throw Problem(
                "cannot compare \(record.name)", "its changes are in memory, where nothing of it is seen but by itself",
                hint: "codex32 export \(record.name) has all of its files while it runs")
        }
        // A read-only root has no layer, and one that was never started has none yet.
        let what = "cannot compare \(record.name)"
        guard let (upper, since) = try changes(of: container, request, what) else { return [] }
        let lower = try explaining(what) { () throws(KernelError) -> LayeredFolder? in
            request.root.folders.isEmpty ? nil : try LayeredFolder(request.root.folders)
        }
        let changes = try collect(container, upper, lower, since)
        return try Assembly(request).filter(changes, upper: upper)
    }

    /// The folder that has the changes, and since when, if it is a copy; nil: there is none.
    private func changes(
        of container: borrowing ContainerFolder, _ request: SandboxRequest, _ what: String
    ) throws(Problem) -> (Owned<Descriptor>, CopyComparison.Moment?)? {
        let layer = "\(storage.layers)/\(container.id)"
        if request.storageLimit == nil {
            if Descriptor.isMissing(layer) { return nil }
            return try explaining(what) { () throws(KernelError) in
                let folder = try Descriptor.open(layer, [.read, .folder, .noFollow])
                if let since = try LayerCopy.made(folder) {
                    return (Owned(try folder.open(LayerCopy.tree, [.read, .folder, .noFollow])), since)
                }
                if Descriptor.isMissing("\(layer)/upper") { return nil }
                return (Owned(try folder.open("upper", [.read, .folder, .noFollow])), nil)
            }
        }
        if Descriptor.isMissing("\(layer)/\(LayerDisk.name)") { return nil }
        let place = try explaining(what) { () throws(KernelError) in
            HostPath(layer, try Descriptor.status(ofPath: layer))
        }
        let disk = Owned(try LayerDisk(place).mount([.readOnly, .noSetuid, .noDevices, .noExecute]))
        if request.root.folders.isEmpty { return (disk, nil) }
        let upper = Owned(
            try explaining(what) { () throws(KernelError) in
                try disk.value.open("upper", [.read, .folder, .noFollow])
            })
        return (upper, nil)
    }

    /// As root by this process; else as the container's root, for its files may be closed to the caller.
    private func collect(
        _ container: borrowing ContainerFolder, _ upper: Owned<Descriptor>, _ lower: LayeredFolder?,
        _ since: CopyComparison.Moment?
    ) throws(Problem) -> [FileChange] {
        if Machine.isRoot { return try LayerComparison.changes(upper, lower, since: since, inside: nil) }
        let root = try ContainerRoot.open(self, container, to: "compare")
        return try LayerComparison.changes(
            upper, lower, since: since, inside: (root.root.number, root.namespace?.value.number))
    }

    /// The sandbox that a container's start would ask for.
    static func request(of record: ContainerRecord, storage: Storage) throws(Problem) -> SandboxRequest {
        var configuration: ContainerConfiguration
        do {
            configuration = try ContainerConfiguration(
                record.configuration, name: record.name, labels: record.labels, storage: storage)
        } catch {
            throw Problem(
                "cannot use \(record.name)", error.description, hint: "codex32 inspect \(record.name) shows its record")
        }
        if let (path, target) = configuration.run.workspace {
            configuration.run.request.workspace = try Workspace.planned(path, target, storage)
        }
        return try Preparation.request(configuration.run) { _ in }.request
    }
}

/// What codex32 itself puts into a container's layer: mount points, and of an assembled root everything else.
private struct Assembly {
    private enum Part {
        /// A folder that is made, and nothing more.
        case folder
        /// Something is mounted there: what lies below it in the layer is nobody's work.
        case mount
        case link(String)
        case file(String)
    }
    private var parts: [FileName: Part] = [:]
    private let isAssembled: Bool

    init(_ request: SandboxRequest) {
        if case .assembled(let entries) = request.root {
            isAssembled = true
            for entry in entries {
                switch entry {
                case .folder(let path, _): set(path, .folder)
                case .link(let path, let target): set(path, .link(target))
                case .file(let path, _, let contents): set(path, .file(contents))
                case .bind(_, let path): set(path, .mount)
                }
            }
        } else {
            isAssembled = false
        }
        for path in Planner.mountPoints(of: request) + ["/sys"] { set(path, .mount) }
        set(request.workingFolder, .folder)
    }

    /// The folders above it are made where they are missing.
    private mutating func set(_ path: String, _ part: Part) {
        var above = ""
        for name in path.split(separator: "/").dropLast() {
            above += "/\(name)"
            if parts[FileName(above)] == nil { parts[FileName(above)] = .folder }
        }
        let whole = FileName("/" + path.split(separator: "/").joined(separator: "/"))
        if case .mount? = parts[whole] { return }
        parts[whole] = part
    }

    /// Leaves out what is codex32's own, and puts in what of that is missing.
    func filter(_ changes: [FileChange], upper: Owned<Descriptor>) throws(Problem) -> [FileChange] {
        var list: [FileChange] = []
        var seen: Set<FileName> = []
        for change in changes {
            seen.insert(change.path)
            guard change.kind == .added, let part = parts[change.path] else {
                list.append(change)
                continue
            }
            switch part {
            case .mount: continue
            // Told only where something of the program's is in it, as a folder of an image is.
            case .folder: list.append(FileChange(.changed, change.path))
            case .link(let target):
                if target != Assembly.link(change.path, upper) { list.append(FileChange(.changed, change.path)) }
            case .file(let contents):
                if contents != Assembly.contents(change.path, upper) { list.append(FileChange(.changed, change.path)) }
            }
        }
        if isAssembled, !seen.isEmpty {
            for (path, _) in parts where !seen.contains(path) { list.append(FileChange(.deleted, path)) }
        }
        list.sort { Assembly.precedes($0.path, $1.path) }
        return dropUntouched(list)
    }

    /// Takes out folders of codex32's own that nothing follows in.
    private func dropUntouched(_ list: [FileChange]) -> [FileChange] {
        var kept: [FileChange] = []
        for change in list.reversed() {
            if change.kind == .changed, case .folder? = parts[change.path] {
                let inside = change.path.bytes + [0x2f]
                guard let last = kept.last, last.path.bytes.starts(with: inside) else { continue }
            }
            kept.append(change)
        }
        return kept.reversed()
    }

    /// A folder before what is in it, and that before the next name: "/" counts as less than every other byte.
    private static func precedes(_ a: FileName, _ b: FileName) -> Bool {
        a.bytes.split(separator: 0x2f).lexicographicallyPrecedes(b.bytes.split(separator: 0x2f)) {
            $0.lexicographicallyPrecedes($1)
        }
    }

    private static func link(_ path: FileName, _ upper: Owned<Descriptor>) -> String? {
        guard let (folder, name) = parent(path, upper) else { return nil }
        return try? folder.value.link(name).description
    }

    private static func contents(_ path: FileName, _ upper: Owned<Descriptor>) -> String? {
        guard let (folder, name) = parent(path, upper), let node = try? folder.value.node(name), node.kind == .file,
            // A pipe that takes its place in between is not waited for.
            let file = try? folder.value.open(name, [.read, .noFollow, .nonblocking]),
            let bytes = try? file.readAll(limit: 1 << 20)
        else { return nil }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func parent(_ path: FileName, _ upper: Owned<Descriptor>) -> (Owned<Descriptor>, FileName)? {
        let parts = path.bytes.split(separator: 0x2f).compactMap { FileName($0) }
        guard let name = parts.last else { return nil }
        var folder = upper
        for part in parts.dropLast() {
            guard let next = try? folder.value.open(part, [.pathOnly, .folder, .noFollow]) else { return nil }
            folder = Owned(next)
        }
        return (folder, name)
    }
}
