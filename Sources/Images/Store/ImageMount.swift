public import LinuxKernel

/// `image mount`: an image's files to look at, read-only, in `mounts/HEX` of the store.
extension ImageStore {
    private func mountPath(_ digest: Digest) -> String { "\(folder)/mounts/\(digest.hex)" }

    /// The images that are mounted now, with their paths: as the kernel says, so that a reboot is no concern.
    public func mounted() -> [(digest: Digest, path: String)] {
        let text = (try? Descriptor.contents(of: "/proc/self/mountinfo", limit: 64 << 20)) ?? ""
        guard let own = try? Descriptor.open("\(folder)/mounts", [.pathOnly, .folder]),
            let real = try? Descriptor.link("/proc/self/fd/\(own.number)")
        else { return [] }
        return MountRecord.parse(text).compactMap { record in
            guard record.target.hasPrefix(real + "/"),
                let digest = Digest(hex: String(record.target.dropFirst(real.utf8.count + 1)))
            else { return nil }
            return (digest, record.target)
        }
    }

    /// Mounts an image, or finds that it is mounted already.
    ///
    /// - Returns: where.
    public func mount(_ digest: Digest) throws(Problem) -> String {
        let what = "cannot mount the image \(digest.short)"
        guard Machine.isRoot else {
            throw Problem(
                what, "only root can mount for all of the machine to see",
                hint: "codex32 image save writes it out; codex32 run --image gives a shell in it")
        }
        let lock = try share()
        defer { withExtendedLifetime(lock) {} }
        let held = try hold(digest)
        defer { withExtendedLifetime(held) {} }
        if let there = mounted().first(where: { $0.digest == digest }) { return there.path }
        let layers = try layerFolders(digest)
        let names = "mount-\(Machine.randomHex(bytes: 8))"
        try explaining(what) { () throws(KernelError) in
            let mounts = try makeFolders("\(folder)/mounts")
            do throws(KernelError) { try mounts.makeFolder(digest.hex) } catch {
                guard error.number == Errno.exists else { throw error }
            }
            let target = try mounts.open(digest.hex, [.pathOnly, .folder, .noFollow])
            // A hundred layers' own names would be longer than the kernel takes.
            let ingest = try Descriptor.open("\(folder)/ingest", [.read, .folder])
            try ingest.makeFolder(names)
            do throws(KernelError) {
                let short = try ingest.open(names, [.read, .folder, .noFollow])
                for (index, path) in layers.enumerated() {
                    let layer = path.dropFirst(folder.utf8.count + 1)
                    try short.makeLink(String(index, radix: 36), to: "../../\(layer)")
                }
                try target.mount(layers.indices.map { String($0, radix: 36) }, in: short)
                try ingest.removeTree(names)
            } catch {
                try? ingest.removeTree(names)
                try? mounts.remove(digest.hex, folder: true)
                throw error
            }
        }
        return mountPath(digest)
    }

    /// Takes a mount away.
    ///
    /// - Throws: it is not mounted, or somebody is in it.
    public func unmount(_ digest: Digest) throws(Problem) {
        let what = "cannot unmount the image \(digest.short)"
        guard let there = mounted().first(where: { $0.digest == digest }) else {
            throw Problem(what, "it is not mounted", hint: "codex32 image mount shows those that are")
        }
        try explaining(what, hint: "leave its folder, and end the programs that have files of it open") {
            () throws(KernelError) in
            try Descriptor.unmount(there.path)
            try Descriptor.open("\(folder)/mounts", [.read, .folder]).remove(digest.hex, folder: true)
        }
    }
}
