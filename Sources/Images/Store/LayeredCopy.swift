public import LinuxKernel

/// Copies what an image has at a path into an empty folder: what a new volume begins with, as with Docker.
///
/// Files, folders, links and pipes; devices and sockets are no contents. Names of one file stay names of one.
public struct LayeredCopy {
    /// What an owner in the image is on the disk; nil: everything is the caller's.
    private let owner: (@Sendable (_ uid: UInt32, _ gid: UInt32) -> (uid: UInt32, gid: UInt32))?
    /// Bits that change a program's user stay.
    private let setIDs: Bool
    /// And capabilities of a file; in an image that is copied they would speak of the machine's root.
    private let capabilities: Bool
    /// Nested deeper than this nothing is copied.
    private static let deepest = 256

    public init(
        setIDs: Bool = true, capabilities: Bool = false,
        owner: (@Sendable (UInt32, UInt32) -> (uid: UInt32, gid: UInt32))?
    ) {
        (self.owner, self.setIDs, self.capabilities) = (owner, setIDs, capabilities)
    }

    /// The image's folder at a path; nil: it has none, or a link is on the way.
    public static func find(_ path: String, in roots: [String]) throws(KernelError) -> LayeredFolder? {
        var folder = try LayeredFolder(roots)
        for part in path.split(separator: "/") {
            guard let next = try folder.folder(FileName(String(part))) else { return nil }
            folder = next
        }
        return folder
    }

    /// Copies the contents, and gives the target the folder's own owner, mode and time.
    ///
    /// - Parameter most: bytes of all files together.
    /// - Throws: what could not be read or written, E2BIG where there are more bytes; the target holds a part of it then.
    /// - Returns: how many bytes they are.
    @discardableResult
    public func copy(
        _ folder: LayeredFolder, into target: borrowing Descriptor, most: UInt64 = .max
    ) throws(KernelError) -> UInt64 {
        let names = Names(Owned(try target.open(".", [.pathOnly, .folder])), most: most)
        try copy(folder, into: target, [], names)
        return most - names.left
    }

    private func copy(
        _ folder: LayeredFolder, into target: borrowing Descriptor, _ path: [FileName], _ others: Names
    ) throws(KernelError) {
        guard path.count < LayeredCopy.deepest else { throw KernelError("mkdir", number: Errno.tooLong) }
        for name in try folder.names() {
            guard let (node, parent) = folder.place(name) else { continue }
            guard node.kind == .folder else {
                if node.links > 1, try others.link(node, name, in: target) { continue }
                try others.count(node, name)
                try copy(node, name, from: parent, as: name, in: target)
                if node.links > 1 { others.note(node, path + [name]) }
                continue
            }
            guard let next = try folder.folder(name) else { continue }
            try target.makeFolder(name, mode: 0o700)
            try copy(next, into: try target.open(name, [.read, .folder, .noFollow]), path + [name], others)
        }
        if let failure = folder.failure { throw failure }
        guard let node = try folder.node() else { return }
        try settle(target, node, try folder.attributes())
    }

    /// Where in the target files are that have several names, and how many bytes may still come.
    private final class Names {
        private struct File: Hashable {
            let device: UInt64
            let inode: UInt64
        }
        private let root: Owned
        private var paths: [File: [FileName]] = [:]

        private(set) var left: UInt64

        init(_ root: Owned, most: UInt64) { (self.root, left) = (root, most) }

        /// What it takes on the disk: a hole costs nothing.
        func count(_ node: Node, _ name: FileName) throws(KernelError) {
            let bytes = node.kind == .file ? min(node.size, max(node.stored, 1)) : 0
            guard bytes <= left else { throw KernelError("write", name.description, number: Errno.tooBig) }
            left -= bytes
        }

        func note(_ node: Node, _ path: [FileName]) {
            guard [.file, .link, .pipe].contains(node.kind) else { return }
            paths[File(device: node.device, inode: node.inode)] = path
        }

