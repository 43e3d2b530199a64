public import LinuxKernel
internal import OCISpec

/// `image push`: an image of the store to a registry, blobs first, so that nothing there refers to what is missing.
public struct ImagePush {
    private let store: ImageStore
    private let digest: Digest
    private let target: RegistryReference
    private let what: String

    public init(_ store: ImageStore, _ digest: Digest, to target: RegistryReference) throws(Problem) {
        (self.store, self.digest, self.target) = (store, digest, target)
        what = "cannot push \(target)"
        guard target.digest == nil else {
            throw Problem(what, "what a digest stands for is not for a push to say", hint: "push to HOST/NAME:TAG")
        }
    }

    /// - Parameter progress: told what is done now.
    public func run(_ settings: RegistrySettings, progress: (String) -> Void) throws(Problem) {
        let held = try store.hold(digest)
        defer { withExtendedLifetime(held) {} }
        let image = try store.image(digest)
        let path = "\(store.folder)/manifests/\(digest.hex)"
        let manifest = try explaining(what) { () throws(KernelError) in
            try Descriptor.open(path, [.read, .noFollow]).readAll(limit: ImageManifest.largest)
        }
        var blobs: [(descriptor: BlobDescriptor, file: Owned)] = []
        for blob in [image.manifest.config] + image.manifest.layers
        where !blobs.contains(where: { $0.descriptor.digest == blob.digest }) {
            let file = Owned(try store.openBlob(blob.digest))
            guard store.hasBlob(blob) else {
                throw Problem(what, "\(blob.digest) is damaged in the store", hint: "codex32 image verify")
            }
            blobs.append((blob, file))
        }
        let process = try RegistryProcess(what, keep: blobs.map { $0.file.descriptor.number })
        try process.open(target.registry, settings)
        for (blob, file) in blobs {
            progress("\(blob.digest.short): sending \(blob.size) bytes")
            let answer = try process.ask(
                .members([
                    "verb": .string("put"), "repository": .string(target.repository),
                    "digest": .string("\(blob.digest)"), "size": .number(blob.size),
                    "file": .integer(Int64(file.descriptor.number)),
                ]))
            if answer.header["existed"] == .bool(true) { progress("\(blob.digest.short): is there already") }
        }
        var type = ImageManifest.mediaType
        if let document = try? JSONReader.read(manifest), case .string(let said)? = document["mediaType"] {
            type = said
        }
        _ = try process.ask(
            .members([
                "verb": .string("putManifest"), "repository": .string(target.repository),
                "reference": .string(target.name.tag), "mediaType": .string(type), "bytes": .number(manifest.count),
            ]), manifest)
    }
}

/// `login` and `logout`: what is kept is kept by codex32-registry, where Docker keeps it.
public enum RegistryLogin {
    /// - Returns: where the login is kept, for a person.
    public static func logIn(
        _ registry: String, user: String, password: String, _ settings: RegistrySettings
    ) throws(Problem) -> String {
        let process = try RegistryProcess("cannot log in at \(registry)")
        try process.open(registry, settings)
        let answer = try process.ask(
            .members(["verb": .string("login"), "user": .string(user), "password": .string(password)]))
        guard case .string(let place)? = answer.header["kept"] else { return "" }
        return place
    }

    /// - Returns: whether there was one.
    public static func logOut(_ registry: String) throws(Problem) -> Bool {
        let process = try RegistryProcess("cannot log out at \(registry)")
        let answer = try process.ask(.members(["verb": .string("logout"), "registry": .string(registry)]))
        return answer.header["found"] == .bool(true)
    }
}
