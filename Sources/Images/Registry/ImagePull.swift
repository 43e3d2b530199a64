public import LinuxKernel
internal import OCISpec

/// `image pull`: an image of a registry into the store. Every byte is verified here, whoever brought it; killed at any
/// moment it leaves the store whole, and goes on where it was the next time.
public final class ImagePull {
    private let store: ImageStore
    private let reference: RegistryReference
    private let platform: Platform
    private let limits: ImageStore.Limits
    private let progress: (String) -> Void
    private let brought: (_ done: UInt64, _ total: UInt64) -> Void
    private let notice: (String) -> Void
    private let what: String
    /// Whom it is asked of now: a mirror's path differs from the registry's.
    private var source: (registry: String, repository: String)

    /// - Parameters:
    ///   - progress: told what is done now.
    ///   - brought: told how many bytes of how many are there.
    public init(
        _ store: ImageStore, _ reference: RegistryReference, platform: Platform, _ limits: ImageStore.Limits,
        progress: @escaping (String) -> Void, brought: @escaping (UInt64, UInt64) -> Void,
        notice: @escaping (String) -> Void
    ) {
        (self.store, self.reference, self.platform, self.limits) = (store, reference, platform, limits)
        (self.progress, self.brought, self.notice) = (progress, brought, notice)
        what = "cannot pull \(reference)"
        source = (reference.registry, reference.repository)
    }

    /// - Parameter mirrors: asked first, in their order; what none of them gives, or not as it should be, the registry
    ///   itself is asked for. Each is a stranger to the others: its login is its own, or none.
    public func run(
        _ settings: RegistrySettings, mirrors: [RegistryMirror] = []
    ) throws(Problem) -> ImageLoad.Loaded {
        let held = try store.share()
        defer { withExtendedLifetime(held) {} }
        for mirror in mirrors {
            source = (mirror.registry, mirror.repository(reference.repository))
            do throws(Problem) {
                let loaded = try bring(settings)
                notice("\(reference) came from the mirror \(mirror)")
                return loaded
            } catch {
                // What is wrong on this machine would be so with the next one.
                if error.cause != nil { throw error }
                notice("the mirror \(mirror) does not give \(reference): \(error.why)")
            }
        }
        source = (reference.registry, reference.repository)
        return try bring(settings)
    }

    private func bring(_ settings: RegistrySettings) throws(Problem) -> ImageLoad.Loaded {
        let process = try RegistryProcess(what)
        try process.open(source.registry, settings)
        let (bytes, digest) = try manifest(process)
        let manifest: ImageManifest
        do throws(DocumentError) { manifest = try ImageManifest(bytes: bytes) } catch {
            throw Problem(what, error.description)
        }
        try bring(manifest, process)
        let load = ImageLoad(
            store, name: nil, platform: platform, limits, progress: progress, notice: notice)
        // By its digest alone it was asked for: what the name means is not said by that.
        return try load.finish(bytes, digest, names: reference.digest == nil ? [reference.name] : [], what)
    }

    // MARK: The manifest

    /// The manifest for the platform, through indexes of it. An index names what is in it by digest, so that it cannot
    /// be in itself; how deep they nest, and how large they are, is bounded.
    private func manifest(_ process: RegistryProcess) throws(Problem) -> (bytes: [UInt8], digest: Digest) {
        progress("asking \(source.registry) for \(source.repository):\(reference.asked)")
        var bytes = try document(process, "manifest", reference.asked, limit: ImageManifest.largest)
        var digest = try sum(bytes)
        if let asked = reference.digest, asked != digest { throw wrongSum(asked, digest) }
        var others: Set<String> = []
        for _ in 0...ImageLoad.deepestIndex {
            let entries: [BlobDescriptor]
            do throws(DocumentError) {
                guard let found = try ImagePull.index(bytes) else { return (bytes, digest) }
                entries = found
            } catch { throw Problem(what, error.description) }
            guard let next = entries.first(where: { fits($0, &others) }) else {
                let list = others.isEmpty ? "" : " but for \(others.sorted().prefix(20).joined(separator: ", "))"
                throw Problem(
                    what, "it has no image\(list)", hint: "asked for was \(platform); --platform chooses another")
            }
            guard next.size <= UInt64(ImageManifest.largest) else {
                throw Problem(what, "the manifest \(next.digest) is larger than \(ImageManifest.largest) bytes")
            }
            bytes = try document(process, "manifest", "\(next.digest)", limit: ImageManifest.largest)
            digest = try sum(bytes)
            guard digest == next.digest, UInt64(bytes.count) == next.size else { throw wrongSum(next.digest, digest) }
        }
        throw Problem(what, "its indexes nest more than \(ImageLoad.deepestIndex) deep")
    }

