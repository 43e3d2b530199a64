public import LinuxKernel

/// Writes a tree into an archive, by descriptor from its root on: what somebody exchanges meanwhile is met as what it
/// is by then, and never leads out of the folder that it is in.
///
/// Only plain files and folders are ever opened (open(2) of a pipe waits, that of a device may do anything): each name
/// is taken with O_PATH, looked at, and then opened through this process's own descriptors.
public final class TarPacker {
    public struct Options: Sendable {
        /// Nothing of another mount than this one: a folder that one covers comes out empty.
        public var onlyMount: UInt64?
        /// Device nodes are written too.
        public var devices = false
        /// Which extended attributes are written: `user.*`, and with `capabilities` security.capability.
        public var attributes = false
        /// It becomes a layer of an image; see ``Layer``.
        public var layer: Layer?
        /// Paths that are no part of it, with all that is below them.
        public var leavesOut: Set<FileName> = []
        public init() {}
    }

    /// How a tree becomes a layer (image-spec, layer.md): its own folder has no entry, for the one below stays as it is.
    public enum Layer: Sendable {
        /// All of it is new.
        case tree
        /// It is an overlay's upper folder: what that hides of the folders below becomes whiteouts.
        case changes
        /// Of a tree, what a list names.
        case listed(Changes)

        var isOverlays: Bool { if case .changes = self { true } else { false } }
    }

    /// What a layer changes, by the paths in its archive.
    public struct Changes: Sendable {
        fileprivate var there: Set<FileName> = []
        /// By the folder that they were in.
        fileprivate var gone: [FileName: [FileName]] = [:]

        public init() {}

        /// - Parameter path: begins with "/".
        public mutating func add(_ path: FileName, isGone: Bool) {
            guard let path = FileName([0x2e] + path.bytes), let slash = path.bytes.lastIndex(of: 0x2f),
                let name = FileName(path.bytes[(slash + 1)...]), let folder = FileName(path.bytes[..<slash])
            else { return }
            if isGone { gone[folder, default: []].append(name) } else { there.insert(path) }
        }
    }

    /// The deepest tree that is walked: each level holds a descriptor.
    public static let deepest = 400
    /// Files with so many names, at most, are known again; further ones come out as files of their own.
    private static let mostLinked = 1_000_000
    private static let mostExtents = 4096

