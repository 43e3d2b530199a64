internal import LinuxKernel

/// Owner, mode, attributes and time of what was unpacked: in this order, for each takes away of the one behind it.
extension TarUnpacker {
    /// What a new file of a fresh folder has of itself, so that only what differs must be set.
    struct Usual {
        /// The bits that new files lose (umask(2)); nil: a default list of the folder's (acl(5)) has a say too.
        let mask: UInt32?
        /// The owner that they have in the folder that was written to last: its setgid bit and a mount option have a say.
        var owner: (uid: UInt32, gid: UInt32)?

        init(_ root: borrowing Descriptor, isFresh: Bool) {
            mask = isFresh && Usual.hasNoList(root) ? Machine.fileMask : nil
        }

        private static func hasNoList(_ folder: borrowing Descriptor) -> Bool {
            do throws(KernelError) { _ = try folder.attribute("system.posix_acl_default") } catch {
                return error.number == Errno.noData || error.number == Errno.notSupported
            }
            return false
        }
    }

    func settle(_ folder: borrowing Descriptor, _ entry: TarEntry) throws(Problem) {
        do throws(KernelError) { try settle(file: folder, entry) } catch {
            throw Problem("cannot set the owner and mode of \(entry.path)", error, hint: TarUnpacker.hint(error))
        }
    }

    /// - Parameter mode: the one it has, where that is known.
    func settle(file: borrowing Descriptor, _ entry: TarEntry, mode: UInt32? = nil) throws(KernelError) {
        if options.owners { try own(file, entry, isNew: mode != nil) }
        if mode != self.mode(entry) { try file.setMode(self.mode(entry)) }
        for attribute in entry.attributes where options.attributes && TarAttribute.isKept(attribute.name) {
            if attribute.name == TarAttribute.capability, !options.capabilities { continue }
            do throws(KernelError) { try file.setAttribute(attribute.name, attribute.value) } catch {
                guard error.number == Errno.notSupported || error.number == Errno.permission else { throw error }
                notice("\(entry.path) lost its attribute \(attribute.name): \(error.reason)")
            }
        }
        try file.setModified(entry.modified.seconds, entry.modified.nanoseconds)
    }

    private func own(_ file: borrowing Descriptor, _ entry: TarEntry, isNew: Bool) throws(KernelError) {
        if isNew {
            if usual.owner == nil {
                let status = try file.status()
                usual.owner = (status.uid, status.gid)
            }
            if let owner = usual.owner, owner == (entry.uid, entry.gid) { return }
        }
        try file.setOwner(uid: entry.uid, gid: entry.gid)
    }

    /// Of a name that cannot be opened: a link, a pipe.
    func settleName(_ entry: TarEntry, _ name: FileName, _ folder: borrowing Descriptor) throws(KernelError) {
        if options.owners { try folder.setOwner(of: name, uid: entry.uid, gid: entry.gid) }
        try folder.setModified(of: name, entry.modified.seconds, entry.modified.nanoseconds)
    }

    private func mode(_ entry: TarEntry) -> UInt32 {
        if options.setIDs { return entry.mode }
        // On a folder setgid only says which group new files have.
        return entry.kind == .folder ? entry.mode & 0o1777 : entry.mode & 0o777
    }

    static func hint(_ error: KernelError) -> String? {
        switch error.number {
        case Errno.readOnly: "its root is read-only: copy to a volume or a temporary folder of it"
        case Errno.invalid where error.call.hasSuffix("chown"):
            "the owner is none of the container's ids: copy without -a"
        case Errno.permission where error.call.hasSuffix("chown"): "only root can give files away: copy without -a"
        case Errno.busy: "something is mounted there"
        default: nil
        }
    }
}
