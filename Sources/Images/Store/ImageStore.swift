public import LinuxKernel
internal import OCISpec

/// The images of a storage folder, in `images` below it:
///
///     names/NAME       which manifest a name means, as text; "/" in a name is "%" here
///     manifests/HEX    a manifest, under the sum of its bytes: this is an image
///     blobs/HEX        configs, and layers as they came
///     layers/HEX       unpacked layers, under their chain ids (image-spec, config.md, "Layer ChainID")
///     merged/HEX       which of these have all that is below too, see ``LayerStandIn``
///     ready/           images that starts need again, see ``ImageStore/Ready``
///     ingest/          what is being written; a rename puts it in its place when it is whole and was verified
///     lock             shared by what adds, alone for what takes away
///
/// What stands in the first four is whole, whenever somebody was killed. What nobody refers to is swept.
public struct ImageStore: Sendable {
    let folder: String

    /// - Parameter data: the storage folder.
    public init(data: String) { folder = "\(data)/images" }

    static let folders = ["names", "manifests", "blobs", "layers", "ready", "ingest"]

    /// Whoever adds to the store holds it; a sweep waits meanwhile.
    func share() throws(Problem) -> Held {
        let what = "cannot use the image store \(folder)"
        let hint = "codex32 must be able to write there; --root chooses another folder"
        let lock = try explaining(what, hint: hint) { () throws(KernelError) in
            for name in ImageStore.folders { _ = try makeFolders("\(folder)/\(name)") }
            return try Descriptor.open("\(folder)/lock", [.readWrite, .create, .noFollow])
        }
        try explaining(what) { () throws(KernelError) in
            // Nobody else is here: what lies in ingest was left by somebody who was killed.
            if try lock.lock(wait: false) { clear(parts: false) }
            try lock.lockShared()
        }
        return Held(lock)
    }

    /// A lock that ends with this object.
    public final class Held {
        private let lock: Descriptor
        init(_ lock: consuming Descriptor) { self.lock = lock }
    }

    /// Takes away what killed loads left. The caller has the lock alone.
    ///
    /// - Parameter parts: the beginnings of blobs too, from which a pull would go on.
    func clear(parts: Bool) {
        guard let ingest = try? Descriptor.open("\(folder)/ingest", [.read, .folder]) else { return }
        for name in (try? ingest.entries()) ?? [] where parts || !BlobPart.isName(name) {
            try? ingest.removeTree(name)
        }
        // Half-written documents, which have names of their own until they are whole.
        for part in ["manifests", "names", "ready"] {
            guard let place = try? Descriptor.open("\(folder)/\(part)", [.read, .folder]) else { continue }
            for name in (try? place.entries()) ?? [] where name.hasPrefix(".") && !name.hasSuffix(".lock") {
                try? place.remove(name)
            }
        }
    }

    // MARK: Blobs

