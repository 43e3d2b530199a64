internal import Images
public import LinuxKernel

/// What a copy is asked for, and whom it tells.
public struct CopyOptions {
    /// Files keep their owners' ids (`-a`).
    public var owners = false
    /// A link that is copied is followed (`-L`); those below a folder never are.
    public var followLinks = false
    /// Told how many bytes have passed.
    public var passed: (UInt64) -> Void = { _ in }
    /// Told what was left out.
    public var note: (String) -> Void = { _ in }
    public init() {}
}

/// Copies in and out of containers. On each side of a pipe is a process with that side's rights, and what goes
/// through it is an archive, which the other side takes for hostile.
extension Containers {
    /// Copies out of a container.
    ///
    /// - Parameter destination: a path of the machine's; nil: the archive goes to the standard output.
    public func copy(
        from reference: String, _ path: String, to destination: String?, _ options: CopyOptions
    ) throws(Problem) {
        let container = try store.find(reference)
        let root = try ContainerRoot.open(self, container, to: "copy from")
        let work = InsideProcess.Work.pack(path: path, followLinks: options.followLinks, wholeRoot: false)
        let contents = CopyPath(path).isContents
        try Containers.receive(work, root, options) { source throws(Problem) in
            guard let destination else { return try Pump.run(source, to: .output) }
            var settings = TarUnpacker.Options()
            // The container's set-id bits mean nothing good on the machine, and nor do its attributes.
            settings.owners = options.owners
            try Arrival(path: destination, isCopy: true, contents: contents).unpack(
                TarReader(source), settings, into: WalkedTree(), check: { _ in }, notice: options.note)
        }
    }

    /// Starts the helper, gives its archive to `body`, and tells the failure that came first.
    static func receive(
        _ work: InsideProcess.Work, _ root: borrowing ContainerRoot, _ options: CopyOptions,
        _ body: (ByteStream) throws(Problem) -> Void
    ) throws(Problem) {
        let pipe = try explaining("cannot make a pipe") { () throws(KernelError) in try Descriptor.pipe() }
        let source = ByteStream(Descriptor(owning: pipe.read), passed: options.passed)
        let null = try explaining("cannot open /dev/null") { () throws(KernelError) in
            try Descriptor.open("/dev/null", [.read])
        }
        let helper: InsideProcess.Running
        do {
            let writing = Descriptor(owning: pipe.write)
            helper = try InsideProcess.start(work, in: root, input: null.number, output: writing.number)
        }
        do throws(Problem) { try body(source) } catch {
            // Where the archive broke off, the helper knows why; elsewhere this side does, and the helper waits for a
            // reader that is gone.
            source.discard()
            if error.what == "cannot read the archive" { try helper.finish(after: error, note: options.note) }
            throw error
        }
        try helper.finish(note: options.note)
    }

    /// Copies into a container.
    ///
    /// - Parameter source: a path of the machine's; nil: an archive comes from the standard input.
    public func copy(
        _ source: String?, to reference: String, _ path: String, _ options: CopyOptions
    ) throws(Problem) {
        // Looked at before the container is: what is not there needs no root.
        let place = try source.map { path throws(Problem) in
            try SourcePlace(path, followLinks: options.followLinks, in: WalkedTree())
        }
        let container = try store.find(reference)
        let root = try ContainerRoot.open(self, container, to: "copy to")
        let work = InsideProcess.Work.unpack(
            path: path, owners: options.owners, isCopy: source != nil,
            contents: source.map { CopyPath($0).isContents } ?? false, stopped: !root.isRunning)
        let null = try explaining("cannot open /dev/null") { () throws(KernelError) in
            try Descriptor.open("/dev/null", [.readWrite])
        }
        guard let place else {
            let helper = try InsideProcess.start(work, in: root, input: 0, output: null.number)
            return try helper.finish(note: options.note)
        }
        Machine.ignorePipeSignal()
        let pipe = try explaining("cannot make a pipe") { () throws(KernelError) in try Descriptor.pipe() }
        let sink = ByteStream(Descriptor(owning: pipe.write), passed: options.passed)
        let helper: InsideProcess.Running
        do {
            let reading = Descriptor(owning: pipe.read)
            helper = try InsideProcess.start(work, in: root, input: reading.number, output: null.number)
        }
        do throws(Problem) {
            let own = try explaining("cannot use /proc") { () throws(KernelError) in try OwnDescriptors() }
            var settings = TarPacker.Options()
            settings.attributes = options.owners
            let writer = TarWriter(sink)
            try TarPacker(writer, own: own, options: settings, notice: options.note)
                .pack(place.place.value, link: place.link, as: place.name)
            try explaining("cannot write the archive") { () throws(KernelError) in try writer.finish() }
        } catch {
            sink.discard()
            if error.what == "cannot write the archive" { try helper.finish(after: error, note: options.note) }
            throw error
        }
        sink.discard()
        try helper.finish(note: options.note)
    }
}

/// From a pipe to a standard stream, with bounded memory.
enum Pump {
    static func run(_ source: ByteStream, to stream: StandardStream) throws(Problem) {
        let sink = try explaining("cannot write the archive") { () throws(KernelError) in
            ByteStream(try stream.duplicate())
        }
        try run(source, to: sink)
    }

    static func run(_ source: ByteStream, to sink: ByteStream) throws(Problem) {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 4096)
        defer { buffer.deallocate() }
        while true {
            let count = try explaining("cannot read the archive") { () throws(KernelError) in
                try source.read(into: buffer)
            }
            if count == 0 { return }
            try explaining("cannot write to the output") { () throws(KernelError) in
                try sink.write(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            }
        }
    }
}
