public import LinuxKernel

/// Taking away what nobody refers to.
extension ImageStore {
    public struct Swept: Sendable {
        public var images: [Digest] = []
        public var layers = 0
        public var blobs = 0
        /// Bytes on the disk.
        public var bytes: UInt64 = 0
    }

    /// Takes away the name; the image goes with its last name, unless something uses it.
    ///
    /// - Parameters:
    ///   - text: a name; or a digest, which stands for the image with all of its names.
    ///   - inUse: which images containers use, and a container of each; asked while nothing can be added.
    public func remove(
        _ text: String, force: Bool, inUse: () throws(Problem) -> [Digest: String]
    ) throws(Problem) -> (untagged: [ImageName], swept: Swept) {
        let lock = try alone()
        defer { withExtendedLifetime(lock) {} }
        let digest = try require(text)
        let all = try names().filter { $0.digest == digest }.map(\.name)
        let asked = ImageName(text)
        let given = if let asked, all.contains(asked) { [asked] } else { all }
        let isLast = given.count == all.count
        let users = try inUse()
        if isLast, !force {
            if let user = users[digest] {
                throw Problem(
                    "cannot remove \(text)", "the container \(user) uses it",
                    hint: "codex32 rm \(user) first; -f takes only its name away")
            }
            guard !mounted().contains(where: { $0.digest == digest }) else {
                throw Problem(
                    "cannot remove \(text)", "it is mounted", hint: "codex32 image unmount \(digest.short) first")
            }
            guard isFree(digest) else {
                throw Problem(
                    "cannot remove \(text)", "a foreground run uses it", hint: "-f takes only its name away")
            }
        }
        try explaining("cannot remove \(text)") { () throws(KernelError) in
            let place = try Descriptor.open("\(folder)/names", [.read, .folder])
            for name in given { try place.remove(name.fileName) }
            try place.sync()
        }
        // A name that goes leaves what starts need.
        if isLast, !(asked.map(all.contains) ?? false) { try forgetReady(before: nil, digest) }
        let goes = isLast ? try !kept().contains(digest) : false
        return (given, goes ? try sweep([digest], inUse: users) : Swept())
    }

    /// Takes away all images that have no name and are in no use, and all layers and blobs that no image has. It
    /// waits for what is being loaded.
    ///
    /// - Parameter before: those that are kept for starts go too, where none needed them since then, in seconds since
    ///   1970.
    public func prune(
        readyBefore before: Int64, inUse: () throws(Problem) -> [Digest: String]
    ) throws(Problem) -> Swept {
        if Descriptor.isMissing(folder) { return Swept() }
        let lock = try alone()
        defer { withExtendedLifetime(lock) {} }
        clear(parts: true)
        try forgetReady(before: before)
        clearClaims()
        let named = try kept()
        return try sweep(try all().filter { !named.contains($0) }, inUse: try inUse())
    }

    /// Takes away those of these images that have no name and are in no use, and what no image has: what a build made
    /// on its way. It waits for what is being loaded.
    func discard(_ digests: [Digest], inUse: () throws(Problem) -> [Digest: String]) throws(Problem) {
        let lock = try alone()
        defer { withExtendedLifetime(lock) {} }
        let named = try kept()
        let there = Set(try all())
        _ = try sweep(digests.filter { there.contains($0) && !named.contains($0) }, inUse: try inUse())
    }

    /// Those that have a name, or are kept for a start.
    private func kept() throws(Problem) -> Set<Digest> {
        Set(try names().map(\.digest) + allReady().map(\.digest))
    }

    private func alone() throws(Problem) -> Held {
        _ = try share()
        return try explaining("cannot use the image store \(folder)") { () throws(KernelError) in
            let lock = try Descriptor.open("\(folder)/lock", [.readWrite, .noFollow])
            _ = try lock.lock(wait: true)
            return Held(lock)
        }
    }

    private func isFree(_ digest: Digest) -> Bool {
        guard let file = try? Descriptor.open("\(folder)/manifests/\(digest.hex)", [.read, .noFollow]) else {
            return true
        }
        return (try? file.lock(wait: false)) == true
    }

    private func sweep(_ candidates: [Digest], inUse users: [Digest: String]) throws(Problem) -> Swept {
        var swept = Swept()
        let mounted = Set(mounted().map(\.digest))
        for digest in candidates where users[digest] == nil && !mounted.contains(digest) {
            let path = "\(folder)/manifests/\(digest.hex)"
            try explaining("cannot remove the image \(digest.short)") { () throws(KernelError) in
                let file = try Descriptor.open(path, [.read, .noFollow])
                // A run holds it from before it looks at it, and looks again once it has it.
                guard try file.lock(wait: false) else { return }
                try Descriptor.open("\(folder)/manifests", [.read, .folder]).remove(digest.hex)
                swept.images.append(digest)
            }
        }
        var blobs: Set<String> = []
        var layers: Set<String> = []
        for digest in try all() {
            // One that cannot be read may need any of them: nothing more is taken away then.
            let image = try image(digest)
            blobs.insert(image.manifest.config.digest.hex)
            blobs.formUnion(image.manifest.layers.map(\.digest.hex))
            layers.formUnion(image.chain.map(\.hex))
        }
        swept.blobs = try sweep("blobs", keeping: blobs, &swept.bytes)
        swept.layers = try sweep("layers", keeping: layers, &swept.bytes)
        try sweepMerged(keeping: layers)
        return swept
    }

    private func sweep(_ name: String, keeping: Set<String>, _ bytes: inout UInt64) throws(Problem) -> Int {
        let place = try explaining("cannot sweep \(folder)/\(name)") { () throws(KernelError) in
            Owned(try Descriptor.open("\(folder)/\(name)", [.read, .folder]))
        }
        var count = 0
        for entry in (try? place.descriptor.entries()) ?? [] where !keeping.contains(entry) {
            bytes &+= place.descriptor.usage(of: entry).bytes
            // Renamed first: what stands under a layer's name is whole.
            let half = ".\(entry.prefix(100)).gone"
            try explaining("cannot remove \(entry)") { () throws(KernelError) in
                if !entry.hasPrefix(".") { try place.descriptor.rename(entry, to: half) }
            }
            try place.descriptor.removeContainerTree(entry.hasPrefix(".") ? entry : half)
            if !entry.hasPrefix(".") { count += 1 }
        }
        return count
    }
}
