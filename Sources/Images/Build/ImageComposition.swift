internal import LinuxKernel
internal import OCISpec

/// What a person sets in an image's config (image-spec, config.md, "config").
public enum ImageSetting: Equatable, Sendable {
    case environment(name: String, value: String)
    case workingFolder(String)
    case user(String)
    case command([String])
    case entrypoint([String])
    case label(name: String, value: String)

    /// As a line of a Dockerfile, for the image's history.
    var line: String {
        switch self {
        case .environment(let name, let value): "ENV \(name)=\(value)"
        case .workingFolder(let path): "WORKDIR \(path)"
        case .user(let user): "USER \(user)"
        case .command(let words): "CMD \(JSON.list(words).text())"
        case .entrypoint(let words): "ENTRYPOINT \(JSON.list(words).text())"
        case .label(let name, let value): "LABEL \(name)=\(value)"
        }
    }
}

/// An image that is being put together: layers, config and history of what it began with, and what was added.
struct ImageComposition {
    private var top: [JSON.Member]
    private var config: [JSON.Member]
    private var history: [JSON]
    private(set) var layers: [BlobDescriptor] = []
    private var diffIDs: [Digest] = []
    /// A command of the build's own stays where an entrypoint comes behind it; one that was there before goes.
    private var hasOwnCommand = false
    let platform: Platform

    /// Of a root that is no image yet.
    init(command: [String]) {
        platform = .machine
        top = [.init("architecture", .string(platform.architecture)), .init("os", .string(platform.os))]
        config = command.isEmpty ? [] : [.init("Cmd", .list(command))]
        history = []
    }

    init(_ image: ImageStore.Stored) {
        platform = image.config.platform
        var members: [JSON.Member] = []
        if case .object(let found) = image.config.document { members = found }
        // Docker's notes on the container that the image was made in are not true of this one.
        top = members.filter { !["container", "container_config"].contains($0.name) }
        if case .object(let found)? = image.config.document["config"] { config = found } else { config = [] }
        if case .array(let found)? = image.config.document["history"] { history = found } else { history = [] }
        layers = image.manifest.layers.map(ImageComposition.plain)
        diffIDs = image.config.diffIDs
        // What comes behind must stand beside its own layer.
        let told = image.config.history.filter { !$0.isEmpty }.count
        for _ in 0..<max(0, layers.count - told) {
            history.append(.members(["comment": .string("how this layer was made is not known")]))
        }
    }

    /// By OCI's name of the type; Docker's layers are the same bytes.
    private static func plain(_ layer: BlobDescriptor) -> BlobDescriptor {
        let types = [
            "application/vnd.docker.image.rootfs.diff.tar": ImageManifest.layerType,
            "application/vnd.docker.image.rootfs.diff.tar.gzip": ImageManifest.layerType + "+gzip",
        ]
        return BlobDescriptor(
            mediaType: types[layer.mediaType] ?? layer.mediaType, digest: layer.digest, size: layer.size)
    }

    func chain() throws(Problem) -> [Digest] {
        do throws(DocumentError) { return try ImageStore.chain(diffIDs) } catch {
            throw Problem("cannot build the image", error.description)
        }
    }

    // MARK: Changes

    /// Puts a layer on top: an archive that is not compressed, so that its sum is its diff id too.
    mutating func add(_ layer: (digest: Digest, size: UInt64), by line: String, at time: String) throws(Problem) {
        guard layers.count < ImageManifest.mostLayers else {
            throw Problem(
                "cannot build the image", "it would have more than \(ImageManifest.mostLayers) layers",
                hint: "do more in each --run, or begin with another image")
        }
        layers.append(BlobDescriptor(mediaType: ImageManifest.layerType, digest: layer.digest, size: layer.size))
        diffIDs.append(layer.digest)
        remember(line, at: time, isEmpty: false)
    }

    mutating func apply(_ setting: ImageSetting, at time: String) {
        switch setting {
        case .environment(let name, let value):
            var words = ImageComposition.strings(config["Env"])
            let beginning = Array("\(name)=".utf8)
            let index = words.firstIndex { $0.utf8.starts(with: beginning) }
            words.removeAll { $0.utf8.starts(with: beginning) }
            words.insert("\(name)=\(value)", at: index ?? words.count)
            config["Env"] = .list(words)
        case .workingFolder(let path): config["WorkingDir"] = .string(path)
        case .user(let user): config["User"] = .string(user)
        case .command(let words):
            config["Cmd"] = .list(words)
            hasOwnCommand = true
        case .entrypoint(let words):
            config["Entrypoint"] = .list(words)
            if !hasOwnCommand { config["Cmd"] = nil }
        case .label(let name, let value):
            var labels: [JSON.Member] = []
            if case .object(let found)? = config["Labels"] { labels = found }
            labels[name] = .string(value)
            config["Labels"] = .object(labels)
        }
        remember(setting.line, at: time, isEmpty: true)
    }

    private mutating func remember(_ line: String, at time: String, isEmpty: Bool) {
        var entry: [JSON.Member] = [.init("created", .string(time)), .init("created_by", .string(line))]
        entry.append(.init("comment", .string("codex32 image build")))
        if isEmpty { entry.append(.init("empty_layer", .bool(true))) }
        history.append(.object(entry))
        top["created"] = .string(time)
    }

    private static func strings(_ value: JSON?) -> [String] {
        guard case .array(let list)? = value else { return [] }
        return list.compactMap { if case .string(let text) = $0 { text } else { nil } }
    }

    // MARK: Documents

    var configuration: [UInt8] {
        var top = top
        top["config"] = .object(config)
        top["rootfs"] = .members(["type": .string("layers"), "diff_ids": .list(diffIDs.map(\.description))])
        top["history"] = .array(history)
        return Array(JSON.object(top).text().utf8)
    }

    func manifest(_ config: (digest: Digest, size: UInt64)) -> [UInt8] {
        let config = BlobDescriptor(mediaType: ImageManifest.configType, digest: config.digest, size: config.size)
        return Array(ImageManifest(config: config, layers: layers).document.text().utf8)
    }
}

extension [JSON.Member] {
    /// The member of a name, where it stands; a new one is put at the end.
    fileprivate subscript(name: String) -> JSON? {
        get { first { $0.name == name }?.value }
        set {
            let index = firstIndex { $0.name == name }
            switch (index, newValue) {
            case (let index?, let value?): self[index] = JSON.Member(name, value)
            case (let index?, nil): remove(at: index)
            case (nil, let value?): append(JSON.Member(name, value))
            case (nil, nil): break
            }
        }
    }
}
