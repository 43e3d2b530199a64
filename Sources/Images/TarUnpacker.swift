public import LinuxKernel

/// Writes an archive's members below a folder, by descriptor, and nowhere else.
///
/// Each part of a member's path is opened from the folder above it and must be a folder itself: a link in the way is
/// an error, whoever put it there and when. Files are made new (O_EXCL) and put in their place by a rename, so that
/// nothing that stands there is opened, followed or written to.
public final class TarUnpacker {
    public struct Options: Sendable {
        /// Files get the owners that the archive has for them; otherwise they are the caller's.
        public var owners = false
        /// setuid and setgid bits stay.
        public var setIDs = false
        /// `user.*` attributes, and security.capability, are set.
        public var attributes = false
        public var capabilities = false
        /// The folder is new, and nobody else writes to it: files are made under their own names at once.
        public var isFresh = false
        /// How many members, of how many bytes together, how deep in folders.
        public var mostMembers: UInt64 = .max
        public var mostBytes: UInt64 = .max
        public var deepest = 256
        /// "/bin" is "bin": some tools write layers so.
        public var takesAbsolute = false
        public init() {}
    }

    /// A folder on the way to the present member.
    private struct Level {
        let name: FileName
        let folder: Owned
        /// Set when it is left, because what is put into it changes its time, and its mode may keep us out.
        var pending: TarEntry?
        /// Of a folder that was made earlier and is entered again: what is put into it must not change its time.
        var modified: (seconds: Int64, nanoseconds: UInt32)?
    }

