public import OCISpec

/// What points at a blob (image-spec, descriptor.md).
public struct BlobDescriptor: Equatable, Sendable {
    public let mediaType: String
    public let digest: Digest
    public let size: UInt64
    /// Of an index's entries; nil: not said.
    public let platform: Platform?
    public let annotations: [String: String]

    public init(mediaType: String, digest: Digest, size: UInt64) {
        (self.mediaType, self.digest, self.size) = (mediaType, digest, size)
        (platform, annotations) = (nil, [:])
    }

    init(_ other: BlobDescriptor, annotations: [String: String]) {
        (mediaType, digest, size, platform) = (other.mediaType, other.digest, other.size, other.platform)
        self.annotations = annotations
    }

    /// What is not known here is passed over, as the specification asks of readers; what is read is checked.
    init(_ object: JSONObject) throws(DocumentError) {
        mediaType = try object.string("mediaType") ?? ""
        let text = try object.required("digest")
        guard let digest = Digest(text) else {
            throw DocumentError("\(object.place).digest", "\(text) is no sha256 digest")
        }
        self.digest = digest
        guard let size = try object.unsigned("size") else { throw DocumentError("\(object.place).size", "is missing") }
        self.size = size
        var platform: Platform?
        if let said = try object.object("platform") {
            platform = Platform(
                os: try said.string("os") ?? "", architecture: try said.string("architecture") ?? "",
                variant: try said.string("variant"))
        }
        self.platform = platform
        var annotations: [String: String] = [:]
        if let said = try object.object("annotations") {
            for (name, value) in try said.pairs() { annotations[name] = value }
        }
        self.annotations = annotations
    }

    var document: JSON {
        .members(["mediaType": .string(mediaType), "digest": .string("\(digest)"), "size": .number(size)])
    }

    var isIndex: Bool {
        mediaType == "application/vnd.oci.image.index.v1+json"
            || mediaType == "application/vnd.docker.distribution.manifest.list.v2+json"
    }
}

/// An image's manifest (image-spec, manifest.md; Docker's "Image Manifest V 2, Schema 2" has the same form).
public struct ImageManifest: Sendable {
    public let config: BlobDescriptor
    public let layers: [BlobDescriptor]

    static let mediaType = "application/vnd.oci.image.manifest.v1+json"
    static let configType = "application/vnd.oci.image.config.v1+json"
    static let layerType = "application/vnd.oci.image.layer.v1.tar"
    static let largest = 4 << 20
    /// Their names must fit into one string for fsconfig(2), which takes 255 bytes.
    public static let mostLayers = 100

    static func kind(_ mediaType: String) -> Bool {
        mediaType == ImageManifest.mediaType
            || mediaType == "application/vnd.docker.distribution.manifest.v2+json" || mediaType.isEmpty
    }

    init(bytes: [UInt8]) throws(DocumentError) {
        let top = try JSONObject(try JSONReader.read(bytes), at: "manifest")
        guard try top.unsigned("schemaVersion") == 2 else { throw DocumentError("manifest.schemaVersion", "must be 2") }
        let type = try top.string("mediaType") ?? ""
        guard ImageManifest.kind(type) else { throw DocumentError("manifest.mediaType", "\(type) is not an image's") }
        guard let config = try top.object("config") else { throw DocumentError("manifest.config", "is missing") }
        self.config = try BlobDescriptor(config)
        var layers: [BlobDescriptor] = []
        for object in try top.objects("layers") {
            let layer = try BlobDescriptor(object)
            guard ImageManifest.isLayer(layer.mediaType) else {
                throw DocumentError("\(object.place).mediaType", "\(layer.mediaType) is no layer that can be unpacked")
            }
            layers.append(layer)
        }
        guard (1...ImageManifest.mostLayers).contains(layers.count) else {
            throw DocumentError("manifest.layers", "there must be 1 to \(ImageManifest.mostLayers)")
        }
        self.layers = layers
    }

    init(config: BlobDescriptor, layers: [BlobDescriptor]) { (self.config, self.layers) = (config, layers) }

    var document: JSON {
        .members([
            "schemaVersion": .integer(2), "mediaType": .string(ImageManifest.mediaType), "config": config.document,
            "layers": .array(layers.map(\.document)),
        ])
    }

    private static func isLayer(_ type: String) -> Bool {
        [
            layerType, layerType + "+gzip", layerType + "+zstd", "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        ].contains(type)
    }
}

/// An image's config (image-spec, config.md), and Docker's Healthcheck beside it.
public struct ImageConfig: Sendable {
    public struct Health: Equatable, Sendable {
        /// Empty: the image says that there is none.
        public let command: [String]
        /// Nanoseconds; nil: not said.
        public let interval: Int64?
        public let timeout: Int64?
        public let startPeriod: Int64?
        public let retries: UInt64?
    }

