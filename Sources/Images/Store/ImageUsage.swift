public import LinuxKernel

/// What the images take on the disk.
extension ImageStore {
    public struct Usage: Sendable {
        /// How many images there are, and how many of them are in use.
        public var total = 0
        public var active = 0
        /// All of the store, with what no image has.
        public var size = TreeUsage()
        /// Bytes that only images have that are in no use, or none has.
        public var reclaimable: UInt64 = 0
    }

    /// - Parameter used: the images that containers use. An image that cannot be read counts as one in use, with all
    ///   that could be its.
    public func usage(used: Set<Digest>) throws(Problem) -> Usage {
        var usage = Usage()
        var kept: Set<String> = []
        var isKnown = true
        for digest in try all() {
            usage.total += 1
            let inUse = used.contains(digest)
            if inUse {
                usage.active += 1
                kept.insert("manifests/\(digest.hex)")
            }
            guard let image = try? image(digest) else {
                isKnown = false
                continue
            }
            guard inUse else { continue }
            kept.insert("blobs/\(image.manifest.config.digest.hex)")
            kept.formUnion(image.manifest.layers.map { "blobs/\($0.digest.hex)" })
            kept.formUnion(image.chain.map { "layers/\($0.hex)" })
        }
        for part in ["manifests", "blobs", "layers", "ingest"] {
            guard let place = try? Descriptor.open("\(folder)/\(part)", [.read, .folder]) else { continue }
            for name in (try? place.entries()) ?? [] {
                let size = place.usage(of: name)
                usage.size += size
                if isKnown, part != "ingest", !kept.contains("\(part)/\(name)") { usage.reclaimable &+= size.bytes }
            }
        }
        return usage
    }
}
