internal import LinuxKernel

/// A layer with files of the machine's, as root's of the image. Where they go is walked in the layers below, by
/// descriptor and without a mount; links there are followed within the image.
final class CopyLayer {
    private let tree: LayeredFolder
    private let isFolder: Bool
    private let place: ImagePlace
    private let parts: [FileName]
    private let source: Node
    private let notice: (String) -> Void
    private let what: String
    /// The image's folders on the way to the present member; nil: it has none there.
    private var levels: [(name: FileName, folder: LayeredFolder?)] = []

    /// - Parameter folders: the image's layers, top first.
    init(
        _ folders: [String], _ place: borrowing Descriptor, name: FileName, to destination: String,
        notice: @escaping (String) -> Void
    ) throws(Problem) {
        let what = "cannot copy to \(destination)"
        (self.what, self.notice) = (what, notice)
        source = try explaining(what) { () throws(KernelError) in try place.node() }
        tree = try explaining(what) { () throws(KernelError) in try LayeredFolder(folders) }
        isFolder = source.kind == .folder
        self.place = try ImagePlace(destination, in: tree, what)
        if isFolder {
            parts = self.place.parts
            guard self.place.end != .other else {
                throw Problem(
                    what, "there it is a file, and a folder is to go there", hint: "name a folder, or a new one")
            }
        } else if self.place.end == .folder || destination.hasSuffix("/") {
            guard self.place.end != .other else {
                throw Problem(what, "it is no folder", hint: "leave out the / at its end")
            }
            parts = self.place.parts + [name]
        } else {
            parts = self.place.parts
        }
    }

    func write(_ place: borrowing Descriptor, to sink: any ByteSink) throws(Problem) {
        let writer = TarWriter(sink)
        for count in 1..<max(1, parts.count + (isFolder ? 1 : 0)) {
            let entry = folder(Array(parts[..<count]))
            try explaining(what) { () throws(KernelError) in try writer.begin(entry) }
        }
        var options = TarPacker.Options()
        options.layer = .tree
        let own = try explaining("cannot use /proc") { () throws(KernelError) in try OwnDescriptors() }
        let packer = TarPacker(writer, own: own, options: options, notice: notice)
        packer.prepare = { entry throws(Problem) in try self.prepare(&entry) }
        try packer.pack(place, link: nil, as: parts.isEmpty ? FileName(".") : CopyLayer.path(parts))
        try explaining(what) { () throws(KernelError) in try writer.finish() }
    }

    private static func path(_ parts: [FileName]) -> FileName {
        FileName(parts.map(\.bytes).joined(separator: [0x2f])) ?? FileName(".")
    }

    /// A folder above what is copied, or the one that its contents go to: as the image has it, or a new one.
    private func folder(_ parts: [FileName]) -> TarEntry {
        if parts.count < place.folders.count, let node = place.folders[parts.count] {
            return CopyLayer.entry(CopyLayer.path(parts), node)
        }
        let isTop = isFolder && parts.count == self.parts.count
        return TarEntry(
            path: CopyLayer.path(parts), kind: .folder, mode: isTop ? source.mode : 0o755, uid: 0, gid: 0, size: 0,
            modified: source.modified)
    }

    /// In an ordinary user's store all files are theirs, whoever the image says owns them.
    private static func entry(_ path: FileName, _ node: Node) -> TarEntry {
        let isRoot = Machine.isRoot
        return TarEntry(
            path: path, kind: .folder, mode: node.mode, uid: isRoot ? node.uid : 0, gid: isRoot ? node.gid : 0, size: 0,
            modified: node.modified)
    }

    private func prepare(_ entry: inout TarEntry) throws(Problem) {
        (entry.uid, entry.gid, entry.attributes) = (0, 0, [])
        let parts = try TarEntry.parts(of: entry.path)
        guard let name = parts.last, let node = try folder(above: parts)?.node(name) else { return }
        let what = "cannot copy to /\(entry.path)"
        switch (entry.kind, node.kind) {
        // One that is there keeps its owner, mode and time, as with cp(1).
        case (.folder, .folder): entry = CopyLayer.entry(entry.path, node)
        case (.folder, .link):
            throw Problem(
                what, "in the image it is a link, which a folder would take the place of",
                hint: "copy to the folder that it leads to")
        case (.folder, _):
            throw Problem(what, "in the image it is a file, and here a folder", hint: "copy to another folder")
        case (_, .folder):
            throw Problem(what, "in the image it is a folder, and here none", hint: "copy to another name")
        default: break
        }
    }

    /// Members come in the order of the tree: most have the same folder as the one before.
    private func folder(above parts: [FileName]) throws(Problem) -> LayeredFolder? {
        let above = parts.dropLast()
        var common = 0
        while common < min(above.count, levels.count), levels[common].name == above[common] { common += 1 }
        levels.removeLast(levels.count - common)
        for name in above[common...] {
            let parent = levels.isEmpty ? tree : levels[levels.count - 1].folder
            let folder = try explaining(what) { () throws(KernelError) in try parent?.folder(name) }
            levels.append((name, folder))
        }
        return levels.isEmpty ? tree : levels[levels.count - 1].folder
    }
}

/// Where a path leads in an image that nothing is mounted of.
struct ImagePlace {
    enum End { case missing, folder, other }
    /// Without links.
    let parts: [FileName]
    /// Those that the image has on the way, by how many parts lead to them.
    let folders: [Node?]
    let end: End

    init(_ path: String, in tree: LayeredFolder, _ what: String) throws(Problem) {
        var left = Array(path.split(separator: "/").map { FileName(String($0)) }.reversed())
        var way: [(name: FileName, folder: LayeredFolder)] = []
        var missing: [FileName] = []
        var links = 0
        var other: FileName?
        while let part = left.popLast() {
            if part.bytes == [0x2e] { continue }
            if part.bytes == [0x2e, 0x2e] {
                if missing.isEmpty { _ = way.popLast() } else { missing.removeLast() }
                continue
            }
            let folder = way.last?.folder ?? tree
            guard missing.isEmpty, let (node, parent) = folder.place(part) else {
                missing.append(part)
                continue
            }
            if node.kind == .link {
                links += 1
                guard links <= 40 else { throw Problem(what, "the image's links on its way lead in a circle") }
                let target = try explaining(what) { () throws(KernelError) in try parent.link(part) }
                if target.bytes.first == 0x2f { way.removeAll() }
                left += target.bytes.split(separator: 0x2f).compactMap { FileName($0) }.reversed()
                continue
            }
            if let next = try explaining(what, { () throws(KernelError) in try folder.folder(part) }) {
                way.append((part, next))
                continue
            }
            guard left.isEmpty else {
                throw Problem(what, "\(part) on its way is a file of the image", hint: "name another folder")
            }
            other = part
        }
        parts = way.map(\.name) + missing + (other.map { [$0] } ?? [])
        guard parts.allSatisfy({ !$0.bytes.starts(with: LayerMarks.prefix) }) else {
            throw Problem(
                what, "in a layer such a name means that another file is gone",
                hint: "give it a name that does not begin with .wh.")
        }
        var nodes: [Node?] = [nil]
        for (_, folder) in way {
            nodes.append(try explaining(what) { () throws(KernelError) in try folder.node() })
        }
        folders = nodes
        end = other != nil ? .other : missing.isEmpty ? .folder : .missing
    }
}