    public let os: String
    public let architecture: String
    public let variant: String?
    public let diffIDs: [Digest]
    public let entrypoint: [String]
    public let command: [String]
    /// As NAME=VALUE.
    public let environment: [String]
    public let workingFolder: String
    public let user: String
    public let volumes: [String]
    public let labels: [(name: String, value: String)]
    public let stopSignal: String?
    public let health: Health?
    public let created: String?
    public let history: [(created: String, by: String, comment: String, isEmpty: Bool)]
    public let document: JSON

    static let largest = 8 << 20

    init(bytes: [UInt8]) throws(DocumentError) {
        document = try JSONReader.read(bytes)
        let top = try JSONObject(document, at: "config")
        os = try top.required("os")
        architecture = try top.required("architecture")
        variant = try top.string("variant")
        created = try top.string("created")
        guard let rootfs = try top.object("rootfs"), try rootfs.string("type") == "layers" else {
            throw DocumentError("config.rootfs", "must be of type layers")
        }
        var diffIDs: [Digest] = []
        for text in try rootfs.strings("diff_ids") {
            guard let digest = Digest(text) else {
                throw DocumentError("config.rootfs.diff_ids", "\(text) is no sha256 digest")
            }
            diffIDs.append(digest)
        }
        self.diffIDs = diffIDs
        let config: JSONObject
        if let said = try top.object("config") {
            config = said
        } else {
            config = try JSONObject(.object([]), at: "config")
        }
        entrypoint = try config.strings("Entrypoint")
        command = try config.strings("Cmd")
        environment = try config.strings("Env")
        for word in environment where !word.contains("=") || word.hasPrefix("=") || word.utf8.contains(0) {
            throw DocumentError("config.config.Env", "\(word) is no NAME=VALUE")
        }
        let folder = try config.string("WorkingDir") ?? ""
        guard folder.isEmpty || folder.hasPrefix("/"), !folder.utf8.contains(0), folder.utf8.count < 4096 else {
            throw DocumentError("config.config.WorkingDir", "must be an absolute path")
        }
        workingFolder = folder.isEmpty ? "/" : folder
        user = try config.string("User") ?? ""
        var volumes: [String] = []
        if let said = try config.object("Volumes") { for volume in try said.objects() { volumes.append(volume.name) } }
        self.volumes = volumes
        if let said = try config.object("Labels") { labels = try said.pairs() } else { labels = [] }
        stopSignal = try config.string("StopSignal")
        if let check = try config.object("Healthcheck") { health = try ImageConfig.health(check) } else { health = nil }
        var history: [(String, String, String, Bool)] = []
        for entry in try top.objects("history") {
            history.append(
                (
                    try entry.string("created") ?? "", try entry.string("created_by") ?? "",
                    try entry.string("comment") ?? "", try entry.bool("empty_layer") ?? false
                ))
        }
        self.history = history
    }

    private static func health(_ object: JSONObject) throws(DocumentError) -> Health {
        let test = try object.strings("Test")
        let command: [String]
        switch test.first {
        case nil, "NONE": command = []
        case "CMD" where test.count > 1: command = Array(test.dropFirst())
        case "CMD-SHELL" where test.count == 2: command = ["/bin/sh", "-c", test[1]]
        default: throw DocumentError("\(object.place).Test", "is no NONE, CMD or CMD-SHELL")
        }
        return Health(
            command: command, interval: try time("Interval", object), timeout: try time("Timeout", object),
            startPeriod: try time("StartPeriod", object), retries: try time("Retries", object).map { UInt64($0) })
    }

    /// Docker writes 0 for what was not said.
    private static func time(_ name: String, _ object: JSONObject) throws(DocumentError) -> Int64? {
        guard let time = try object.integer(name), time != 0 else { return nil }
        guard time > 0 else { throw DocumentError("\(object.place).\(name)", "is less than 0") }
        return time
    }

    /// What reads the commands of a build (Docker's SHELL); nil: not said.
    public var shell: [String]? {
        guard let words = document["config"]?["Shell"], case .array(let list) = words, !list.isEmpty else { return nil }
        return list.compactMap { if case .string(let word) = $0 { word } else { nil } }
    }

    public var platform: Platform { Platform(os: os, architecture: architecture, variant: variant) }
}
