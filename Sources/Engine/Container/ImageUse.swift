public import Images
public import LinuxKernel
internal import OCISpec

/// Which image of the store a container was made of: its name may mean another one since.
extension ImageReference {
    var digestDocument: JSON {
        guard case .stored(let image) = self else { return .null }
        return .string("\(image.digest)")
    }

    /// Whether the image has what a script needs, and the script is a file of the machine's.
    var isScriptOverImage: Bool { if case .stored(let image) = self { image.isScript } else { false } }

    /// The same, told by an absolute path where it is one.
    var settled: ImageReference {
        switch self {
        case .path(let path): .path(Preparation.absolute(path))
        case .stored(let image) where image.isScript:
            .stored(
                StoredImage(
                    name: Preparation.absolute(image.name), digest: image.digest, known: image.known, isScript: true))
        default: self
        }
    }

    /// As the record has it.
    func pinned(by configuration: JSONObject) throws(DocumentError) -> ImageReference {
        guard let text = try configuration.string("imageDigest") else { return self }
        guard let digest = Digest(text) else { throw DocumentError("configuration.imageDigest", "is no digest") }
        let isScript = try configuration.bool("imageScript") ?? false
        return .stored(StoredImage(name: self.text, digest: digest, isScript: isScript))
    }
}

extension Containers {
    /// The images that containers use, and a container of each.
    ///
    /// - Throws: a container cannot be read, so that it might use any of them.
    public func imagesInUse() throws(Problem) -> [Digest: String] {
        var used: [Digest: String] = [:]
        for entry in try all() {
            switch entry {
            case .container(let record):
                if case .string(let text)? = record.configuration["imageDigest"], let digest = Digest(text) {
                    used[digest] = record.name
                }
            case .broken(let id, let why):
                throw Problem(
                    "cannot tell which images are in use", "the container \(id) cannot be read: \(why)",
                    hint: "codex32 rm -f \(id) first")
            }
        }
        return used
    }
}
