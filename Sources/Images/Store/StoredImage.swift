public import LinuxKernel

/// An image of the store that was asked for by a name, and which one that meant then.
public struct StoredImage: Equatable, Sendable {
    public let name: String
    public let digest: Digest
    /// What it is made of, where that was read already: a start would read the same bytes three times.
    public let known: ImageStore.Stored?
    /// The name is a script's path, and the image has what that needs.
    public let isScript: Bool

    public init(name: String, digest: Digest, known: ImageStore.Stored? = nil, isScript: Bool = false) {
        (self.name, self.digest, self.known, self.isScript) = (name, digest, known, isScript)
    }

    public static func == (a: StoredImage, b: StoredImage) -> Bool {
        a.name == b.name && a.digest == b.digest && a.isScript == b.isScript
    }
}

extension ImageReference {
    /// What a person meant: what begins with "." or "/" is a path, `template:NAME` a template, everything else an
    /// image of the store. Where that has none of the name, a path of the working folder is one still.
    ///
    /// - Parameter data: the storage folder.
    public static func asked(_ text: String, data: String) throws(Problem) -> ImageReference {
        let plain = try ImageReference(text)
        guard case .path = plain, text.first != "/", text.first != "." else { return plain }
        let store = ImageStore(data: data)
        if let digest = try store.find(text) { return .stored(StoredImage(name: text, digest: digest)) }
        guard Descriptor.isMissing(text), ImageName(text) != nil, try !store.names().isEmpty else { return plain }
        throw Problem(
            "no image \(text)", "the store has none of that name, and no such file is here", hint: try store.hint(text))
    }

    /// The image's config, which says how it runs; nil: it is none of the store.
    public func config(data: String) throws(Problem) -> ImageConfig? {
        guard case .stored(let image) = self else { return nil }
        return try ImageStore(data: data).image(image).config
    }

    /// Keeps an image of the store from being swept while what is returned lives; nil: it is none.
    public func hold(data: String) throws(Problem) -> ImageStore.Held? {
        guard case .stored(let image) = self else { return nil }
        return try ImageStore(data: data).hold(image.digest)
    }
}

extension ImageStore {
    fileprivate func image(_ asked: StoredImage) throws(Problem) -> Stored {
        if let known = asked.known { return known }
        return try image(asked.digest)
    }

    /// A loaded image as something to run.
    func runnable(_ image: StoredImage) throws(Problem) -> Image {
        let stored = try self.image(image)
        let what = "cannot use the image \(image.name)"
        var layers: [(path: String, FileStatus)] = []
        for chain in stack(stored.chain) {
            let path = layerPath(chain)
            let status = try explaining(what, hint: "codex32 image load brings its layers back") {
                () throws(KernelError) in try Descriptor.status(ofPath: path)
            }
            layers.append((path, status))
        }
        let root: Image.Root = layers.count == 1 ? .folder(path: layers[0].path, layers[0].1) : .layers(layers)
        if image.isScript { return try ScriptImage.image(image.name, over: root) }
        return Image(
            reference: image.name, root: root, entrypoint: stored.config.entrypoint, command: stored.config.command,
            workingFolder: stored.config.workingFolder)
    }

    /// The folders of an image's layers, top first.
    public func layerFolders(_ digest: Digest) throws(Problem) -> [String] { layerFolders(try image(digest)) }

    public func layerFolders(_ image: Stored) -> [String] { stack(image.chain).map { layerPath($0) } }
}
