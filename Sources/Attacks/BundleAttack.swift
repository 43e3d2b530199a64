internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// An attack by way of a bundle's `config.json`, which an OCI runtime gets from whoever built or sent the bundle.
///
/// `@place@` in every text is the selftest's folder.
public struct BundleAttack: Equatable, Sendable {
    /// Members of the configuration by their path, as in `process.cwd`, each with its JSON text.
    var changes: [String: String] = [:]
    /// What the container runs; its root is this image.
    var script = "echo RAN"
    var image = "plain"
    /// The whole text in the place of the configuration, where it is no document.
    var text: String?
    /// So many bytes of blanks behind it: they are a part of a valid document.
    var padding = 0

    /// - Parameter waived: what strict does without.
    func configuration(_ level: IsolationLevel, waived: [String]) -> JSON {
        var namespaces = ["pid", "mount", "ipc", "uts", "network"]
        var linux: [JSON.Member] = []
        if !Machine.isRoot {
            namespaces.append("user")
            for (name, id) in [("uidMappings", Machine.uid), ("gidMappings", Machine.gid)] {
                let map = JSON.members(["containerID": .integer(0), "hostID": .number(id), "size": .integer(1)])
                linux.append(.init(name, .array([map])))
            }
        }
        linux.append(.init("namespaces", .array(namespaces.map { .members(["type": .string($0)]) })))
        var annotations: [JSON.Member] = []
        if level == .strict {
            annotations.append(.init(BundleTightening.annotation, .string("strict")))
            if waived.contains("landlock") { annotations.append(.init(BundleTightening.waiver, .string("landlock"))) }
        }
        let mounts = [("/proc", "proc"), ("/dev", "tmpfs"), ("/tmp", "tmpfs")].map { target, type in
            JSON.members([
                "destination": .string(target), "type": .string(type), "source": .string(type),
                "options": .list(["nosuid"]),
            ])
        }
        let whole = JSON.members([
            "ociVersion": .string("1.3.0"),
            "process": .members([
                "user": .members(["uid": .integer(0), "gid": .integer(0)]), "cwd": .string("/"),
                "args": .list(["/bin/sh", "-c", script]), "env": .list(["PATH=/bin"]), "noNewPrivileges": .bool(true),
            ]),
            "root": .members(["path": .string("@place@/images/\(image)")]), "mounts": .array(mounts),
            "annotations": .object(annotations), "linux": .object(linux),
        ])
        return changes.sorted { $0.key < $1.key }.reduce(whole) { document, change in
            guard let value = try? JSONReader.read(Array(change.value.utf8)) else { return document }
            return document.with(change.key.split(separator: ".")[...], value)
        }
    }
}

extension JSON {
    /// The document with a member in the place of another, or beside it, below objects.
    fileprivate func with(_ path: ArraySlice<Substring>, _ value: JSON) -> JSON {
        guard let name = path.first.map(String.init) else { return value }
        guard case .object(var members) = self else { return JSON.object([]).with(path, value) }
        let inner = (members.first { $0.name == name }?.value ?? .object([])).with(path.dropFirst(), value)
        if let index = members.firstIndex(where: { $0.name == name }) {
            members[index] = .init(name, inner)
        } else {
            members.append(.init(name, inner))
        }
        return .object(members)
    }
}

extension Runner {
    /// The bundle's configuration.
    func text(_ attempt: BundleAttack, _ level: IsolationLevel) -> String {
        (attempt.text ?? attempt.configuration(level, waived: waived).text()).replacing("@place@", with: place)
    }

    /// What came of one, with the walls that a level has for bundles: those that every one has, and at strict the
    /// annotation's.
    func outcome(
        _ attempt: BundleAttack, of attack: Attack, _ level: IsolationLevel, _ place: borrowing Place
    ) throws(Problem) -> Outcome {
        let name = "attack-\(Machine.randomHex(bytes: 6))"
        let bundle = "\(self.place)/\(name)"
        let text = text(attempt, level)
        try explaining("cannot make a bundle") { () throws(KernelError) in
            let file = try makeFolders(bundle).open("config.json", [.write, .create, .exclusive])
            try file.write(text)
            let blanks = [UInt8](repeating: 0x20, count: 1 << 20)
            for _ in 0..<(attempt.padding >> 20) { try file.write(bytes: blanks) }
        }
        let runtime = ["--cgroup-manager", "disabled"]
        let done = try verb(["oci"] + runtime + ["run", "--bundle", bundle, name])
        // One that was refused left nothing, which other tests show; with a hundred of them that is half of the time.
        if done.status.map({ !(1..<128).contains($0) }) ?? true {
            _ = try verb(["oci"] + runtime + ["delete", "--force", name])
        }
        try explaining("cannot take a bundle away") { () throws(KernelError) in
            try Descriptor.open(self.place, [.read, .folder]).removeTree(name)
        }
        let run = Judge.Run(
            status: done.status, output: done.output, outputBytes: done.outputBytes, errors: done.errors,
            change: place.change())
        return Judge.outcome(attack, run, secret: place.secret, inSandbox: true)
    }
}
