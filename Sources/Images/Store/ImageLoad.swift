public import LinuxKernel
internal import OCISpec

/// Brings images in: OCI layouts (image-spec, image-layout.md) as folders and tars, and docker-archive tars, as `docker
/// save` and skopeo write them.
public final class ImageLoad {
    /// One that is in the store now.
    public struct Loaded: Sendable {
        public let digest: Digest
        public let names: [ImageName]
    }

    private let store: ImageStore
    private let limits: ImageStore.Limits
    private let progress: (String) -> Void
    private let notice: (String) -> Void
    /// Instead of the names that the archive has.
    private let asked: ImageName?
    private let platform: Platform

    /// Documents of a layout are small; what is larger is no document.
    static let largestDocument = 4 << 20
    static let mostMembers = 10_000
    static let deepestIndex = 4

    public init(
        _ store: ImageStore, name: ImageName?, platform: Platform = .machine, _ limits: ImageStore.Limits,
        progress: @escaping (String) -> Void, notice: @escaping (String) -> Void
    ) {
        (self.store, asked, self.limits, self.progress, self.notice) = (store, name, limits, progress, notice)
        self.platform = platform
    }

    // MARK: What there is

    /// A layout's parts, wherever they are: blobs are in the store already, or taken in when they are asked for.
    private struct Layout {
        var documents: [String: [UInt8]] = [:]
        /// What stands under a path of an archive, and where its links lead.
        var members: [String: (digest: Digest, size: UInt64)] = [:]
        var links: [String: String] = [:]
        /// Of a folder.
        var folder: Owned?
    }

    /// - Throws: what is wrong; images that were whole before stay.
    public func folder(_ path: String) throws(Problem) -> [Loaded] {
        let held = try store.share()
        defer { withExtendedLifetime(held) {} }
        var layout = Layout()
        let folder = try explaining("cannot load \(path)") { () throws(KernelError) in
            Owned(try Descriptor.open(path, [.read, .folder]))
        }
        layout.folder = folder
        for name in ["oci-layout", "index.json"] {
            do throws(KernelError) {
                let file = try folder.descriptor.open(inRoot: name, [.read, .nonblocking])
                layout.documents[name] = try file.readAll(limit: ImageLoad.largestDocument)
            } catch {
                guard error.number == Errno.missing else { throw Problem("cannot load \(path)", error) }
            }
        }
        return try load(layout, path)
    }

    /// A tar, plain or compressed.
    public func archive(_ source: any ByteSource, _ path: String) throws(Problem) -> [Loaded] {
        let held = try store.share()
        defer { withExtendedLifetime(held) {} }
        let inflating = InflatingSource(source)
        do throws(Problem) { return try load(try read(inflating, path), path) } catch {
            guard let failure = inflating.failure else { throw error }
            throw Problem("cannot load \(path)", failure)
        }
    }

    /// Takes every file in as a blob, for which it is in no order known beforehand; a sweep takes what was no part of
    /// an image.
    private func read(_ source: any ByteSource, _ path: String) throws(Problem) -> Layout {
        var layout = Layout()
        let reader = TarReader(source)
        var members = 0
        while let entry = try reader.next() {
            members += 1
            guard members <= ImageLoad.mostMembers else {
                throw Problem("cannot load \(path)", "it has more than \(ImageLoad.mostMembers) members")
            }
            let parts = try TarEntry.parts(of: entry.path)
            let name = parts.map(\.description).joined(separator: "/")
            switch entry.kind {
            case .folder: continue
            case .file: break
            case .link, .hardLink:
                // docker save names a layer that two images have once, and links the second.
                let above = entry.kind == .link ? Array(parts.dropLast()) : []
                if let target = ImageLoad.target(entry.target, from: above) { layout.links[name] = target }
                continue
            default: throw Problem("cannot load \(path)", "\(name) is neither a file nor a folder nor a link")
            }
            guard entry.size <= limits.bytes, entry.extents == nil else {
                throw Problem("cannot load \(path)", "\(name) is too large, or has holes")
            }
            let member = MemberSource(reader)
            do throws(Problem) {
                if ImageLoad.isDocument(name) {
                    layout.documents[name] = try document(member, entry, path)
                    continue
                }
                progress("reading \(name)")
                let inBlobs = name.hasPrefix("blobs/sha256/")
                guard !inBlobs || Digest(hex: String(name.dropFirst(13))) != nil else {
                    throw Problem("cannot load \(path)", "\(name) is no name of a blob")
                }
                let expected = inBlobs ? Digest(hex: String(name.dropFirst(13))).map { ($0, entry.size) } : nil
                layout.members[name] = try store.ingest(member, what: name, expected: expected)
            } catch { throw member.problem ?? error }
        }
        return layout
    }

