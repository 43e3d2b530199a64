internal import Images
internal import LinuxKernel

/// What was changed of a copy of an image (``LayerCopy``) since it was made.
///
/// Told by the time of the last change, which no program can set (inode(7), "ctime"), and by which names are there. What is
/// in a folder that was renamed has kept its own: there, the size and the time of the contents tell.
struct CopyComparison {
    private let since: Moment
    private let change: (FileChange) -> Void
    /// Folders on the way that are as they were: told where something in them is not, as an overlay has it.
    private var pending: [FileName] = []

    private init(since: Moment, _ change: @escaping (FileChange) -> Void) {
        (self.since, self.change) = (since, change)
    }

    /// Walks both, by descriptor. The order is that of the names' bytes, a folder before what is in it.
    ///
    /// - Parameter since: what was changed later is no longer as the image has it.
    static func run(
        _ copy: Owned<Descriptor>, _ image: LayeredFolder, since: Moment, _ change: @escaping (FileChange) -> Void
    ) throws(Problem) {
        var walk = CopyComparison(since: since, change)
        let isChanged = try explaining("cannot compare /") { () throws(KernelError) in
            try since.isBefore(copy.value.node())
        }
        try walk.folder(copy, image, [], isChanged: isChanged, depth: 0)
    }

    private mutating func folder(
        _ copy: Owned<Descriptor>, _ image: LayeredFolder?, _ path: [UInt8], isChanged: Bool, depth: Int
    ) throws(Problem) {
        let what = "cannot compare \(FileName(path + [0x2f])!)"
        guard depth < 400 else { throw Problem(what, "it is deeper than 400 folders") }
        let (names, gone) = try explaining(what) { () throws(KernelError) -> ([FileName], Set<FileName>) in
            let names = try copy.value.names()
            guard isChanged, let image else { return (names, []) }
            return (names, Set(try image.names()).subtracting(names).filter { CopyComparison.isCopied(image, $0) })
        }
        for name in (names + gone).sorted() {
            guard let whole = FileName(path + [0x2f] + name.bytes) else { continue }
            if gone.contains(name) {
                tell(.deleted, whole)
                continue
            }
            // Gone since the folder was read.
            guard let node = try? copy.value.node(name) else { continue }
            let before = image?.node(name)
            let isOther = before.map { self.isOther(node, $0, underChanged: isChanged) } ?? true
            if isOther { tell(before == nil ? .added : .changed, whole) }
            guard node.kind == .folder else { continue }
            let next: (copy: Owned<Descriptor>, image: LayeredFolder?)
            do throws(KernelError) {
                next.copy = Owned(try copy.value.open(name, [.read, .folder, .noFollow]))
                next.image = before?.kind == .folder ? try image?.folder(name) : nil
            } catch {
                if error.number == Errno.missing { continue }
                throw Problem(what, error)
            }
            if !isOther { pending.append(whole) }
            try folder(next.copy, next.image, whole.bytes, isChanged: isOther, depth: depth + 1)
            if pending.last == whole { pending.removeLast() }
        }
    }

    private mutating func tell(_ kind: FileChange.Kind, _ path: FileName) {
        for folder in pending { change(FileChange(.changed, folder)) }
        pending.removeAll()
        change(FileChange(kind, path))
    }

    private func isOther(_ node: Node, _ before: Node, underChanged: Bool) -> Bool {
        if node.kind != before.kind || since.isBefore(node) { return true }
        guard underChanged, node.kind != .folder else { return false }
        return node.size != before.size || node.modified != before.modified
    }

    /// Devices and sockets are not.
    private static func isCopied(_ image: LayeredFolder, _ name: FileName) -> Bool {
        switch image.node(name)?.kind {
        case .file, .folder, .link, .pipe: true
        case .character, .block, .socket, nil: false
        }
    }

    /// A time of a file system's, in seconds since 1970 and nanoseconds.
    struct Moment: Equatable {
        let seconds: Int64
        let nanoseconds: UInt32

        /// Whether something was changed at it or later.
        func isBefore(_ node: Node) -> Bool {
            (node.changed.seconds, node.changed.nanoseconds) >= (seconds, nanoseconds)
        }

        var text: String { "\(seconds).\(nanoseconds)" }

        init(_ node: Node) { (seconds, nanoseconds) = node.changed }

        init?(_ text: String) {
            let parts = text.split(separator: ".")
            guard parts.count == 2, let seconds = Int64(parts[0]), let nanoseconds = UInt32(parts[1]) else {
                return nil
            }
            (self.seconds, self.nanoseconds) = (seconds, nanoseconds)
        }
    }
}
