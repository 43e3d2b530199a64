internal import LinuxKernel
internal import Sandbox

/// The mounts of containers that are in a mount namespace of others'.
extension SharedMounts {
    /// Takes the container's away, if there are any: also those of a `create` that was killed.
    ///
    /// In their namespace, wherever this process is, and whoever is in it by now: where nobody is, they are gone with it.
    func detach(_ what: String) throws(Problem) {
        guard let mark else { return }
        if Namespace.current(.mount) == inode {
            return try explaining(what) { () throws(KernelError) in
                try Descriptor.unmount(marked: mark, in: nil, asRootOf: nil)
            }
        }
        for place in try places(what) {
            guard (try? Descriptor.status(ofPath: place.mounts))?.inode == inode else { continue }
            return try explaining(what) { () throws(KernelError) in
                let mounts: Descriptor? = try Descriptor.open(place.mounts, [.read, .nonblocking])
                try Descriptor.unmount(marked: mark, in: mounts, asRootOf: try SharedMounts.open(place.user))
            }
        }
    }

    /// Where namespaces can be found, each with the user namespace that it belongs to: what the configuration names, which
    /// may be there without a process in it, and then those of all processes. Root's own rights are enough.
    private func places(_ what: String) throws(Problem) -> [(mounts: String, user: String?)] {
        let all = try explaining(what) { () throws(KernelError) in
            try Descriptor.open("/proc", [.read, .folder]).entries()
        }
        var places: [(mounts: String, user: String?)] = []
        if let path {
            let isOfAProcess = !Machine.isRoot && path.hasSuffix("/ns/mnt")
            places.append((path, isOfAProcess ? String(path.dropLast(3)) + "user" : nil))
        }
        for name in all where UInt32(name) != nil {
            places.append(("/proc/\(name)/ns/mnt", Machine.isRoot ? nil : "/proc/\(name)/ns/user"))
        }
        return places
    }

    private static func open(_ path: String?) throws(KernelError) -> Descriptor? {
        guard let path else { return nil }
        return try Descriptor.open(path, [.read, .nonblocking])
    }
}
