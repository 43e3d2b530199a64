internal import Images
public import LinuxKernel

/// One difference between a container's root and its image.
public struct FileChange: Equatable, Sendable {
    public enum Kind: String, Sendable {
        case added, changed, deleted
        /// As docker diff has it.
        public var letter: UInt8 {
            switch self {
            case .added: 0x41
            case .changed: 0x43
            case .deleted: 0x44
            }
        }
    }
    public let kind: Kind
    /// Begins with "/".
    public let path: FileName

    public init(_ kind: Kind, _ path: FileName) {
        self.kind = kind
        self.path = path
    }

    // MARK: Between processes

    /// Bytes.
    static let longestList = 1 << 30

    var bytes: [UInt8] { [kind.letter] + path.bytes + [0] }

    static func list(_ bytes: [UInt8]) -> [FileChange] {
        bytes.split(separator: 0).compactMap { line in
            guard let path = FileName(line.dropFirst()),
                let kind = [Kind.added, .changed, .deleted].first(where: { $0.letter == line.first })
            else { return nil }
            return FileChange(kind, path)
        }
    }

    /// As a layer has it.
    static func list(_ bytes: [UInt8]) -> TarPacker.Changes {
        var changes = TarPacker.Changes()
        for change in list(bytes) as [FileChange] {
            changes.add(change.path, isGone: change.kind == .deleted)
        }
        return changes
    }
}

/// What an overlay's upper folder changes of the one below it (Documentation/filesystems/overlayfs.rst): a device
/// 0:0 stands for what was deleted, and the attribute overlay.opaque for a folder that was deleted and made again.
enum LayerComparison {
    private typealias Place = (upper: Owned<Descriptor>, lower: LayeredFolder?)

    /// Walks both, by descriptor. The order is that of the names' bytes, a folder before what is in it.
    ///
    /// - Parameter lower: nil: there is nothing below.
    /// - Parameter since: it is no overlay's upper folder, but a copy that was made then.
    static func run(
        _ upper: Owned<Descriptor>, _ lower: LayeredFolder?, since: CopyComparison.Moment? = nil,
        _ change: @escaping (FileChange) -> Void
    ) throws(Problem) {
        if let since, let lower { return try CopyComparison.run(upper, lower, since: since, change) }
        try walk((upper, lower), [], depth: 0, change)
    }

    /// The same, all at once.
    ///
    /// - Parameter inside: a root, and the user namespace whose ids may read the files; nil: this process may.
    static func changes(
        _ upper: Owned<Descriptor>, _ lower: LayeredFolder?, since: CopyComparison.Moment?,
        inside: (root: Int32, namespace: Int32?)?
    ) throws(Problem) -> [FileChange] {
        guard let inside else {
            final class List { var changes: [FileChange] = [] }
            let list = List()
            try run(upper, lower, since: since) { list.changes.append($0) }
            return list.changes
        }
        let pipe = try explaining("cannot make a pipe") { () throws(KernelError) in try Descriptor.pipe() }
        let reading = Descriptor(owning: pipe.read)
        let helper: InsideProcess.Running
        do {
            let writing = Descriptor(owning: pipe.write)
            let lowers = lower?.numbers ?? []
            let null = try explaining("cannot open /dev/null") { () throws(KernelError) in
                try Descriptor.open("/dev/null", [.read])
            }
            helper = try InsideProcess.start(
                .compare(upper: upper.value.number, lower: lowers, since: since), root: inside.root,
                namespace: inside.namespace, input: null.number, output: writing.number,
                keep: [upper.value.number] + lowers)
        }
        let bytes = try explaining("cannot read the differences") { () throws(KernelError) in
            try reading.readAll(limit: FileChange.longestList)
        }
        try helper.finish { _ in }
        return FileChange.list(bytes)
    }

    private static func walk(
        _ place: Place, _ path: [UInt8], depth: Int, _ change: (FileChange) -> Void
    ) throws(Problem) {
        let what = "cannot compare \(FileName(path + [0x2f])!)"
        guard depth < 400 else { throw Problem(what, "it is deeper than 400 folders") }
        let upper = place.upper
        let names = try explaining(what) { () throws(KernelError) in try upper.value.names() }
        var hidden: [FileName] = []
        if depth > 0, upper.value.isOpaque(), let lower = place.lower {
            let present = Set(names)
            hidden = try explaining(what) { () throws(KernelError) in try lower.names() }
                .filter { !present.contains($0) }
        }
        for name in (names + hidden).sorted() {
            guard let whole = FileName(path + [0x2f] + name.bytes) else { continue }
            let below = place.lower?.node(name)
            guard let node = try? upper.value.node(name) else {
                if hidden.contains(name) { change(FileChange(.deleted, whole)) }
                continue
            }
            if node.isWhiteout {
                // A whiteout over nothing is what is left of something that was made and deleted again.
                if below != nil { change(FileChange(.deleted, whole)) }
                continue
            }
            change(FileChange(below == nil ? .added : .changed, whole))
            guard node.kind == .folder else { continue }
            let next: Place
            do throws(KernelError) {
                next.upper = Owned(try upper.value.open(name, [.read, .folder, .noFollow]))
                next.lower = below?.kind == .folder ? try place.lower?.folder(name) : nil
            } catch {
                if error.number == Errno.missing { continue }
                throw Problem(what, error)
            }
            try walk(next, whole.bytes, depth: depth + 1, change)
        }
    }
}
