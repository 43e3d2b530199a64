internal import Images
internal import LinuxKernel

/// A tree that paths are opened in: a container's root, out of which no path leads, or the machine's own, as the
/// caller sees it.
struct WalkedTree: ~Copyable {
    private let root: Descriptor?

    /// A container's.
    init(_ root: borrowing Descriptor) throws(Problem) {
        self.root = try explaining("cannot open the root") { () throws(KernelError) in try root.duplicate() }
    }

    /// The machine's own.
    init() { root = nil }

    /// Links on the way are followed; the last one too.
    borrowing func open(_ path: String, _ flags: OpenFlags) throws(KernelError) -> Descriptor {
        switch root {
        case .some(let root): try root.open(inRoot: FileName(path.isEmpty ? "/" : path), flags)
        case .none: try Descriptor.open(path.isEmpty ? "." : path, flags)
        }
    }
}

/// A path as `cp` takes it, cut at its last name.
struct CopyPath: Equatable {
    /// The folder's part; "": where paths begin.
    let folder: String
    /// The last name; "": the path is a root, or ends in "..".
    let name: String
    /// It ends in "/", so it must be a folder, and a link there is followed.
    let endsInSlash: Bool
    /// It ends in "/.": what is in the folder, not the folder.
    let isContents: Bool

    init(_ path: String) {
        let isContents = path == "." || path.hasSuffix("/.")
        var parts = path.split(separator: "/").filter { $0 != "." }.map(String.init)
        endsInSlash = path.hasSuffix("/") || isContents
        let start = path.hasPrefix("/") ? "/" : ""
        if let last = parts.last, last != ".." {
            parts.removeLast()
            name = last
            self.isContents = isContents
        } else {
            name = ""
            self.isContents = true
        }
        folder = start + parts.joined(separator: "/")
    }

    var whole: String {
        if name.isEmpty { return folder }
        return folder.isEmpty || folder == "/" ? folder + name : "\(folder)/\(name)"
    }
}

/// What is copied, open, and the name that it has in the archive.
struct SourcePlace {
    let place: Owned<Descriptor>
    /// Where it points, of a link.
    let link: FileName?
    /// "." for the contents of a folder.
    let name: FileName

    init(_ text: String, followLinks: Bool, in tree: borrowing WalkedTree) throws(Problem) {
        let path = CopyPath(text)
        let what = "cannot copy \(text)"
        let follows = followLinks || path.endsInSlash || path.name.isEmpty
        let place: Owned<Descriptor>
        do throws(KernelError) {
            if follows {
                place = Owned(try tree.open(path.whole, [.pathOnly]))
            } else {
                let folder = try tree.open(path.folder, [.pathOnly, .folder])
                place = Owned(try folder.open(FileName(path.name), [.pathOnly, .noFollow]))
            }
        } catch { throw Problem(what, error, hint: SourcePlace.hint(error)) }
        let node = try explaining(what) { () throws(KernelError) in try place.value.node() }
        if path.endsInSlash, node.kind != .folder {
            throw Problem(what, "it is not a folder", hint: "leave out the / at its end")
        }
        switch node.kind {
        case .block, .character: throw Problem(what, "it is a device", hint: "only files, folders, links and pipes can")
        case .socket: throw Problem(what, "it is a socket", hint: "only files, folders, links and pipes can")
        default: break
        }
        self.place = place
        link = node.kind == .link ? try? place.value.link(FileName("")) : nil
        name = path.isContents ? FileName(".") : FileName(path.name)
    }

    private static func hint(_ error: KernelError) -> String? {
        switch error.number {
        case Errno.loop: "a link on its way leads in a circle, or is one of procfs's own, which are not followed"
        default: nil
        }
    }
}

/// Where what is copied arrives: docker cp's rules.
///
/// - The destination is a folder: it comes into it, under its own name; with "/." what is in it.
/// - There is nothing yet: it is made under this name, in a folder that must be there.
/// - There is a file: a file takes its place, and a folder does not.
struct Arrival {
    let path: String
    /// One thing and all below it; otherwise a stream of anything, into a folder.
    let isCopy: Bool
    let contents: Bool

    func unpack(
        _ reader: TarReader, _ options: TarUnpacker.Options, into tree: borrowing WalkedTree,
        check: (borrowing Descriptor) throws(Problem) -> Void, notice: @escaping (String) -> Void
    ) throws(Problem) {
        let what = "cannot copy to \(path)"
        let first = try reader.next()
        if let folder = try open(tree, what) {
            try check(folder)
            return try TarUnpacker(reader, into: folder, options: options, notice: notice).unpack(first: first)
        }
        guard isCopy else {
            throw Problem(what, "there is no such folder", hint: "an archive is unpacked into a folder that is there")
        }
        guard let first else { throw Problem(what, "there is nothing to copy") }
        if first.kind != .folder, CopyPath(path).endsInSlash {
            throw Problem(what, "there is no such folder", hint: "make it first, or leave out the / at the end")
        }
        let (place, name, exists) = try parent(tree, what)
        if exists, first.kind == .folder {
            throw Problem(what, "a folder cannot take the place of a file", hint: "name a folder, or nothing yet")
        }
        try check(place.value)
        let contents = contents
        let folder = try explaining(what) { () throws(KernelError) in try place.value.duplicate() }
        try TarUnpacker(reader, into: folder, options: options, notice: notice).unpack(first: first) { parts in
            [name] + (contents ? parts : Array(parts.dropFirst()))
        }
    }

    /// The destination, if it is a folder.
    private func open(_ tree: borrowing WalkedTree, _ what: String) throws(Problem) -> Descriptor? {
        do throws(KernelError) { return try tree.open(CopyPath(path).whole, [.read, .folder]) } catch {
            switch error.number {
            case Errno.missing, Errno.notFolder: return nil
            default: throw Problem(what, error)
            }
        }
    }

    /// The folder of a destination that is none itself, with its name there. A link in its place is followed by
    /// hand, one step at a time, and never by the calls that write.
    private func parent(_ tree: borrowing WalkedTree, _ what: String) throws(Problem) -> (
        Owned<Descriptor>, FileName, Bool
    ) {
        var path = CopyPath(path)
        for _ in 0..<40 {
            guard !path.name.isEmpty else { throw Problem(what, "there is no such folder") }
            let place: Owned<Descriptor>
            do throws(KernelError) { place = Owned(try tree.open(path.folder, [.read, .folder])) } catch {
                throw Problem(
                    what, error, hint: error.number == Errno.missing ? "the folder that it goes to must be there" : nil)
            }
            let name = FileName(path.name)
            guard let node = try? place.value.node(name) else { return (place, name, false) }
            guard node.kind == .link else { return (place, name, true) }
            let target = try explaining(what) { () throws(KernelError) in try place.value.link(name) }.description
            path = CopyPath(target.hasPrefix("/") ? target : "\(path.folder.isEmpty ? "." : path.folder)/\(target)")
        }
        throw Problem(what, "links on its way lead in a circle")
    }
}
