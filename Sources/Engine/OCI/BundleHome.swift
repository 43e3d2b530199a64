internal import LinuxKernel
internal import OCISpec

/// HOME, where a bundle's environment has none: that of the user in the container's own /etc/passwd, else "/". The
/// specification says nothing of it; the callers and their images count on it, for runc and crun do it.
enum BundleHome {
    /// Before the container is there: from its root, or from what is mounted over the file.
    static func variable(_ spec: RuntimeSpec, bundle: String) -> String {
        // What is at the root's path here is not what is there in another mount namespace.
        if spec.linux.namespaces.contains(where: { $0.type == "mount" && $0.path != nil }) { return "HOME=/" }
        if let source = spec.mounts.last(where: { $0.destination == "/etc/passwd" })?.source,
            !source.isEmpty,
            let file = try? Descriptor.open(
                source.hasPrefix("/") ? source : "\(bundle)/\(source)", [.read, .nonblocking])
        {
            return variable(ExecUser(passwd: ExecUser.text(file), group: ""), spec.process.uid)
        }
        let path = spec.rootPath.hasPrefix("/") ? spec.rootPath : "\(bundle)/\(spec.rootPath)"
        guard let root = try? Descriptor.open(path, [.pathOnly, .folder]) else { return "HOME=/" }
        return variable(ExecUser(root: root), spec.process.uid)
    }

    static func variable(_ users: ExecUser, _ uid: UInt32) -> String { "HOME=" + (users.home(uid) ?? "/") }
}
