internal import LinuxKernel
internal import Sandbox

/// The mounts of containers that are in a mount namespace of others'.
extension SharedMounts {
    /// Takes the container's away, if there are any: also those of a `create` that was killed.
    func detach(_ what: String) throws(Problem) {
        guard let mark else { return }
        do throws(KernelError) {
            // What cannot be found is gone with its last process, and its mounts with it.
            for path in [path, user] {
                if let path, try !Descriptor.exists(path) { return }
            }
            try Descriptor.unmount(
                marked: mark, in: try SharedMounts.open(path), asRootOf: try SharedMounts.open(user))
        } catch { throw Problem(what, error) }
    }

    private static func open(_ path: String?) throws(KernelError) -> Descriptor? {
        guard let path else { return nil }
        return try Descriptor.open(path, [.read, .nonblocking])
    }
}
