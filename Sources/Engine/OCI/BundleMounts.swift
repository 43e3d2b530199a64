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
        for folder in try SharedMounts.places(path, what) {
            guard (try? Descriptor.status(ofPath: "\(folder)/mnt"))?.inode == inode else { continue }
            return try explaining(what) { () throws(KernelError) in
                let mounts: Descriptor? = try Descriptor.open("\(folder)/mnt", [.read, .nonblocking])
                try Descriptor.unmount(marked: mark, in: mounts, asRootOf: try SharedMounts.user(folder))
            }
        }
    }

    /// Root's own rights are enough; an ordinary user has them as root of the namespace that the mounts belong to.
    private static func user(_ folder: String) throws(KernelError) -> Descriptor? {
        if Machine.isRoot { return nil }
        return try Descriptor.open("\(folder)/user", [.read, .nonblocking])
    }

    /// Folders of namespaces: of the process that the configuration names, and then of all that there are.
    private static func places(_ path: String?, _ what: String) throws(Problem) -> [String] {
        let all = try explaining(what) { () throws(KernelError) in
            try Descriptor.open("/proc", [.read, .folder]).entries()
        }
        let named = path.flatMap { $0.hasSuffix("/mnt") ? String($0.dropLast(4)) : nil }
        return (named.map { [$0] } ?? []) + all.filter { UInt32($0) != nil }.map { "/proc/\($0)/ns" }
    }
}
