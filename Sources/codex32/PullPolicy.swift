internal import Images
internal import LinuxKernel

/// `--pull`: when `run` and `create` ask a registry. Only a name that says at which registry it is leads to one.
enum PullPolicy: String, CaseIterable, Sendable {
    case always, missing, never

    /// - Parameter data: the storage folder.
    /// - Returns: the image that was brought; nil: none was.
    func apply(to image: String, data: String, _ platform: Platform?, quiet: Bool) throws(Problem) -> Digest? {
        if self == .never || image.first == "/" || image.first == "." || !image.utf8.contains(0x2f) {
            guard self == .always else { return nil }
            throw Problem(
                "cannot pull \(image)", "it does not say from which registry",
                hint: "HOST/NAME[:TAG], or leave --pull always out")
        }
        let store = ImageStore(data: data)
        guard RegistryReference.names(image), !Descriptor.exists(image) || self == .always else { return nil }
        if self == .missing, try store.find(image) != nil { return nil }
        // What was made for the start would wait for the network.
        Child.endEarly()
        let reference = try RegistryReference(image, to: "pull")
        return try ImagePullVerb.pull(reference, into: store, platform ?? .machine, quiet: quiet).digest
    }
}
