public import Images
public import LinuxKernel
internal import Sandbox

/// An archive that becomes an image folder: whole, or not at all.
public enum ImageImport {
    /// Bounds for an archive from anybody.
    public struct Limits: Sendable {
        /// Bytes of all files together, their holes too.
        public var bytes: UInt64 = 32 << 30
        public var files: UInt64 = 1_000_000
        public init() {}
    }

    private static let prefix = ".codex32-import."

    /// Unpacks into a temporary folder beside the target and renames it when it is whole.
    ///
    /// - Parameters:
    ///   - target: absent, or an empty folder.
    ///   - note: told what was left out.
    /// - Throws: what is wrong with the archive or the folder; nothing is left then. A killed import leaves its
    ///   temporary folder, which the next import into the same place clears away.
    public static func unpack(
        _ source: any ByteSource, into target: String, _ limits: Limits, note: @escaping (String) -> Void,
        finish: () throws(Problem) -> Void = {}
    ) throws(Problem) {
        let what = "cannot make the image \(target)"
        let path = CopyPath(target)
        guard !path.name.isEmpty else { throw Problem(what, "it is no name for a new folder") }
        let parent = Owned(
            try explaining(what, hint: "the folder that it goes into must be there") { () throws(KernelError) in
                try Descriptor.open(path.folder.isEmpty ? "." : path.folder, [.read, .folder])
            })
        let name = FileName(path.name)
        try checkFree(parent, name, what)
        clear(parent)
        let temporary = FileName(prefix + Machine.randomHex(bytes: 8))
        let folder = try explaining(what) { () throws(KernelError) -> Owned<Descriptor> in
            try parent.value.makeFolder(temporary, mode: 0o700)
            let folder = Owned(try parent.value.open(temporary, [.read, .folder, .noFollow]))
            _ = try folder.value.lock(wait: false)
            return folder
        }
        do throws(Problem) {
            var options = TarUnpacker.Options()
            options.isFresh = true
            (options.owners, options.setIDs, options.capabilities) = (Machine.isRoot, Machine.isRoot, Machine.isRoot)
            options.attributes = true
            (options.mostBytes, options.mostMembers) = (limits.bytes, limits.files)
            let opened = try explaining(what) { () throws(KernelError) in
                try folder.value.setMode(0o755)
                return try folder.value.open(".", [.read, .folder])
            }
            do throws(Problem) {
                try TarUnpacker(TarReader(source), into: opened, options: options, notice: note).unpack()
            } catch {
                // An archive that ends too early has its reason before the archive.
                try finish()
                throw error
            }
            try finish()
            try explaining(what) { () throws(KernelError) in
                // An empty folder gives way (rename(2)); anything else that came meanwhile does not.
                try parent.value.rename(temporary, to: name)
                try parent.value.sync()
            }
        } catch {
            try? parent.value.removeTree(temporary.description)
            throw error
        }
    }

    /// Whether a folder could be made there: told before anything is read.
    private static func checkFree(_ parent: Owned<Descriptor>, _ name: FileName, _ what: String) throws(Problem) {
        guard let node = try? parent.value.node(name) else { return }
        guard node.kind == .folder else {
            throw Problem(what, "something stands there already", hint: "name a new folder")
        }
        let names = try explaining(what) { () throws(KernelError) in
            try parent.value.open(name, [.read, .folder, .noFollow]).names()
        }
        if !names.isEmpty { throw Problem(what, "the folder is not empty", hint: "name a new folder, or an empty one") }
    }

    /// What killed imports left here: the lock of a live one's folder is held.
    private static func clear(_ parent: Owned<Descriptor>) {
        guard let names = try? parent.value.entries() else { return }
        for name in names where name.hasPrefix(prefix) {
            guard let folder = try? parent.value.open(name, [.read, .folder, .noFollow]),
                let status = try? folder.status(), status.uid == Machine.uid || Machine.isRoot,
                (try? folder.lock(wait: false)) == true
            else { continue }
            try? parent.value.removeTree(name)
        }
    }
}

extension Containers {
    /// Writes a container's root as an archive: its own file system alone, whiteouts resolved, ids as it has them.
    ///
    /// - Parameter file: where it goes, whole or not at all; nil: to the standard output.
    public func export(_ reference: String, to file: String?, _ options: CopyOptions) throws(Problem) {
        let container = try store.find(reference)
        let root = try ContainerRoot.open(self, container, to: "export")
        let work = InsideProcess.Work.pack(path: "/", followLinks: false, wholeRoot: true)
        guard let file else {
            return try Containers.receive(work, root, options) { source throws(Problem) in
                try Pump.run(source, to: .output)
            }
        }
        let output = try ExportFile(file)
        try Containers.receive(work, root, options) { source throws(Problem) in
            try Pump.run(source, to: output.stream)
        }
        try output.finish()
    }

    /// Makes an image folder of a container's root as it is now.
    public func commit(
        _ reference: String, to folder: String, _ limits: ImageImport.Limits, _ options: CopyOptions
    ) throws(Problem) {
        let container = try store.find(reference)
        let record = try view(container)
        if case .assembled = try Containers.request(of: record, storage: storage).root {
            throw Problem(
                "cannot make an image of \(record.name)",
                "its root is put together from this machine's own programs at every start",
                hint: "codex32 export has what is its own; begin with a folder or template:busybox for an image")
        }
        let root = try ContainerRoot.open(self, container, to: "make an image of")
        let work = InsideProcess.Work.pack(path: "/", followLinks: false, wholeRoot: true)
        try Containers.receive(work, root, options) { source throws(Problem) in
            try ImageImport.unpack(source, into: folder, limits, note: options.note)
        }
    }
}

/// The file that an export writes: it has its name when it is whole.
public final class ExportFile {
    public let stream: ByteStream
    private let parent: Owned<Descriptor>?
    private let temporary: FileName
    private let name: FileName
    private var isDone = false

    public init(_ path: String) throws(Problem) {
        let what = "cannot write \(path)"
        let cut = CopyPath(path)
        name = FileName(cut.name)
        let temporary = FileName(".\(cut.name.prefix(100)).\(Machine.randomHex(bytes: 4)).part")
        self.temporary = temporary
        // A pipe or a device is written to as it is.
        if let kind = try? Descriptor.status(ofPath: path).kind, kind != .file {
            if kind == .folder { throw Problem(what, "it is a folder", hint: "name a file") }
            let opened = try explaining(what) { () throws(KernelError) in try Descriptor.open(path, [.write]) }
            stream = ByteStream(opened)
            parent = nil
            return
        }
        guard !cut.name.isEmpty, !cut.endsInSlash else { throw Problem(what, "it is no name for a file") }
        let opened = Owned(
            try explaining(what) { () throws(KernelError) in
                try Descriptor.open(cut.folder.isEmpty ? "." : cut.folder, [.read, .folder])
            })
        let file = try explaining(what) { () throws(KernelError) in
            try opened.value.open(temporary, [.write, .create, .exclusive, .noFollow], mode: 0o600)
        }
        stream = ByteStream(file)
        parent = opened
    }

    public func finish() throws(Problem) {
        if let parent {
            try explaining("cannot write \(name)") { () throws(KernelError) in
                try stream.sync()
                try parent.value.rename(temporary, to: name)
            }
        }
        isDone = true
    }

    deinit { if !isDone { try? parent?.value.remove(temporary) } }
}