    /// The entries of an index; nil: it is none.
    static func index(_ bytes: [UInt8]) throws(DocumentError) -> [BlobDescriptor]? {
        let top = try JSONObject(try JSONReader.read(bytes), at: "manifest")
        guard top.value("manifests") != nil else { return nil }
        // Whoever reads it otherwise would get another image by the same digest (CVE-2021-41190).
        for name in ["layers", "config"] where top.value(name) != nil {
            throw DocumentError("manifest", "it is an index and an image's manifest at once")
        }
        guard try top.unsigned("schemaVersion") == 2 else { throw DocumentError("index.schemaVersion", "must be 2") }
        var entries: [BlobDescriptor] = []
        for object in try top.objects("manifests") { entries.append(try BlobDescriptor(object)) }
        return entries
    }

    private func fits(_ entry: BlobDescriptor, _ others: inout Set<String>) -> Bool {
        guard entry.isIndex || (ImageManifest.kind(entry.mediaType) && !entry.mediaType.isEmpty) else { return false }
        guard let said = entry.platform, !platform.takes(said) else { return true }
        others.insert("\(said)")
        return false
    }

    private func document(
        _ process: RegistryProcess, _ verb: String, _ name: String, limit: Int
    ) throws(Problem) -> [UInt8] {
        try process.ask(
            .members([
                "verb": .string(verb), "repository": .string(source.repository), "reference": .string(name),
                "limit": .number(limit),
            ]), limit: limit
        ).bytes
    }

    private func sum(_ bytes: [UInt8]) throws(Problem) -> Digest {
        try explaining(what) { () throws(KernelError) in
            let sum = try SHA256()
            sum.update(bytes)
            return Digest(hex: sum.finish())!
        }
    }

    private func wrongSum(_ asked: Digest, _ found: Digest) -> Problem {
        Problem(
            what, "the registry gave something whose sum is \(found), for \(asked)",
            hint: "it was damaged or changed on its way, or at the registry")
    }

    // MARK: Blobs

    private func bring(_ manifest: ImageManifest, _ process: RegistryProcess) throws(Problem) {
        guard manifest.config.size <= UInt64(ImageConfig.largest) else {
            throw Problem(what, "its config is larger than \(ImageConfig.largest) bytes")
        }
        var wanted: [BlobDescriptor] = []
        for blob in [manifest.config] + manifest.layers {
            guard blob.size <= limits.bytes else {
                throw Problem(
                    what, "its layer \(blob.digest.short) is larger than \(limits.bytes) bytes",
                    hint: "--max-size raises it")
            }
            if let same = wanted.first(where: { $0.digest == blob.digest }) {
                guard same.size == blob.size else { throw Problem(what, "it gives \(blob.digest) two sizes") }
            } else {
                wanted.append(blob)
            }
        }
        // In one order everywhere: two pulls that want some of the same then never wait for each other.
        wanted.sort { $0.digest.hex < $1.digest.hex }
        var parts: [BlobPart] = []
        for blob in wanted {
            let part = try BlobPart.take(blob, store) {
                progress("waiting for another codex32 that brings \(blob.digest.short)")
            }
            if let part { parts.append(part) }
        }
        // The second time without what an earlier pull left, where that was wrong.
        for _ in 0..<2 where !parts.isEmpty { parts = try bring(parts, process) }
    }

    /// - Returns: those that have to be brought again.
    private func bring(_ parts: [BlobPart], _ process: RegistryProcess) throws(Problem) -> [BlobPart] {
        let total = parts.reduce(UInt64(0)) { $0 &+ $1.descriptor.size }
        progress("bringing \(parts.count) blobs")
        try process.send(
            .members([
                "verb": .string("blobs"), "repository": .string(source.repository),
                "blobs": .array(
                    parts.map { part in
                        .members([
                            "digest": .string("\(part.descriptor.digest)"), "size": .number(part.descriptor.size),
                            "offset": .number(part.count),
                        ])
                    }),
            ]))
        var again: [BlobPart] = []
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 4096)
        defer { buffer.deallocate() }
        while true {
            switch try process.frame() {
            case .part(let number, let bytes):
                let part = try known(parts, number)
                var left = bytes
                while left > 0 {
                    let piece = UnsafeMutableRawBufferPointer(rebasing: buffer[..<min(left, buffer.count)])
                    try process.read(into: piece)
                    try part.add(UnsafeRawBufferPointer(piece))
                    left -= piece.count
                }
                brought(parts.reduce(0) { $0 &+ $1.count }, total)
            case .restart(let number): try known(parts, number).restart()
            case .end(let number):
                let part = try known(parts, number)
                if try !part.finish() { again.append(part) }
            case .done:
                let missing = parts.first { part in !part.isWhole && !again.contains { $0 === part } }
                guard let missing else { return again }
                throw Problem(what, "the blob \(missing.descriptor.digest) did not come")
            }
        }
    }

    private func known(_ parts: [BlobPart], _ number: Int) throws(Problem) -> BlobPart {
        guard parts.indices.contains(number), !parts[number].isWhole else {
            throw Problem(what, "codex32-registry said something unknown")
        }
        return parts[number]
    }
}
