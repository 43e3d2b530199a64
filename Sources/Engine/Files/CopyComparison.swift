internal import Images
internal import LinuxKernel

/// What was changed of a copy of an image (``LayerCopy``) since it was made.
///
/// Told by the time of the last change, which no program can set (inode(7), "ctime"), and by which names are there. What is
/// in a folder that was renamed has kept its own: below one that was changed the contents themselves are compared.
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
        try walk.folder(copy, image, [], mayBeMoved: false, depth: 0)
    }

    private mutating func folder(
        _ copy: Owned<Descriptor>, _ image: LayeredFolder?, _ path: [UInt8], mayBeMoved: Bool, depth: Int
    ) throws(Problem) {
        let what = "cannot compare \(FileName(path + [0x2f])!)"
        guard depth < 400 else { throw Problem(what, "it is deeper than 400 folders") }
        let (names, gone) = try explaining(what) { () throws(KernelError) -> ([FileName], Set<FileName>) in
            let names = try copy.value.names()
            guard let image else { return (names, []) }
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
            var isOther = true
            if let before {
                isOther = self.isOther(node, before)
                if !isOther, mayBeMoved, let image { isOther = !CopyComparison.isSame(name, copy, image) }
            }
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
            try folder(next.copy, next.image, whole.bytes, mayBeMoved: mayBeMoved || isOther, depth: depth + 1)
            if pending.last == whole { pending.removeLast() }
        }
    }

    private mutating func tell(_ kind: FileChange.Kind, _ path: FileName) {
        for folder in pending { change(FileChange(.changed, folder)) }
        pending.removeAll()
        change(FileChange(kind, path))
    }

    private func isOther(_ node: Node, _ before: Node) -> Bool {
        if node.kind != before.kind || since.isBefore(node) || node.modified != before.modified { return true }
        return node.kind != .folder && node.size != before.size
    }

    /// Whether two of one kind and size have the same in them. What cannot be read is not.
    private static func isSame(_ name: FileName, _ copy: Owned<Descriptor>, _ image: LayeredFolder) -> Bool {
        guard let (node, parent) = image.place(name) else { return false }
        switch node.kind {
        case .link:
            guard let now = try? copy.value.link(name), let before = try? parent.link(name) else { return false }
            return now == before
        case .file:
            let flags: OpenFlags = [.read, .noFollow, .nonblocking]
            guard let now = try? copy.value.open(name, flags), let before = try? parent.open(name, flags) else {
                return false
            }
            return (try? isSame(now, before)) ?? false
        case .folder, .pipe, .character, .block, .socket: return true
        }
    }

    private static func isSame(
        _ one: borrowing Descriptor, _ other: borrowing Descriptor
    ) throws(KernelError) -> Bool {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 17, alignment: 4096)
        defer { buffer.deallocate() }
        let half = buffer.count / 2
        let (first, second) = (
            UnsafeMutableRawBufferPointer(rebasing: buffer[..<half]),
            UnsafeMutableRawBufferPointer(rebasing: buffer[half...])
        )
        while true {
            let count = try fill(first, one)
            guard try fill(second, other) == count, first[..<count].elementsEqual(second[..<count]) else {
                return false
            }
            if count < half { return true }
        }
    }

    /// As much as there is.
    private static func fill(
        _ buffer: UnsafeMutableRawBufferPointer, _ file: borrowing Descriptor
    ) throws(KernelError) -> Int {
        var have = 0
        while have < buffer.count {
            let count = try file.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[have...]))
            if count == 0 { break }
            have += count
        }
        return have
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
