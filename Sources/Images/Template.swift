public import LinuxKernel
public import OCISpec
internal import RootfsTemplates

/// A root file system by description, from `rootfs-templates/`.
public struct Template: Sendable {
    public enum Kind: Sendable, Equatable {
        /// Put together from the machine's own files at every start.
        case assembled(AssembledRoot)
        case busybox
        case debian(suite: String, packages: [String])
    }

    public let name: String
    public let description: String
    public let kind: Kind
    /// What runs when no command is given.
    public let command: [String]

    public static var names: [String] { RootfsTemplates.all.map(\.name) }

    public static func named(_ name: String) throws(Problem) -> Template {
        guard let found = RootfsTemplates.all.first(where: { $0.name == name }) else {
            throw Problem(
                "no template \(name)", "codex32 has \(names.joined(separator: ", "))",
                hint: "--image template:host, or a folder or script of yours")
        }
        do { return try Template(name: name, json: JSONReader.read(found.text)) } catch {
            throw Problem("the template \(name) is broken", error.description)
        }
    }

    public init(name: String, json: JSON) throws(DocumentError) {
        self.name = name
        let top = try JSONObject(json, at: "")
        description = try top.required("description")
        command = try top.strings("command")
        switch try top.required("kind") {
        case "assembled":
            try top.allow(only: [
                "description", "kind", "command", "folders", "links", "mirror", "bindIfPresent", "files",
            ])
            kind = .assembled(try AssembledRoot(top))
        case "busybox":
            try top.allow(only: ["description", "kind", "command"])
            kind = .busybox
        case "debian":
            try top.allow(only: ["description", "kind", "command", "suite", "packages"])
            kind = .debian(suite: try top.required("suite"), packages: try top.strings("packages"))
        case let other: throw DocumentError("kind", "\(other) is not known")
        }
    }
}

/// What an assembled root is made of.
public struct AssembledRoot: Sendable, Equatable {
    public let folders: [(path: String, mode: UInt32)]
    public let links: [(path: String, to: String)]
    /// Shown as on the machine: a folder is bound, a link is made again.
    public let mirror: [String]
    public let bindIfPresent: [String]
    public let files: [(path: String, contents: String)]

    init(_ top: JSONObject) throws(DocumentError) {
        var folders: [(String, UInt32)] = []
        for entry in try top.objects("folders") {
            try entry.allow(only: ["path", "mode"])
            guard let mode = UInt32(try entry.required("mode"), radix: 8) else {
                throw DocumentError("\(entry.place).mode", "must be octal")
            }
            folders.append((try entry.required("path"), mode))
        }
        self.folders = folders
        var links: [(String, String)] = []
        for entry in try top.objects("links") {
            try entry.allow(only: ["path", "to"])
            links.append((try entry.required("path"), try entry.required("to")))
        }
        self.links = links
        var files: [(String, String)] = []
        for entry in try top.objects("files") {
            try entry.allow(only: ["path", "contents"])
            files.append((try entry.required("path"), try entry.required("contents")))
        }
        self.files = files
        mirror = try top.strings("mirror")
        bindIfPresent = try top.strings("bindIfPresent")
    }

    public static func == (a: AssembledRoot, b: AssembledRoot) -> Bool {
        a.mirror == b.mirror && a.bindIfPresent == b.bindIfPresent && a.folders.map(\.path) == b.folders.map(\.path)
            && a.links.map(\.path) == b.links.map(\.path) && a.files.map(\.contents) == b.files.map(\.contents)
    }

    /// The entries for this machine as it is now.
    public func entries() -> [ImageEntry] {
        var list: [ImageEntry] = folders.map { .folder($0.path, mode: $0.mode) }
        for path in mirror {
            if let target = try? Descriptor.link(path) {
                list.append(.link(path, to: target))
            } else if let status = try? Descriptor.status(ofPath: path), status.kind == .folder {
                list.append(.bind(path, status, at: path))
            }
        }
        for path in bindIfPresent {
            guard let status = try? Descriptor.status(ofPath: path), status.kind == .folder || status.kind == .file
            else { continue }
            // /etc/localtime is a link into /usr: the file it leads to is what is shown.
            list.append(.bind(path, status, at: path))
        }
        list += files.map { .file($0.path, mode: 0o644, contents: $0.contents) }
        list += links.map { .link($0.path, to: $0.to) }
        return list
    }
}
