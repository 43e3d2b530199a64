public import LinuxKernel
internal import OCISpec

/// `image save`: images as a tar of an OCI layout, with the manifest.json of a docker-archive beside it.
public struct ImageSave {
    private let store: ImageStore

    public init(_ store: ImageStore) { self.store = store }

    /// The same images give the same bytes.
    public func write(_ images: [(digest: Digest, names: [ImageName])], to sink: any ByteSink) throws(Problem) {
        let held = try store.share()
        defer { withExtendedLifetime(held) {} }
        let writer = TarWriter(sink)
        var manifests: [JSON] = []
        var docker: [JSON] = []
        var written: Set<Digest> = []
        try put(writer, "oci-layout", Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8))
        for (digest, names) in images {
            let image = try store.image(digest)
            let path = "\(store.folder)/manifests/\(digest.hex)"
            let text = try explaining("cannot read the image \(digest.short)") { () throws(KernelError) in
                try Descriptor.open(path, [.read, .noFollow]).readAll(limit: ImageManifest.largest)
            }
            if written.insert(digest).inserted { try put(writer, "blobs/sha256/\(digest.hex)", text) }
            for blob in [image.manifest.config] + image.manifest.layers where written.insert(blob.digest).inserted {
                try put(writer, blob)
            }
            manifests += ImageSave.entries(digest, text.count, names)
            docker.append(
                .members([
                    "Config": .string("blobs/sha256/\(image.manifest.config.digest.hex)"),
                    "RepoTags": .list(names.map(\.description)),
                    "Layers": .list(image.manifest.layers.map { "blobs/sha256/\($0.digest.hex)" }),
                ]))
        }
        let index = JSON.members([
            "schemaVersion": .integer(2), "mediaType": .string("application/vnd.oci.image.index.v1+json"),
            "manifests": .array(manifests),
        ])
        try put(writer, "index.json", Array(index.text().utf8))
        try put(writer, "manifest.json", Array(JSON.array(docker).text().utf8))
        try explaining("cannot write the archive") { () throws(KernelError) in try writer.finish() }
    }

    private static func entries(_ digest: Digest, _ size: Int, _ names: [ImageName]) -> [JSON] {
        let plain: [JSON.Member] = [
            .init("mediaType", .string(ImageManifest.mediaType)), .init("digest", .string("\(digest)")),
            .init("size", .number(size)),
        ]
        if names.isEmpty { return [.object(plain)] }
        return names.map { name in
            let annotations = JSON.members([
                "io.containerd.image.name": .string("\(name)"), "org.opencontainers.image.ref.name": .string(name.tag),
            ])
            return .object(plain + [.init("annotations", annotations)])
        }
    }

    private func entry(_ path: String, _ size: UInt64) -> TarEntry {
        TarEntry(
            path: FileName(path), kind: .file, mode: 0o644, uid: 0, gid: 0, size: size,
            modified: (seconds: 0, nanoseconds: 0))
    }

    private func put(_ writer: TarWriter, _ path: String, _ bytes: [UInt8]) throws(Problem) {
        try explaining("cannot write the archive") { () throws(KernelError) in
            try writer.begin(entry(path, UInt64(bytes.count)))
            var bytes = bytes
            try withBytes(of: &bytes) { buffer throws(KernelError) in try writer.write(UnsafeRawBufferPointer(buffer)) }
        }
    }

    private func put(_ writer: TarWriter, _ blob: BlobDescriptor) throws(Problem) {
        let file = try store.openBlob(blob.digest)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 4096)
        defer { buffer.deallocate() }
        let what = "cannot save the blob \(blob.digest)"
        let sum = try explaining(what) { () throws(KernelError) in
            try writer.begin(entry("blobs/sha256/\(blob.digest.hex)", blob.size))
            return try SHA256()
        }
        var left = blob.size
        while left > 0 {
            let count = try explaining(what) { () throws(KernelError) -> Int in
                let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(min(left, UInt64(buffer.count)))])
                let count = try file.read(into: part)
                let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<count])
                sum.update(bytes)
                try writer.write(bytes)
                return count
            }
            guard count > 0 else { break }
            left -= UInt64(count)
        }
        // Verified as it goes: a damaged blob is not passed on as if it were whole.
        guard left == 0, sum.finish() == blob.digest.hex else {
            throw Problem(what, "it is damaged", hint: "codex32 image verify; load the image again")
        }
    }
}