    /// Takes a blob in: it has its name once it is whole, on the disk, and has the sum that it must have.
    func ingest(
        _ source: any ByteSource, what: String, expected: (digest: Digest, size: UInt64)? = nil
    ) throws(Problem) -> (digest: Digest, size: UInt64) {
        let temporary = "ingest/\(Machine.randomHex(bytes: 8))"
        let failed = "cannot load \(what)"
        let (place, file) = try explaining(failed) { () throws(KernelError) -> (Owned, Owned) in
            let place = try Descriptor.open(folder, [.read, .folder])
            let file = try place.open(temporary, [.write, .create, .exclusive, .noFollow])
            return (Owned(place), Owned(file))
        }
        do throws(Problem) {
            let found = try explaining(failed) { () throws(KernelError) -> (digest: Digest, size: UInt64) in
                let summing = try SummingSource(source)
                let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 4096)
                defer { buffer.deallocate() }
                while true {
                    let count = try summing.read(into: buffer)
                    if count == 0 { break }
                    // Told below; what follows need not be read.
                    if let expected, summing.count > expected.size { break }
                    var done = 0
                    while done < count {
                        done += try file.descriptor.write(
                            some: UnsafeRawBufferPointer(rebasing: buffer[done..<count]))
                    }
                }
                if let expected, summing.count > expected.size { return (expected.digest, summing.count) }
                return (try summing.finish(), summing.count)
            }
            if let expected {
                guard found.size == expected.size else {
                    let amount = found.size > expected.size ? "more than \(expected.size)" : "only \(found.size)"
                    throw Problem(
                        failed, "it has \(amount) bytes, and should have \(expected.size)",
                        hint: "it was cut off or changed on its way: fetch the image again")
                }
                guard found.digest == expected.digest else {
                    throw Problem(
                        failed, "its sum is \(found.digest), and not \(expected.digest)",
                        hint: "it was damaged or changed on its way: fetch the image again")
                }
            }
            try explaining(failed) { () throws(KernelError) in
                try file.descriptor.sync()
                try place.descriptor.rename(temporary, to: "blobs/\(found.digest.hex)")
            }
            return found
        } catch {
            try? place.descriptor.remove(temporary)
            throw error
        }
    }

    func hasBlob(_ descriptor: BlobDescriptor) -> Bool {
        guard let status = try? Descriptor.status(ofPath: "\(folder)/blobs/\(descriptor.digest.hex)") else {
            return false
        }
        return status.kind == .file && UInt64(status.size) == descriptor.size
    }

    func openBlob(_ digest: Digest) throws(Problem) -> Descriptor {
        try explaining("cannot read the blob \(digest)", hint: "codex32 image load it again") {
            () throws(KernelError) in
            try Descriptor.open("\(folder)/blobs/\(digest.hex)", [.read, .noFollow])
        }
    }

    func blob(_ digest: Digest, limit: Int) throws(Problem) -> [UInt8] {
        let file = try openBlob(digest)
        return try explaining("cannot read the blob \(digest)") { () throws(KernelError) in
            try file.readAll(limit: limit)
        }
    }

    // MARK: Images

    /// An image with what it is made of.
    public struct Stored: Sendable {
        public let digest: Digest
        public let manifest: ImageManifest
        public let config: ImageConfig
        /// Bottom first.
        public let chain: [Digest]

        /// Bytes of its blobs.
        public var size: UInt64 { manifest.layers.reduce(manifest.config.size) { $0 &+ $1.size } }
    }

    public func image(_ digest: Digest) throws(Problem) -> Stored {
        let what = "cannot use the image \(digest.short)"
        let bytes = try explaining(what, hint: "codex32 image list shows those that there are") {
            () throws(KernelError) in
            try Descriptor.open("\(folder)/manifests/\(digest.hex)", [.read, .noFollow])
                .readAll(limit: ImageManifest.largest)
        }
        do throws(DocumentError) {
            let manifest = try ImageManifest(bytes: bytes)
            let text: [UInt8]
            do throws(Problem) { text = try blob(manifest.config.digest, limit: ImageConfig.largest) } catch {
                throw DocumentError("config", error.why)
            }
            let config = try ImageConfig(bytes: text)
            return Stored(
                digest: digest, manifest: manifest, config: config, chain: try ImageStore.chain(config.diffIDs))
        } catch { throw Problem(what, error.description, hint: "codex32 image verify tells what is damaged") }
    }

    /// A layer's name tells all the layers below it: what it hides in them is part of what it is.
    static func chain(_ diffIDs: [Digest]) throws(DocumentError) -> [Digest] {
        var chain: [Digest] = []
        do throws(KernelError) {
            let sum = try SHA256()
            for diffID in diffIDs {
                guard let below = chain.last else {
                    chain.append(diffID)
                    continue
                }
                sum.update(Array("\(below) \(diffID)".utf8))
                chain.append(Digest(hex: sum.finish())!)
            }
        } catch { throw DocumentError("config.rootfs", error.description) }
        return chain
    }

    /// All images, in the order of their digests.
    public func all() throws(Problem) -> [Digest] {
        if Descriptor.isMissing("\(folder)/manifests") { return [] }
        return try explaining("cannot list the images in \(folder)") { () throws(KernelError) in
            try Descriptor.open("\(folder)/manifests", [.read, .folder]).entries()
        }.compactMap { Digest(hex: $0) }.sorted { $0.hex < $1.hex }
    }

    /// All names, in their order, with what they mean.
    public func names() throws(Problem) -> [(name: ImageName, digest: Digest)] {
        if Descriptor.isMissing("\(folder)/names") { return [] }
        let files = try explaining("cannot list the images in \(folder)") { () throws(KernelError) in
            try Descriptor.open("\(folder)/names", [.read, .folder]).entries()
        }
        return files.sorted().compactMap { file in
            guard let name = ImageName(fileName: file), let digest = meaning(of: name) else { return nil }
            return (name, digest)
        }
    }

    /// What a name means; nil: nothing.
    public func meaning(of name: ImageName) -> Digest? {
        guard let place = try? Descriptor.open("\(folder)/names", [.pathOnly, .folder]),
            let text = try? place.contents(of: name.fileName, limit: 128)
        else { return nil }
        return Digest(text.hasSuffix("\n") ? String(text.dropLast()) : text)
    }

    /// By a name, a digest, or the beginning of one (4 digits or more). Nil: there is none.
    public func find(_ text: String) throws(Problem) -> Digest? {
        // NAME@DIGEST is that very image, whatever the name means here.
        if let at = text.lastIndex(of: "@"), let digest = Digest(text[text.index(after: at)...]) {
            return try all().contains(digest) ? digest : nil
        }
        if let name = ImageName(text), let digest = meaning(of: name) { return digest }
        let hex = text.hasPrefix("sha256:") ? String(text.dropFirst(7)) : text
        guard (4...64).contains(hex.utf8.count), Digest.isHex(hex) else { return nil }
        let found = try all().filter { $0.hex.hasPrefix(hex) }
        guard found.count <= 1 else {
            throw Problem(
                "cannot tell which image \(text) is", "\(found.count) digests begin so", hint: "give more of its digits"
            )
        }
        return found.first
    }

    /// The same, where there must be one.
    public func require(_ text: String) throws(Problem) -> Digest {
        if let found = try find(text) { return found }
        throw Problem("no image \(text)", "the store has none of that name", hint: try hint(text))
    }

    /// What is near to a name that there is not.
    func hint(_ text: String) throws(Problem) -> String {
        let asked = ImageName(text)?.repository ?? text
        let near = try names().map(\.name).filter {
            $0.repository == asked || $0.repository.hasPrefix(text) || $0.repository.hasSuffix("/\(asked)")
        }
        if let first = near.first { return "did you mean \(first)?" }
        if RegistryReference.names(text) { return "codex32 image pull \(text) brings it in" }
        return "codex32 image load FILE or image pull HOST/NAME brings one in, and codex32 image list shows them"
    }

    /// Gives an image a name, which means another from then on if it meant one already.
    public func name(_ name: ImageName, _ digest: Digest) throws(Problem) {
        let held = try share()
        defer { withExtendedLifetime(held) {} }
        try explaining("cannot name an image \(name)") { () throws(KernelError) in
            // Under the lock, for a sweep may have taken it since it was found.
            _ = try Descriptor.open("\(folder)/manifests/\(digest.hex)", [.pathOnly])
            let place = try Descriptor.open("\(folder)/names", [.read, .folder])
            try place.replace(name.fileName, with: "\(digest)\n", durable: true)
            try place.sync()
        }
    }

    /// Keeps an image from being swept while what is returned lives.
    public func hold(_ digest: Digest) throws(Problem) -> Held {
        let what = "cannot use the image \(digest.short)"
        let path = "\(folder)/manifests/\(digest.hex)"
        let file = try explaining(what, hint: "codex32 image list shows those that there are") {
            () throws(KernelError) in
            let file = try Descriptor.open(path, [.read, .noFollow])
            try file.lockShared()
            // A sweep may have had the lock before us.
            guard try Descriptor.exists(path) else { throw KernelError("open", path, number: Errno.missing) }
            return file
        }
        return Held(file)
    }
}
