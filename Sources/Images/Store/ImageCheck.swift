internal import LinuxKernel

/// `image verify`: are the bytes still those that they were?
extension ImageStore {
    /// Sums up all that an image is made of.
    ///
    /// - Returns: what is wrong, in words; empty: nothing is.
    public func verify(_ digest: Digest) -> [String] {
        var wrong: [String] = []
        let check = { (path: String, what: String, expected: Digest) in
            do throws(KernelError) {
                let source = try SummingSource(ByteStream(try Descriptor.open(path, [.read, .noFollow])))
                let sum = try source.finish()
                if sum != expected { wrong.append("\(what) is damaged: its sum is \(sum)") }
            } catch { wrong.append("\(what) cannot be read: \(error.reason)") }
        }
        check("\(folder)/manifests/\(digest.hex)", "the manifest \(digest)", digest)
        let image: Stored
        do throws(Problem) { image = try self.image(digest) } catch { return wrong + [error.why] }
        check("\(folder)/blobs/\(image.manifest.config.digest.hex)", "the config", image.manifest.config.digest)
        for (index, layer) in image.manifest.layers.enumerated() {
            check("\(folder)/blobs/\(layer.digest.hex)", "layer \(index + 1) (\(layer.digest))", layer.digest)
        }
        for (index, chain) in image.chain.enumerated() where Descriptor.isMissing(layerPath(chain)) {
            wrong.append("layer \(index + 1) is not unpacked")
        }
        return wrong
    }
}
