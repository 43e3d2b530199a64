internal import LinuxKernel
public import Sandbox

extension SandboxRequest {
    /// Shows the machine's name servers, where they are a file, and nothing else was put in that place.
    public mutating func showResolver() {
        guard let source = HostPath.resolver, !volumes.contains(where: { $0.target == source.path }) else { return }
        var volume = Volume(source: source, target: source.path)
        (volume.readOnly, volume.mapOwners) = (true, false)
        volumes.append(volume)
    }
}

extension HostPath {
    /// The file with the machine's name servers (resolv.conf(5)); nil: it is none.
    static var resolver: HostPath? {
        let path = "/etc/resolv.conf"
        guard let status = try? Descriptor.status(ofPath: path), status.kind == .file else { return nil }
        return HostPath(path, status)
    }
}
