internal import Images
internal import LinuxKernel
internal import Sandbox

/// From what was asked to a sandbox request: the image's part is put in.
enum Preparation {
    static func request(
        _ configuration: RunConfiguration, progress: (String) -> Void
    ) throws(Problem) -> (request: SandboxRequest, image: String) {
        var request = configuration.request
        // Minimal shows the host's tree, so that a script needs no image around it.
        let image = try configuration.image.resolve(store: configuration.storage.data, progress: progress)
        request.command = command(configuration, image)
        if let (path, status, inside) = image.script {
            // As a script over the machine's own programs: its owner stays.
            var volume = Volume(source: HostPath(absolute(path), status), target: inside)
            (volume.readOnly, volume.mapOwners) = (true, false)
            request.volumes.append(volume)
        }
        request.readOnly = configuration.readOnly ?? (request.level == .strict)
        request.workingFolder = configuration.workingFolder ?? image.workingFolder
        switch image.root {
        case .assembled(let entries): request.root = .assembled(rootEntries(entries, request))
        case .folder(let path, let status):
            let folder = HostPath(absolute(path), status)
            request.root = .folder(folder, present: try present(folder, Planner.mountPoints(of: request)))
        case .layers(let layers): request.root = .layers(layers.map { HostPath(absolute($0.path), $0.1) })
        }
        if request.level == .minimal, case .assembled = request.root {
            (request.root, request.command) = try hostTree(configuration, image)
            if configuration.workingFolder == nil { request.workingFolder = Machine.workingFolder }
        }
        return (request, image.reference)
    }

    /// As Docker does: an entrypoint of the caller's takes the image's command away too.
    private static func command(_ configuration: RunConfiguration, _ image: Image) -> [String] {
        if let entrypoint = configuration.entrypoint { return entrypoint + configuration.arguments }
        return image.entrypoint + (configuration.arguments.isEmpty ? image.command : configuration.arguments)
    }

    /// At minimal a script, or `template:host`, runs on the host's own tree: the script is where it is.
    private static func hostTree(_ configuration: RunConfiguration, _ image: Image) throws(Problem) -> (
        RootSource, [String]
    ) {
        var command = image.entrypoint
        if case .path(let path) = configuration.image, !command.isEmpty { command[command.count - 1] = absolute(path) }
        if let entrypoint = configuration.entrypoint { return (.host, entrypoint + configuration.arguments) }
        command += configuration.arguments
        if configuration.arguments.isEmpty { command += image.command }
        return (.host, command)
    }

    static func absolute(_ path: String) -> String { path.hasPrefix("/") ? path : "\(Machine.workingFolder)/\(path)" }

    /// With the network of the host come the files that say how to use it.
    private static func rootEntries(_ entries: [ImageEntry], _ request: SandboxRequest) -> [RootEntry] {
        var list = entries.map { entry -> RootEntry in
            switch entry {
            case .folder(let path, let mode): .folder(path, mode: mode)
            case .link(let path, let target): .link(path, to: target)
            case .file(let path, let mode, let contents): .file(path, mode: mode, contents: contents)
            case .bind(let path, let status, let target): .bind(HostPath(absolute(path), status), at: target)
            }
        }
        list.append(.file("/etc/hostname", mode: 0o644, contents: request.hostname + "\n"))
        if request.user.uid != 0 && request.user.uid != 65534 {
            let ids = "\(request.user.uid):\(request.user.gid)"
            let users =
                "root:x:0:0:root:/root:/bin/sh\nuser:x:\(ids):user:/home:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
            list.append(.file("/etc/passwd", mode: 0o644, contents: users))
        }
        if request.network == .host, let resolver = HostPath.resolver {
            list.append(.bind(resolver, at: resolver.path))
        }
        return list
    }

    /// Which of the paths the folder has, seen as the container will see it. A path that leads out of
    /// the folder is refused here, in words; the child could not follow it anyway.
    private static func present(_ folder: HostPath, _ paths: [String]) throws(Problem) -> [String] {
        let root = try explaining("cannot use the image \(folder.path)") { () throws(KernelError) in
            try Descriptor.open(folder.path, [.pathOnly, .folder])
        }
        var found: [String] = []
        for path in paths {
            if let escape = escapes(root, path) {
                throw Problem(
                    "cannot mount at \(path)", "the image's link \(escape) leads out of the image",
                    hint: "mount at a folder of the image")
            }
            do {
                let place = try root.open(inRoot: path, [.pathOnly])
                if (try? place.status().kind) != .link { found.append(path) }
            } catch { continue }
        }
        if found.isEmpty, let entries = try? Descriptor.open(folder.path, [.read, .folder]).entries(), entries.isEmpty {
            throw Problem(
                "cannot use the image \(folder.path)", "the folder is empty",
                hint: "an image folder holds a root file system: bin, etc, usr and so on")
        }
        return found
    }

    /// The first link on a path whose relative target climbs above the root.
    private static func escapes(_ root: borrowing Descriptor, _ path: String) -> String? {
        var depth = 0
        // By bytes, and without a list of the parts: of four paths on every start.
        let bytes = path.utf8
        guard let first = bytes.firstIndex(where: { $0 != UInt8(ascii: "/") }) else { return nil }
        var end = first
        while let start = bytes[end...].firstIndex(where: { $0 != UInt8(ascii: "/") }) {
            end = bytes[start...].firstIndex(of: UInt8(ascii: "/")) ?? bytes.endIndex
            let at = String(path[..<end])
            guard let target = try? root.link(String(path[first..<end])), !target.hasPrefix("/") else {
                depth += 1
                continue
            }
            var level = depth
            for step in target.split(separator: "/") {
                if step == ".." { level -= 1 } else if step != "." { level += 1 }
                if level < 0 { return at }
            }
            depth = level
        }
        return nil
    }
}