    private static func isDocument(_ name: String) -> Bool {
        name == "oci-layout" || name == "index.json" || name == "manifest.json"
    }

    private func document(_ source: any ByteSource, _ entry: TarEntry, _ path: String) throws(Problem) -> [UInt8] {
        guard entry.size <= UInt64(ImageLoad.largestDocument) else {
            throw Problem("cannot load \(path)", "\(entry.path) is larger than \(ImageLoad.largestDocument) bytes")
        }
        var bytes = [UInt8](repeating: 0, count: Int(entry.size))
        var done = 0
        while done < bytes.count {
            let count = try explaining("cannot load \(path)") { () throws(KernelError) in
                try withBytes(of: &bytes) { buffer throws(KernelError) in
                    try source.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[done...]))
                }
            }
            guard count > 0 else { throw Problem("cannot load \(path)", "it ends inside of \(entry.path)") }
            done += count
        }
        return bytes
    }

    /// Where a link within an archive leads; nil: out of it.
    private static func target(_ target: FileName, from folder: [FileName]) -> String? {
        guard target.bytes.first != 0x2f else { return nil }
        var parts = folder.map(\.description)
        for part in target.description.split(separator: "/") where part != "." {
            if part == ".." {
                if parts.isEmpty { return nil }
                parts.removeLast()
            } else {
                parts.append(String(part))
            }
        }
        return parts.joined(separator: "/")
    }

    // MARK: What it means

    private func load(_ layout: Layout, _ path: String) throws(Problem) -> [Loaded] {
        if let index = layout.documents["index.json"] {
            do throws(DocumentError) { try ImageLoad.check(layout.documents["oci-layout"]) } catch {
                throw Problem("cannot load \(path)", error.description)
            }
            return try loadIndex(layout, index, path)
        }
        if let manifest = layout.documents["manifest.json"] { return try loadDocker(layout, manifest, path) }
        throw Problem(
            "cannot load \(path)", "it has neither an index.json nor a manifest.json",
            hint: "an OCI layout (folder or tar), or what docker save wrote; for a plain root: codex32 import")
    }

    private static func check(_ bytes: [UInt8]?) throws(DocumentError) {
        guard let bytes else { throw DocumentError("oci-layout", "is missing") }
        let version = try JSONObject(try JSONReader.read(bytes), at: "oci-layout").required("imageLayoutVersion")
        guard version == "1.0.0" else { throw DocumentError("oci-layout", "version \(version) is not known") }
    }

    private func loadIndex(_ layout: Layout, _ bytes: [UInt8], _ path: String) throws(Problem) -> [Loaded] {
        let what = "cannot load \(path)"
        var found: [BlobDescriptor] = []
        var others: Set<String> = []
        do throws(DocumentError) {
            for descriptor in try ImageLoad.manifests(bytes, "index.json") {
                if descriptor.isIndex {
                    let nested = try inner(descriptor, layout, depth: 1, &others)
                    guard let first = nested.first else { continue }
                    // The names stand at the outer one.
                    found.append(first.named(as: descriptor))
                } else if ImageManifest.kind(descriptor.mediaType) {
                    if let said = descriptor.platform, !platform.takes(said) {
                        others.insert("\(said)")
                    } else {
                        found.append(descriptor)
                    }
                }
            }
        } catch { throw Problem(what, error.description) }
        guard !found.isEmpty else {
            let have = others.isEmpty ? "no image" : "no image but for \(others.sorted().joined(separator: ", "))"
            throw Problem(what, "it has \(have)", hint: "asked for was \(platform); --platform chooses another")
        }
        if asked != nil, found.count > 1 {
            throw Problem(what, "it has \(found.count) images", hint: "leave --name out")
        }
        var loaded: [Loaded] = []
        for descriptor in found {
            let bytes = try take(descriptor, layout, limit: ImageManifest.largest)
            loaded.append(try finish(bytes, descriptor.digest, names(descriptor), layout, what))
        }
        return loaded
    }

    /// An index's entries that are for the platform.
    private func inner(
        _ descriptor: BlobDescriptor, _ layout: Layout, depth: Int, _ others: inout Set<String>
    ) throws(DocumentError) -> [BlobDescriptor] {
        guard depth <= ImageLoad.deepestIndex else {
            throw DocumentError("index.json", "indexes nest more than \(ImageLoad.deepestIndex) deep")
        }
        let bytes: [UInt8]
        do throws(Problem) { bytes = try take(descriptor, layout, limit: ImageLoad.largestDocument) } catch {
            throw DocumentError("\(descriptor.digest)", "\(error.what): \(error.why)")
        }
        for entry in try ImageLoad.manifests(bytes, "\(descriptor.digest)") {
            if entry.isIndex {
                let found = try inner(entry, layout, depth: depth + 1, &others)
                if !found.isEmpty { return found }
            } else if ImageManifest.kind(entry.mediaType) {
                guard let said = entry.platform, !platform.takes(said) else { return [entry] }
                others.insert("\(said)")
            }
        }
        return []
    }

    private static func manifests(_ bytes: [UInt8], _ place: String) throws(DocumentError) -> [BlobDescriptor] {
        let top = try JSONObject(try JSONReader.read(bytes), at: place)
        guard try top.unsigned("schemaVersion") == 2 else { throw DocumentError("\(place).schemaVersion", "must be 2") }
        var list: [BlobDescriptor] = []
        for object in try top.objects("manifests") { list.append(try BlobDescriptor(object)) }
        return list
    }

    /// By what containerd, and then what the specification calls the annotation for it. A tag alone names nothing.
    private func names(_ descriptor: BlobDescriptor) -> [ImageName] {
        if let asked { return [asked] }
        if let whole = descriptor.annotations["io.containerd.image.name"].flatMap({ ImageName($0) }) { return [whole] }
        guard let reference = descriptor.annotations["org.opencontainers.image.ref.name"], reference.contains(":"),
            let name = ImageName(reference)
        else { return [] }
        return [name]
    }

    // MARK: docker-archive

    private func loadDocker(_ layout: Layout, _ bytes: [UInt8], _ path: String) throws(Problem) -> [Loaded] {
        let what = "cannot load \(path)"
        var list: [(config: String, tags: [String], layers: [String])] = []
        do throws(DocumentError) {
            guard case .array(let values) = try JSONReader.read(bytes) else {
                throw DocumentError("manifest.json", "must be an array")
            }
            for (index, value) in values.enumerated() {
                let object = try JSONObject(value, at: "manifest.json[\(index)]")
                list.append(
                    (try object.required("Config"), try object.strings("RepoTags"), try object.strings("Layers")))
            }
        } catch { throw Problem(what, error.description) }
        guard !list.isEmpty else { throw Problem(what, "it has no image") }
        if asked != nil, list.count > 1 {
            throw Problem(what, "it has \(list.count) images", hint: "leave --name out")
        }
        var loaded: [Loaded] = []
        for image in list {
            let config = try member(image.config, layout, ImageManifest.configType, what)
            var layers: [BlobDescriptor] = []
            for layer in image.layers { layers.append(try member(layer, layout, ImageManifest.layerType, what)) }
            let text = Array(ImageManifest(config: config, layers: layers).document.text().utf8)
            var names: [ImageName] = []
            for tag in image.tags { names.append(try ImageName(asked: tag)) }
            let digest = try explaining(what) { () throws(KernelError) -> Digest in
                let sum = try SHA256()
                sum.update(text)
                return Digest(hex: sum.finish())!
            }
            loaded.append(try finish(text, digest, asked.map { [$0] } ?? names, layout, what))
        }
        return loaded
    }

    private func member(
        _ name: String, _ layout: Layout, _ type: String, _ what: String
    ) throws(Problem) -> BlobDescriptor {
        var at = name
        for _ in 0..<8 {
            if let found = layout.members[at] {
                return BlobDescriptor(mediaType: type, digest: found.digest, size: found.size)
            }
            guard let next = layout.links[at] else { break }
            at = next
        }
        throw Problem(what, "\(name) is missing in it", hint: "it was cut off, or put together wrongly")
    }

    // MARK: Into the store

    /// A blob of the layout, in the store by then.
    private func need(_ descriptor: BlobDescriptor, _ layout: Layout) throws(Problem) {
        if store.hasBlob(descriptor) { return }
        let what = "the blob \(descriptor.digest)"
        guard let folder = layout.folder else {
            let known = layout.members.values.first { $0.digest == descriptor.digest }
            let why = known.map { "it has \($0.size) bytes, and should have \(descriptor.size)" } ?? "it is missing"
            throw Problem("cannot load \(what)", why, hint: "the layout was cut off, or put together wrongly")
        }
        guard descriptor.size <= limits.bytes else {
            throw Problem(
                "cannot load \(what)", "it is larger than \(limits.bytes) bytes", hint: "--max-size raises it")
        }
        let file = try explaining("cannot load \(what)") { () throws(KernelError) in
            // Without waiting: a pipe in its place has no writer.
            let file = try folder.descriptor.open(
                inRoot: "blobs/sha256/\(descriptor.digest.hex)", [.read, .nonblocking])
            guard try file.status().kind == .file else { throw KernelError("open", number: Errno.invalid) }
            return file
        }
        progress("reading \(descriptor.digest.short)")
        _ = try store.ingest(ByteStream(file), what: what, expected: (descriptor.digest, descriptor.size))
    }

    private func take(_ descriptor: BlobDescriptor, _ layout: Layout, limit: Int) throws(Problem) -> [UInt8] {
        guard descriptor.size <= UInt64(limit) else {
            throw Problem("cannot load \(descriptor.digest)", "it is larger than \(limit) bytes")
        }
        try need(descriptor, layout)
        return try store.blob(descriptor.digest, limit: limit)
    }

    /// The same for an image whose blobs are all in the store: see ``ImagePull``.
    func finish(
        _ manifest: [UInt8], _ digest: Digest, names: [ImageName], _ what: String
    ) throws(Problem) -> Loaded { try finish(manifest, digest, names, Layout(), what) }

    /// All that the manifest refers to, then its layers unpacked, then the manifest, then its names: at no moment
    /// does something that is there refer to what is not.
    private func finish(
        _ manifest: [UInt8], _ digest: Digest, _ names: [ImageName], _ layout: Layout, _ what: String
    ) throws(Problem) -> Loaded {
        let image: ImageStore.Stored
        do throws(DocumentError) {
            let parsed = try ImageManifest(bytes: manifest)
            do throws(Problem) {
                guard parsed.config.size <= UInt64(ImageConfig.largest) else {
                    throw Problem(what, "its config is larger than \(ImageConfig.largest) bytes")
                }
                try need(parsed.config, layout)
                for layer in parsed.layers { try need(layer, layout) }
            } catch { throw DocumentError("", "\(error.what): \(error.why)") }
            let text: [UInt8]
            do throws(Problem) { text = try store.blob(parsed.config.digest, limit: ImageConfig.largest) } catch {
                throw DocumentError("config", error.why)
            }
            let config = try ImageConfig(bytes: text)
            guard config.diffIDs.count == parsed.layers.count else {
                throw DocumentError(
                    "config.rootfs.diff_ids", "there are \(config.diffIDs.count) for \(parsed.layers.count) layers")
            }
            guard platform.takes(config.platform) else {
                throw DocumentError(
                    "config",
                    "it is for \(config.platform), and asked for was \(platform); --platform chooses another")
            }
            image = ImageStore.Stored(
                digest: digest, manifest: parsed, config: config, chain: try ImageStore.chain(config.diffIDs))
        } catch { throw Problem(what, error.description) }
        try store.unpack(image, limits, progress: progress, notice: notice)
        try explaining(what) { () throws(KernelError) in
            let manifests = try Descriptor.open("\(store.folder)/manifests", [.read, .folder])
            let text = String(decoding: manifest, as: UTF8.self)
            // As text its bytes would not be the same.
            guard text.utf8.elementsEqual(manifest) else { throw KernelError("read", number: Errno.invalid) }
            try manifests.replace(digest.hex, with: text, durable: true)
            try manifests.sync()
        }
        for name in names { try store.name(name, digest) }
        return Loaded(digest: digest, names: names)
    }
}

extension BlobDescriptor {
    /// With the annotations of the index that led to it.
    fileprivate func named(as outer: BlobDescriptor) -> BlobDescriptor {
        BlobDescriptor(self, annotations: outer.annotations)
    }
}
