public import LinuxKernel

/// A folder as an overlay of an image's layers shows it, read without a mount: the same name in several layers is one
/// (Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories").
public final class LayeredFolder {
    /// Top first; those below an opaque one are not among them.
    private let folders: [Owned]
    private let hasStandIns: Bool
    /// Why a name that may be there could not be looked at: it was taken for one that is not.
    private(set) var failure: KernelError?

    /// - Parameter hasStandIns: marks may be in the form of ``LayerStandIn``.
    init(_ folders: [Owned], hasStandIns: Bool = false) { (self.folders, self.hasStandIns) = (folders, hasStandIns) }

    /// - Parameter paths: the layers' own folders, top first.
    public convenience init(_ paths: [String]) throws(KernelError) {
        var folders: [Owned] = []
        for path in paths { folders.append(Owned(try Descriptor.open(path, [.read, .folder]))) }
        self.init(folders)
    }

    /// - Parameter numbers: descriptors of the layers' own folders, top first, which this object takes over.
    public convenience init(owning numbers: [Int32]) {
        self.init(numbers.map { Owned(Descriptor(owning: $0)) })
    }

    /// For a process that inherits them.
    public var numbers: [Int32] { folders.map { $0.descriptor.number } }

    /// Nil: no layer has the name, or one hides it.
    public func node(_ name: FileName) -> Node? { place(name)?.node }

    /// The topmost file of that name, and the folder it is in.
    public func place(_ name: FileName) -> (node: Node, parent: Descriptor.Shared)? {
        for folder in folders {
            guard let node = look(name, folder) else { continue }
            if node.isWhiteout || hasStandIns && LayerStandIn.hides(node) { return nil }
            return (node, Descriptor.Shared(folder))
        }
        return nil
    }

    private func look(_ name: FileName, _ folder: Owned) -> Node? {
        do throws(KernelError) { return try folder.descriptor.node(name) } catch {
            if error.number != Errno.missing { failure = failure ?? error }
            return nil
        }
    }

    /// A folder in this one; nil: the name is none.
    public func folder(_ name: FileName) throws(KernelError) -> LayeredFolder? {
        var found: [Owned] = []
        for folder in folders {
            guard let node = look(name, folder) else { continue }
            // What is no folder hides what lies below, a whiteout too.
            guard node.kind == .folder else { break }
            let next = Owned(try folder.descriptor.open(name, [.read, .folder, .noFollow]))
            found.append(next)
            if next.descriptor.isOpaque() || hasStandIns && LayerStandIn.isOpaque(next.descriptor) { break }
        }
        return found.isEmpty ? nil : LayeredFolder(found, hasStandIns: hasStandIns)
    }

    /// All names, in the order of their bytes.
    public func names() throws(KernelError) -> [FileName] {
        if folders.count == 1, let only = folders.first {
            return try only.descriptor.names().filter { node($0) != nil }
        }
        var seen: Set<FileName> = []
        for folder in folders { seen.formUnion(try folder.descriptor.names()) }
        return seen.filter { node($0) != nil }.sorted()
    }

    /// Its own mode, owner and time: those of the topmost.
    public func node() throws(KernelError) -> Node? { try folders.first?.descriptor.node() }

    /// Of the topmost.
    public func attributes() throws(KernelError) -> [(name: String, value: [UInt8])] {
        guard let folder = folders.first else { return [] }
        return try folder.descriptor.keptAttributes()
    }
}

extension Descriptor {
    /// A folder that several have open at once.
    public struct Shared {
        private let folder: Owned
        init(_ folder: Owned) { self.folder = folder }
        public func open(_ name: FileName, _ flags: OpenFlags) throws(KernelError) -> Descriptor {
            try folder.descriptor.open(name, flags)
        }
        public func link(_ name: FileName) throws(KernelError) -> FileName { try folder.descriptor.link(name) }
    }

    /// Whether a folder of an overlay's layer hides what the layers below have of that name.
    public borrowing func isOpaque() -> Bool {
        for name in ["user.overlay.opaque", "trusted.overlay.opaque"] {
            if let value = try? attribute(name), value == [0x79] { return true }
        }
        return false
    }

    /// Those that an image's files are known by, and no overlay's marks.
    public borrowing func keptAttributes() throws(KernelError) -> [(name: String, value: [UInt8])] {
        var kept: [(name: String, value: [UInt8])] = []
        for name in try attributes() where TarAttribute.isKept(name) { kept.append((name, try attribute(name))) }
        return kept
    }
}

extension Node {
    /// An overlay's mark for what was taken away.
    public var isWhiteout: Bool { kind == .character && deviceNumber == (0, 0) }
}