        /// False: it is the first of its names.
        func link(_ node: Node, _ name: FileName, in target: borrowing Descriptor) throws(KernelError) -> Bool {
            guard let path = paths[File(device: node.device, inode: node.inode)], let old = path.last else {
                return false
            }
            var folder = root
            for part in path.dropLast() {
                folder = Owned(try folder.descriptor.open(part, [.pathOnly, .folder, .noFollow]))
            }
            try target.makeHardLink(name, to: old, in: folder.descriptor)
            return true
        }
    }

    /// Copies a file, link or pipe, whose new name must not be there yet.
    func copy(
        _ node: Node, _ name: FileName, from parent: Descriptor.Shared, as new: FileName,
        in target: borrowing Descriptor
    ) throws(KernelError) {
        switch node.kind {
        case .file: try copy(file: try parent.open(name, [.read, .noFollow, .nonblocking]), node, new, target)
        case .link:
            try target.makeLink(new, to: try parent.link(name))
            try settle(new, node, target)
        case .pipe:
            try target.makePipe(new, mode: 0o600)
            try settle(new, node, target)
            try target.open(new, [.read, .noFollow, .nonblocking]).setMode(node.mode & 0o777)
        case .character, .block, .socket, .folder: break
        }
    }

    /// Copies one file, which must not be there yet.
    public func copy(
        file: borrowing Descriptor, _ node: Node, _ name: FileName, _ target: borrowing Descriptor, sync: Bool = false
    ) throws(KernelError) {
        let new = try target.open(name, [.write, .create, .exclusive, .noFollow], mode: 0o600)
        if node.size < UInt64(LayeredCopy.worthSharing) || !new.share(contentsOf: file) {
            try fill(new, from: file, node)
        }
        try settle(new, node, try file.keptAttributes())
        if sync { try new.sync() }
    }

    /// A smaller file is copied as soon as the file system is asked.
    private static let worthSharing = 1 << 16

    private func fill(
        _ new: borrowing Descriptor, from file: borrowing Descriptor, _ node: Node
    ) throws(KernelError) {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 4096)
        defer { buffer.deallocate() }
        // By its extents: an image's file may be gigabytes of nothing.
        var at: Int64 = 0
        while at < Int64(clamping: node.size), let start = try file.data(from: at) {
            let end = try file.hole(from: start)
            try file.seek(to: start)
            try new.seek(to: start)
            at = start
            while at < end {
                let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(min(end - at, Int64(buffer.count)))])
                let count = try file.read(into: part)
                guard count > 0 else { break }
                var done = 0
                while done < count {
                    done += try new.write(some: UnsafeRawBufferPointer(rebasing: part[done..<count]))
                }
                at += Int64(count)
            }
        }
        try new.truncate(Int64(clamping: node.size))
    }

    private func settle(
        _ file: borrowing Descriptor, _ node: Node, _ attributes: [(name: String, value: [UInt8])]
    ) throws(KernelError) {
        if let owner {
            let (uid, gid) = owner(node.uid, node.gid)
            try file.setOwner(uid: uid, gid: gid)
        }
        try file.setMode(owner == nil || !setIDs ? node.mode & 0o1777 : node.mode)
        for (name, value) in attributes where capabilities || name != TarAttribute.capability {
            try? file.setAttribute(name, value)
        }
        try file.setModified(node.modified.seconds, node.modified.nanoseconds)
    }

    /// Of a name that cannot be opened: a link, a pipe.
    private func settle(_ name: FileName, _ node: Node, _ folder: borrowing Descriptor) throws(KernelError) {
        if let owner {
            let (uid, gid) = owner(node.uid, node.gid)
            try folder.setOwner(of: name, uid: uid, gid: gid)
        }
        try folder.setModified(of: name, node.modified.seconds, node.modified.nanoseconds)
    }
}