    /// Set for a layer of an image: its whiteouts are put in overlayfs's form.
    var layer: LayerMarks?
    private let reader: TarReader
    let options: Options
    let notice: (String) -> Void
    private let root: Owned
    private var levels: [Level] = [] { didSet { usual.owner = nil } }
    var usual: Usual
    private var rootPending: TarEntry?
    private var members: UInt64 = 0
    private var bytes: UInt64 = 0
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 4096)
    /// To name files that have none; nil: they are made under the temporary name.
    private let own: OwnDescriptors?
    private let temporary = FileName(".codex32-\(Machine.randomHex(bytes: 8)).part")

    public init(
        _ reader: TarReader, into root: consuming Descriptor, options: Options, notice: @escaping (String) -> Void
    ) {
        self.reader = reader
        self.options = options
        self.notice = notice
        usual = Usual(root, isFresh: options.isFresh)
        self.root = Owned(root)
        own = options.isFresh ? nil : try? OwnDescriptors()
    }

    deinit { buffer.deallocate() }

    /// Unpacks all that is left of the archive.
    ///
    /// - Parameters:
    ///   - first: a member that was read already.
    ///   - rename: where a member goes, by the parts of its path; the same for the targets of hard links.
    public func unpack(
        first: TarEntry? = nil, rename: ([FileName]) -> [FileName] = { $0 }
    ) throws(Problem) {
        if let first { try put(first, rename) }
        while let entry = try reader.next() { try put(entry, rename) }
        while !levels.isEmpty { try leave() }
        try layer?.finish(root)
        if let rootPending { try settle(root.descriptor, rootPending) }
    }

    private func put(_ entry: TarEntry, _ rename: ([FileName]) -> [FileName]) throws(Problem) {
        members += 1
        guard members <= options.mostMembers else {
            throw Problem(
                "cannot unpack the archive", "it has more than \(options.mostMembers) members",
                hint: "--max-files raises the limit")
        }
        try count(entry.size)
        let parts = rename(try parts(of: entry.path))
        if try layer?.isPassedOver(parts) == true { return }
        guard parts.count <= options.deepest else {
            throw Problem("cannot unpack \(entry.path)", "it is deeper than \(options.deepest) folders")
        }
        guard let name = parts.last else {
            guard entry.kind == .folder else {
                throw Problem("cannot unpack \(entry.path)", "the archive's own root is no folder")
            }
            if options.isFresh { rootPending = entry }
            return
        }
        try enter(parts.dropLast(), for: entry)
        let parent = levels.last?.folder ?? root
        if let layer, try layer.mark(name, parts.dropLast(), in: parent.descriptor) { return }
        switch entry.kind {
        case .folder: try makeFolder(entry, name, parent)
        case .file: try makeFile(entry, name, parent)
        case .link:
            try place(entry, name, parent) { name throws(KernelError) in
                try parent.descriptor.makeLink(name, to: entry.target)
                try settleName(entry, name, parent.descriptor)
            }
        case .pipe:
            try place(entry, name, parent) { name throws(KernelError) in
                try parent.descriptor.makePipe(name, mode: entry.mode & 0o777 | (options.isFresh ? 0o600 : 0))
                try settleName(entry, name, parent.descriptor)
                // Whatever the caller's umask is. Where others write too, what has the name by now is not opened.
                guard options.isFresh else { return }
                try parent.descriptor.open(name, [.read, .noFollow, .nonblocking]).setMode(entry.mode & 0o777)
            }
        case .hardLink: try makeHardLink(entry, name, parent, rename)
        case .character, .block: notice("\(entry.path) is a device, and was left out")
        }
    }

    private func count(_ size: UInt64) throws(Problem) {
        bytes &+= size
        guard size <= options.mostBytes, bytes <= options.mostBytes else {
            throw Problem(
                "cannot unpack the archive", "its files are larger than \(options.mostBytes) bytes together",
                hint: "--max-size raises the limit")
        }
    }

    private func parts(of path: FileName) throws(Problem) -> [FileName] {
        guard options.takesAbsolute, path.bytes.first == 0x2f else { return try TarEntry.parts(of: path) }
        return try TarEntry.parts(of: FileName(path.bytes.drop { $0 == 0x2f }) ?? path)
    }

    // MARK: Folders

    /// Goes to a folder, from where the last member was; missing ones are made.
    private func enter(_ parts: ArraySlice<FileName>, for entry: TarEntry) throws(Problem) {
        var common = 0
        while common < min(parts.count, levels.count), levels[common].name == parts[common] { common += 1 }
        while levels.count > common { try leave() }
        for part in parts[common...] {
            let parent = levels.last?.folder ?? root
            let isOpaque = try layer?.replaces(part, levels.map(\.name), in: parent.descriptor) == true
            let (folder, isNew) = try explainingWalk(entry, part) { () throws(KernelError) -> (Owned, Bool) in
                do throws(KernelError) { return (Owned(try open(part, in: parent.descriptor)), false) } catch {
                    guard error.number == Errno.missing else { throw error }
                    try parent.descriptor.makeFolder(part, mode: 0o755)
                    return (Owned(try open(part, in: parent.descriptor)), true)
                }
            }
            if isOpaque { try layer?.makeOpaque(folder.descriptor) }
            let pending = isNew && !isOpaque ? layer?.entry(for: levels.map(\.name) + [part]) : nil
            let modified = options.isFresh && !isNew ? try? folder.descriptor.node().modified : nil
            levels.append(Level(name: part, folder: folder, pending: pending, modified: modified))
        }
    }

    private func open(_ name: FileName, in folder: borrowing Descriptor) throws(KernelError) -> Descriptor {
        try folder.open(name, [.read, .folder, .noFollow])
    }

    private func explainingWalk<Result>(
        _ entry: TarEntry, _ part: FileName, _ body: () throws(KernelError) -> Result
    ) throws(Problem) -> Result {
        do throws(KernelError) { return try body() } catch {
            guard error.number == Errno.notFolder || error.number == Errno.loop else {
                throw Problem("cannot write \(entry.path)", error, hint: TarUnpacker.hint(error))
            }
            throw Problem(
                "cannot write \(entry.path)", "\(part) on its way is no folder, or a link",
                hint: "nothing is written through links: name the folder itself")
        }
    }

    private func leave() throws(Problem) {
        let level = levels.removeLast()
        if let pending = level.pending { return try settle(level.folder.descriptor, pending) }
        if let time = level.modified { try? level.folder.descriptor.setModified(time.seconds, time.nanoseconds) }
    }

    private func makeFolder(_ entry: TarEntry, _ name: FileName, _ parent: Owned) throws(Problem) {
        let isOpaque = try layer?.replaces(name, levels.map(\.name), in: parent.descriptor) == true
        let (folder, isNew) = try explainingWalk(entry, name) { () throws(KernelError) -> (Owned, Bool) in
            do throws(KernelError) {
                try parent.descriptor.makeFolder(name, mode: 0o700)
                return (Owned(try open(name, in: parent.descriptor)), true)
            } catch {
                guard error.number == Errno.exists else { throw error }
                return (Owned(try open(name, in: parent.descriptor)), false)
            }
        }
        if isOpaque { try layer?.makeOpaque(folder.descriptor) }
        // One that was there before keeps its owner, mode and time, as with cp(1).
        levels.append(Level(name: name, folder: folder, pending: isNew || options.isFresh ? entry : nil))
    }

    // MARK: Files and other names

    /// Makes something under a name of its own and puts it in its place; in a fresh folder, there at once.
    private func place(
        _ entry: TarEntry, _ name: FileName, _ parent: Owned, _ make: (FileName) throws(KernelError) -> Void
    ) throws(Problem) {
        do throws(KernelError) {
            if options.isFresh {
                do throws(KernelError) { return try make(name) } catch {
                    // A second member of the same name takes the first one's place.
                    guard error.number == Errno.exists else { throw error }
                    try parent.descriptor.remove(name)
                    layer?.forget(levels.map(\.name) + [name])
                    return try make(name)
                }
            }
            do throws(KernelError) {
                try make(temporary)
                try parent.descriptor.rename(temporary, to: name)
                // Two names of one file are left as they are by rename(2).
                if entry.kind == .hardLink { try? parent.descriptor.remove(temporary) }
            } catch {
                try? parent.descriptor.remove(temporary)
                throw error
            }
        } catch {
            if error.number == Errno.isFolder {
                throw Problem(
                    "cannot write \(entry.path)", "a folder stands in its place",
                    hint: "take the folder away, or copy to another name")
            }
            throw Problem("cannot write \(entry.path)", error, hint: TarUnpacker.hint(error))
        }
    }

    private func makeFile(_ entry: TarEntry, _ name: FileName, _ parent: Owned) throws(Problem) {
        var failure: Problem?
        do throws(Problem) {
            try place(entry, name, parent) { name throws(KernelError) in
                let new = try create(name, parent, entry)
                do throws(Problem) { try fill(new.file, entry) } catch {
                    failure = error
                    // Half a file goes again, and nothing is put in anybody's place.
                    if new.hasName { try? parent.descriptor.remove(name) }
                    throw KernelError("write", number: Errno.canceled)
                }
                try settle(file: new.file, entry, mode: new.mode)
                if !new.hasName { try own?.name(new.file, name, in: parent.descriptor) }
            }
        } catch { throw failure ?? error }
    }

    private struct NewFile: ~Copyable {
        let file: Descriptor
        let hasName: Bool
        /// Of a file of a fresh folder, where it is known.
        var mode: UInt32?
    }

    /// Where the file system can, a new file has no name before it is whole: whoever is killed meanwhile leaves nothing.
    private func create(_ name: FileName, _ parent: Owned, _ entry: TarEntry) throws(KernelError) -> NewFile {
        if let mask = usual.mask {
            let mode = entry.mode & 0o777
            let file = try parent.descriptor.open(name, [.write, .create, .exclusive, .noFollow], mode: mode)
            return NewFile(file: file, hasName: true, mode: mode & ~mask)
        }
        if own != nil {
            do throws(KernelError) {
                return NewFile(file: try parent.descriptor.open(".", [.nameless, .write], mode: 0o600), hasName: false)
            } catch {
                // One that cannot says so (open(2), O_TMPFILE); one that fails otherwise will again.
                guard [Errno.notSupported, Errno.isFolder, Errno.invalid].contains(error.number) else { throw error }
            }
        }
        let file = try parent.descriptor.open(name, [.write, .create, .exclusive, .noFollow], mode: 0o600)
        return NewFile(file: file, hasName: true)
    }

    private func fill(_ file: borrowing Descriptor, _ entry: TarEntry) throws(Problem) {
        // Text that only an error needs costs as much as the rest of a small file.
        func what() -> String { "cannot write \(entry.path)" }
        for extent in entry.extents ?? [TarEntry.Extent(offset: 0, count: entry.size)] {
            if extent.offset > 0 {
                try explaining(what()) { () throws(KernelError) in try file.seek(to: Int64(extent.offset)) }
            }
            var left = extent.count
            while left > 0 {
                let part = UnsafeMutableRawBufferPointer(
                    rebasing: buffer[..<Int(min(left, UInt64(buffer.count)))])
                let count = try reader.read(into: part)
                guard count > 0 else { throw Problem("cannot read the archive", "it ends inside of \(entry.path)") }
                var done = 0
                while done < count {
                    done += try explaining(what()) { () throws(KernelError) in
                        try file.write(some: UnsafeRawBufferPointer(rebasing: part[done..<count]))
                    }
                }
                left -= UInt64(count)
            }
        }
        if entry.extents != nil {
            try explaining(what()) { () throws(KernelError) in try file.truncate(Int64(entry.size)) }
        }
    }

    private func makeHardLink(
        _ entry: TarEntry, _ name: FileName, _ parent: Owned, _ rename: ([FileName]) -> [FileName]
    ) throws(Problem) {
        let parts = rename(try parts(of: entry.target))
        guard let old = parts.last else { throw Problem("cannot write \(entry.path)", "it is a link to a folder") }
        var folder: Owned? = root
        for part in parts.dropLast() {
            guard let above = folder else { break }
            folder = try explainingWalk(entry, part) { () throws(KernelError) in
                do throws(KernelError) { return Owned(try open(part, in: above.descriptor)) } catch {
                    guard layer != nil, error.number == Errno.missing else { throw error }
                    return nil
                }
            }
        }
        let node = folder.flatMap { try? $0.descriptor.node(old) }
        if let layer, node.map(LayerMarks.hides) ?? true {
            return try linkBelow(entry, parts, name, parent, layer)
        }
        guard let folder else { return }
        try place(entry, name, parent) { name throws(KernelError) in
            try parent.descriptor.makeHardLink(name, to: old, in: folder.descriptor)
        }
    }

    /// A link of a layer to a file that only the layers below have.
    private func linkBelow(
        _ entry: TarEntry, _ parts: [FileName], _ name: FileName, _ parent: Owned, _ layer: LayerMarks
    ) throws(Problem) {
        let (file, links) = try explainingWalk(entry, entry.target) { () throws(KernelError) in
            try layer.linkBelow(parts, from: root)
        }
        if !links.has(parts) { try count(file.node.size) }
        try place(entry, name, parent) { name throws(KernelError) in
            try links.link(file, parts, as: name, in: parent.descriptor, levels.map(\.name), from: root)
        }
    }
}
