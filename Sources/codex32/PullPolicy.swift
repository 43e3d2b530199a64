internal import Images
internal import LinuxKernel

/// `--pull`: when `run` and `create` ask a registry. Only a name that says at which registry it is leads to one.
enum PullPolicy: String, CaseIterable, Sendable {
    case always, missing, never

    /// - Parameter data: the storage folder.
    /// - Returns: the image that was brought; nil: none was.
    func apply(to image: String, data: String, _ platform: Platform?, quiet: Bool) throws(Problem) -> Digest? {
        let store = ImageStore(data: data)
        switch self {
        case .never: return nil
        case .missing:
            // What may be a path is none of a registry's; neither is what is here under that name.
            guard image.first != "/", image.first != ".", RegistryReference.names(image),
                (try? Descriptor.exists(image)) != true,
                try store.find(image) == nil
            else { return nil }
        case .always: break
        }
        // What was made for the start would wait for the network.
        Child.endEarly()
        let reference = try RegistryReference(image, to: "pull")
        return try ImagePullVerb.pull(reference, into: store, platform ?? .machine, quiet: quiet).digest
    }
}