    /// Has each member before it is written, and may change it. What it throws ends the work.
    var prepare: ((inout TarEntry) throws(Problem) -> Void)?
    private let writer: TarWriter
    private let options: Options
    private let own: OwnDescriptors
    private let notice: (String) -> Void
    private var linked: [Identity: FileName] = [:]
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 4096)

    private struct Identity: Hashable {
        let device: UInt64
        let inode: UInt64
    }

    /// - Parameter notice: told what was left out, in words.
    public init(
        _ writer: TarWriter, own: consuming OwnDescriptors, options: Options, notice: @escaping (String) -> Void
    ) {
        self.writer = writer
        self.own = own
        self.options = options
        self.notice = notice
    }

    deinit { buffer.deallocate() }

    /// Writes what a descriptor (O_PATH) stands for, under a path, with all that is below it.
    public func pack(_ place: borrowing Descriptor, link target: FileName?, as path: FileName) throws(Problem) {
        try pack(place, target: target, path, depth: 0)
    }

    private func pack(
        _ place: borrowing Descriptor, target: FileName?, _ path: FileName, depth: Int
    ) throws(Problem) {
        let node = try explaining("cannot read \(path)") { () throws(KernelError) in try place.node() }
        if options.leavesOut.contains(path) { return }
        if case .listed(let changes) = options.layer, depth > 0, !changes.there.contains(path) { return }
        if options.layer != nil { try refuseMark(path) }
        if let mount = options.onlyMount, node.mount != mount {
            return try begin(placeholder(node, path))
        }
        if options.layer?.isOverlays == true, node.isWhiteout {
            return try begin(whiteout(path.bytes.split(separator: 0x2f).last ?? [], besides: path))
        }
        switch node.kind {
        case .folder: try folder(place, node, path, depth)
        case .file: try file(place, node, path)
        case .link:
            var entry = entry(.link, node, path)
            entry.target = target ?? FileName("")
            if try !writeAsLink(node, path) { try begin(entry) }
        case .pipe: if try !writeAsLink(node, path) { try begin(entry(.pipe, node, path)) }
        case .block, .character:
            guard options.devices else {
                // Of a layer nobody expects any: a sandbox has devices of its own.
                if options.layer == nil { notice("\(path) is a device, and was left out") }
                return
            }
            var entry = entry(node.kind == .block ? .block : .character, node, path)
            entry.deviceNumber = node.deviceNumber
            if try !writeAsLink(node, path) { try begin(entry) }
        case .socket: notice("\(path) is a socket, and was left out")
        }
    }

    // MARK: Layers

    /// What a file of that name would mean in a layer is that another one is gone.
    private func refuseMark(_ path: FileName) throws(Problem) {
        let name = path.bytes.split(separator: 0x2f).last ?? []
        guard name.starts(with: LayerMarks.prefix) else { return }
        throw Problem(
            "cannot make a layer with \(path)", "in a layer such a name means that another file is gone",
            hint: "give it a name that does not begin with .wh.")
    }

    private func whiteout(_ name: some Sequence<UInt8>, besides path: FileName) -> TarEntry {
        let folder = path.bytes.lastIndex(of: 0x2f).map { path.bytes[...$0] } ?? []
        return TarEntry(
            path: FileName(Array(folder) + LayerMarks.prefix + name) ?? path, kind: .file, mode: 0o600, uid: 0, gid: 0,
            size: 0, modified: (0, 0))
    }

    // MARK: Kinds

    private func entry(_ kind: TarEntry.Kind, _ node: Node, _ path: FileName) -> TarEntry {
        TarEntry(
            path: path, kind: kind, mode: node.mode, uid: node.uid, gid: node.gid, size: 0, modified: node.modified)
    }

    /// Where something is mounted: a place for it, with nothing of what is there now.
    private func placeholder(_ node: Node, _ path: FileName) -> TarEntry {
        let isFolder = node.kind == .folder
        return TarEntry(
            path: path, kind: isFolder ? .folder : .file, mode: isFolder ? node.mode : 0o644, uid: 0, gid: 0, size: 0,
            modified: (0, 0))
    }

    private func folder(
        _ place: borrowing Descriptor, _ node: Node, _ path: FileName, _ depth: Int
    ) throws(Problem) {
        guard depth < TarPacker.deepest else {
            throw Problem(
                "cannot read \(FileName(path.bytes.prefix(80))!)...", "it is deeper than \(TarPacker.deepest) folders",
                hint: "copy its parts")
        }
        let what = "cannot read the folder \(path)"
        var entry = entry(.folder, node, path)
        let opened = try explaining(what) { () throws(KernelError) -> Owned in
            let opened = Owned(try own.reopen(place, [.read, .folder]))
            entry.attributes = try attributes(of: opened.descriptor)
            return opened
        }
        if depth > 0 || options.layer == nil { try begin(entry) }
        if depth > 0, options.layer?.isOverlays == true, opened.descriptor.isOpaque() {
            let inside = FileName(path.bytes + [0x2f] + LayerMarks.opaque.bytes) ?? path
            try begin(whiteout(LayerMarks.opaque.bytes.dropFirst(4), besides: inside))
        }
        if case .listed(let changes) = options.layer {
            for name in changes.gone[path] ?? [] {
                guard let gone = FileName(path.bytes + [0x2f] + name.bytes), !options.leavesOut.contains(gone) else {
                    continue
                }
                try begin(whiteout(name.bytes, besides: gone))
            }
        }
        // What the kernel makes up as it is read is no tree of files.
        if depth > 0, try explaining(what, { () throws(KernelError) in try isKernels(opened.descriptor) }) { return }
        let names = try explaining(what) { () throws(KernelError) in try opened.descriptor.names() }
        for name in names {
            let below = path.bytes == [0x2e] ? [0x2e, 0x2f] + name.bytes : path.bytes + [0x2f] + name.bytes
            guard let below = FileName(below) else { continue }
            let child: Owned
            do throws(KernelError) {
                child = Owned(try opened.descriptor.open(name, [.pathOnly, .noFollow]))
            } catch {
                if error.number == Errno.missing { continue }  // gone since the folder was read
                throw Problem("cannot read \(below)", error)
            }
            try pack(child.descriptor, target: link(child.descriptor), below, depth: depth + 1)
        }
    }

    /// Where a link points; nil: it is none. By the very inode that was opened (readlinkat(2) with an empty path).
    private func link(_ place: borrowing Descriptor) -> FileName? { try? place.link(FileName("")) }

    private func file(_ place: borrowing Descriptor, _ node: Node, _ path: FileName) throws(Problem) {
        if try writeAsLink(node, path) { return }
        let what = "cannot read \(path)"
        let (opened, now) = try explaining(what) { () throws(KernelError) -> (Owned, Node) in
            let opened = Owned(try own.reopen(place, [.read]))
            return (opened, try opened.descriptor.node())
        }
        var entry = entry(.file, now, path)
        entry.size = now.size
        try explaining(what) { () throws(KernelError) in
            entry.attributes = try attributes(of: opened.descriptor)
            if now.stored < now.size, now.size <= UInt64(Int64.max) {
                entry.extents = try extents(opened.descriptor, size: now.size)
            }
        }
        // Files of procfs and sysfs have contents and a size of 0 or a page: read first, and then told.
        if now.size <= 4096, try explaining(what, { () throws(KernelError) in try isKernels(opened.descriptor) }) {
            var bytes = try explaining(what) { () throws(KernelError) in
                try opened.descriptor.readAll(limit: 16 << 20)
            }
            (entry.size, entry.extents) = (UInt64(bytes.count), nil)
            try begin(entry)
            return try written(what) { () throws(KernelError) in
                try withBytes(of: &bytes) { bytes throws(KernelError) in
                    try writer.write(UnsafeRawBufferPointer(bytes))
                }
            }
        }
        try begin(entry)
        for extent in entry.extents ?? [TarEntry.Extent(offset: 0, count: now.size)] where extent.count > 0 {
            if extent.offset > 0 {
                try explaining(what) { () throws(KernelError) in
                    try opened.descriptor.seek(to: Int64(extent.offset))
                }
            }
            try copy(opened.descriptor, extent.count, path)
        }
    }

    private func copy(_ file: borrowing Descriptor, _ count: UInt64, _ path: FileName) throws(Problem) {
        var left = count
        var isShort = false
        while left > 0 {
            let wanted = Int(min(left, UInt64(buffer.count)))
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted])
            var read = 0
            if !isShort {
                read = try explaining("cannot read \(path)") { () throws(KernelError) in try file.read(into: part) }
            }
            if read == 0 {
                // It was cut while it was read: the header has promised its length.
                if !isShort { notice("\(path) became shorter while it was read; its end is zeros") }
                isShort = true
                part.initializeMemory(as: UInt8.self, repeating: 0)
                read = wanted
            }
            try written("cannot write the archive") { () throws(KernelError) in
                try writer.write(UnsafeRawBufferPointer(rebasing: part[..<read]))
            }
            left -= UInt64(read)
        }
    }

    /// The second name of a file that is in the archive already is written as a hard link to it.
    private func writeAsLink(_ node: Node, _ path: FileName) throws(Problem) -> Bool {
        guard node.links > 1 else { return false }
        let identity = Identity(device: node.device, inode: node.inode)
        guard let first = linked[identity] else {
            if linked.count < TarPacker.mostLinked { linked[identity] = path }
            return false
        }
        var entry = entry(.hardLink, node, path)
        entry.target = first
        try begin(entry)
        return true
    }

    // MARK: What is read of a file

    private func attributes(of file: borrowing Descriptor) throws(KernelError) -> [(name: String, value: [UInt8])] {
        guard options.attributes else { return [] }
        var list: [(name: String, value: [UInt8])] = []
        var bytes = 0
        let names: [String]
        do throws(KernelError) { names = try file.attributes() } catch {
            if error.number == Errno.notSupported { return [] }
            throw error
        }
        for name in names.sorted() where TarAttribute.isKept(name) {
            // Gone since the list was read, or not for this reader.
            guard let value = try? file.attribute(name) else { continue }
            bytes += name.utf8.count + value.count + 32
            if bytes < Int(TarPax.limit) - 16384 { list.append((name, value)) }
        }
        return list
    }

    /// Where a file's data is. One with very many holes has its last ones written as zeros.
    private func extents(_ file: borrowing Descriptor, size: UInt64) throws(KernelError) -> [TarEntry.Extent]? {
        var extents: [TarEntry.Extent] = []
        var at: Int64 = 0
        while at < Int64(size) {
            let start: Int64?
            do throws(KernelError) { start = try file.data(from: at) } catch {
                if error.number == Errno.invalid { return nil }  // the file system cannot tell
                throw error
            }
            guard let start, start < Int64(size) else { break }
            var end = min(try file.hole(from: start), Int64(size))
            if extents.count == TarPacker.mostExtents - 1 { end = Int64(size) }
            guard end > start else { break }
            extents.append(TarEntry.Extent(offset: UInt64(start), count: UInt64(end - start)))
            at = end
        }
        if extents == [TarEntry.Extent(offset: 0, count: size)] { return nil }
        try file.seek(to: 0)
        return extents
    }

    /// proc, sysfs, devpts, cgroup, cgroup2, mqueue, bpf, debugfs, tracefs, securityfs (statfs(2)).
    private func isKernels(_ place: borrowing Descriptor) throws(KernelError) -> Bool {
        [
            0x9fa0, 0x6265_6572, 0x1cd1, 0x27_e0eb, 0x6367_7270, 0x1980_0202, 0xcafe_4a11, 0x6462_6720, 0x7472_6163,
            0x7363_6673,
        ].contains(try place.fileSystem())
    }

    private func begin(_ entry: TarEntry) throws(Problem) {
        var entry = entry
        try prepare?(&entry)
        try written("cannot write the archive") { () throws(KernelError) in try writer.begin(entry) }
    }

    private func written(_ what: String, _ body: () throws(KernelError) -> Void) throws(Problem) {
        do throws(KernelError) { try body() } catch { throw Problem(what, error) }
    }
}

/// A descriptor shared by reference, for tuples and collections.
final class Owned {
    let descriptor: Descriptor
    init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }
}

/// Which extended attributes go into an archive, and out of one.
enum TarAttribute {
    static let capability = "security.capability"

    /// Not an overlay's own marks, and nothing of the machine's security modules.
    static func isKept(_ name: String) -> Bool {
        name == capability || (name.hasPrefix("user.") && !name.hasPrefix("user.overlay."))
    }
}
