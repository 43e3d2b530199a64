internal import LinuxKernel

/// A layer's marks where no whiteout can be made, as in a store on an overlay, or NFS.
///
/// The kernel reads a layer with these no better than one without any. So it is kept merged with all that is below it,
/// under the same name, `merged/HEX` says so, and nothing below is looked at. That costs a copy, shared where the file
/// system can.
enum LayerStandIn {
    /// A socket stands for a whiteout: no layer has any, for no archive can hold one.
    static func hides(_ node: Node) -> Bool { node.kind == .socket }

    /// One by the name of the archive's own mark, in a folder that hides those below.
    static func isOpaque(_ folder: borrowing Descriptor) -> Bool {
        (try? folder.node(LayerMarks.opaque).kind) == .socket
    }

    /// What a file system says that has no such thing, or keeps it for itself.
    static func isWanted(_ error: KernelError) -> Bool {
        [Errno.permission, Errno.notSupported, Errno.invalid, Errno.noSystemCall].contains(error.number)
    }
}

extension ImageStore {
    func merging(_ name: String) -> String { "\(name).merged" }

    /// The layers that an image's root is put together from, top first: one that is merged is the last.
    func stack(_ chain: [Digest]) -> [Digest] {
        let layers = Array(chain.reversed())
        if Descriptor.isMissing("\(folder)/merged") { return layers }
        let end = layers.firstIndex { !Descriptor.isMissing("\(folder)/merged/\($0.hex)") }
        return end.map { Array(layers[...$0]) } ?? layers
    }

    /// Puts what is below a layer into it, which nobody else uses yet.
    ///
    /// - Parameter left: bytes that the image's merged layers may still have together: each has all that is below again.
    func merge(_ name: String, _ below: [Owned], in place: Owned, left: inout UInt64) throws(Problem) {
        let what = "cannot merge a layer with those below"
        do throws(KernelError) {
            let layer = Owned(try place.descriptor.open(name, [.read, .folder, .noFollow]))
            try place.descriptor.makeFolder(merging(name), mode: 0o700)
            let target = try place.descriptor.open(merging(name), [.read, .folder, .noFollow])
            let copy =
                Machine.isRoot
                ? LayeredCopy(capabilities: true) { ($0, $1) } : LayeredCopy(capabilities: true, owner: nil)
            left -= try copy.copy(LayeredFolder([layer] + below, hasStandIns: true), into: target, most: left)
        } catch {
            guard error.number == Errno.tooBig else {
                throw Problem(what, error, hint: "--root FOLDER on ext4, xfs, btrfs or tmpfs needs no merging")
            }
            throw Problem(
                what, "all of them together are larger than an image may be",
                hint: "--max-size raises the limit; --root FOLDER on ext4, xfs, btrfs or tmpfs needs no merging")
        }
        try place.descriptor.removeContainerTree(name)
        try explaining(what) { () throws(KernelError) in try place.descriptor.rename(merging(name), to: name) }
    }

    /// Says before a layer has its name whether it is merged.
    func mark(_ chain: Digest, isMerged: Bool) throws(KernelError) {
        let path = "\(folder)/merged"
        if !isMerged, Descriptor.isMissing(path) { return }
        let place = try makeFolders(path)
        if isMerged {
            try place.open(chain.hex, [.write, .create, .noFollow]).sync()
        } else if !Descriptor.isMissing("\(path)/\(chain.hex)") {
            try place.remove(chain.hex)
        }
        try place.sync()
    }

    /// Forgets those of layers that are gone; the caller has the store alone.
    func sweepMerged(keeping layers: Set<String>) throws(Problem) {
        guard let place = try? Descriptor.open("\(folder)/merged", [.read, .folder]) else { return }
        try explaining("cannot sweep \(folder)/merged") { () throws(KernelError) in
            for name in try place.entries() where !layers.contains(name) { try place.remove(name) }
        }
    }
}
