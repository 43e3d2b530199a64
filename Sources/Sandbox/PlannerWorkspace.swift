internal import LinuxKernel

/// `--workspace`: an overlay over a folder of the host, mounted into the root like a volume.
extension Planner {
    /// The folders under the overlay are put together in its own place, and covered by it.
    mutating func workspaceSteps() {
        guard let workspace = request.workspace else { return }
        let attributes: MountAttributes = [.noSetuid, .noDevices]
        let (status, target) = (workspace.source.status, workspace.target)
        let owners: BindSource.Owners =
            parentOpensSources ? .exchanged(uid: status.uid, gid: status.gid) : .plain
        let lower = bind(workspace.source, attributes: attributes.union(.readOnly), owners: owners, recursive: false)
        let upper = bind(workspace.layer, attributes: attributes, recursive: false)
        let (staging, merged) = (slot(), slot())
        add(temporary(size: 1 << 20, mode: 0o755, attributes: attributes, into: staging))
        add(.attach(staging, at: target, .folder))
        for name in ["lower", "layer"] { add(.makeFolder("\(target)/\(name)", mode: 0o755)) }
        add(.attach(lower, at: "\(target)/lower", .folder))
        add(.attach(upper, at: "\(target)/layer", .folder))
        var options = [
            MountOption("lowerdir", "lower"), MountOption("upperdir", "layer/upper"),
            MountOption("workdir", "layer/work"),
        ]
        if hasUserNamespace { options.append(MountOption("userxattr")) }
        add(.newFileSystem("overlay", options: options, attributes: attributes, workingFolder: staging, into: merged))
        add(.attach(merged, at: target, .folder))
    }
}
