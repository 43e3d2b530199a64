public import LinuxKernel

/// An image in the making. After each layer it is an image of the store, without a name, which is held so that no sweep
/// takes it: whoever is killed leaves what `image prune` takes away, and nothing else.
public final class ImageBuild {
    private let store: ImageStore
    private let limits: ImageStore.Limits
    private let progress: (String) -> Void
    private let notice: (String) -> Void
    private var composition: ImageComposition
    /// The image that has all of it; nil: something was changed since.
    private var current: Digest?
    private var made: [Digest] = []
    private var held: [ImageStore.Held] = []
    /// Something may be in the store that no image with a name has: to look for it, everybody else is waited for.
    private var mayHaveLeft = false
    private let what = "cannot build the image"

    /// - Parameters:
    ///   - base: an image of the store; nil: the first layer is its root.
    ///   - command: what a root without a config runs.
    public init(
        _ store: ImageStore, from base: Digest?, command: [String] = [], _ limits: ImageStore.Limits,
        progress: @escaping (String) -> Void, notice: @escaping (String) -> Void
    ) throws(Problem) {
        (self.store, self.limits, self.progress, self.notice) = (store, limits, progress, notice)
        if let base {
            held.append(try store.hold(base))
            composition = ImageComposition(try store.image(base))
            current = base
        } else {
            composition = ImageComposition(command: command)
        }
    }

    // MARK: Steps

    public func apply(_ setting: ImageSetting, at time: String) {
        composition.apply(setting, at: time)
        current = nil
    }

    /// Puts a layer on top that somebody else writes.
    ///
    /// - Parameters:
    ///   - source: a tar archive.
    ///   - finish: asked once it has ended, before it counts.
    public func add(
        _ source: any ByteSource, by line: String, at time: String, finish: () throws(Problem) -> Void
    ) throws(Problem) {
        mayHaveLeft = true
        let shared = try store.share()
        defer { withExtendedLifetime(shared) {} }
        let layer = try store.ingest(source, what: "the layer")
        try finish()
        try put(layer, line, time)
    }

    /// Puts a layer on top with what a descriptor (O_PATH) stands for, as root's.
    ///
    /// - Parameters:
    ///   - name: its own, which it keeps in a folder.
    ///   - destination: where it goes: a file into a folder or under a new name; of a folder, what is in it.
    public func copy(
        _ place: borrowing Descriptor, name: FileName, to destination: String, by line: String, at time: String
    ) throws(Problem) {
        let folders = store.stack(try composition.chain()).map { store.layerPath($0) }
        let layer = try CopyLayer(folders, place, name: name, to: destination, notice: notice)
        mayHaveLeft = true
        let shared = try store.share()
        defer { withExtendedLifetime(shared) {} }
        let sink = try explaining(what) { () throws(KernelError) in try BlobSink(store) }
        try layer.write(place, to: sink)
        let blob = try explaining(what) { () throws(KernelError) in try sink.finish() }
        try put(blob, line, time)
    }

    /// Nothing refers to the blob yet: the store is shared since before it was written.
    private func put(_ blob: (digest: Digest, size: UInt64), _ line: String, _ time: String) throws(Problem) {
        try composition.add(blob, by: line, at: time)
        current = nil
        _ = try write()
    }

    // MARK: Images

    /// The image as it is now, in the store.
    public func image() throws(Problem) -> Digest {
        if let current { return current }
        let shared = try store.share()
        defer { withExtendedLifetime(shared) {} }
        return try write()
    }

    private func write() throws(Problem) -> Digest {
        mayHaveLeft = true
        let config = try store.ingest(composition.configuration, what: "the image's config")
        let manifest = composition.manifest(config)
        let digest = try explaining(what) { () throws(KernelError) -> Digest in
            let sum = try SHA256()
            sum.update(manifest)
            return Digest(hex: sum.finish())!
        }
        if !(try store.all().contains(digest)) { made.append(digest) }
        let load = ImageLoad(
            store, name: nil, platform: composition.platform, limits, progress: progress, notice: notice)
        _ = try load.finish(manifest, digest, names: [], what)
        held.append(try store.hold(digest))
        current = digest
        return digest
    }

    /// The whole image, with its names.
    ///
    /// - Parameter ready: under which it is kept for starts, and what it was made of.
    public func finish(
        _ names: [ImageName], ready: (name: String, source: String)? = nil
    ) throws(Problem) -> Digest {
        let digest = try image()
        if let ready { try store.keep(ready.name, digest, source: ready.source) }
        for name in names { try store.name(name, digest) }
        made.removeAll { $0 == digest }
        mayHaveLeft = !made.isEmpty
        return digest
    }

    /// Takes away all that was made on the way, but for what is finished.
    public func clear(inUse: () throws(Problem) -> [Digest: String]) throws(Problem) {
        held.removeAll()
        let digests = made
        made.removeAll()
        if mayHaveLeft { try store.discard(digests, inUse: inUse) }
    }
}
