public import LinuxKernel

/// One thing in an assembled root.
public enum ImageEntry: Equatable, Sendable {
    case folder(String, mode: UInt32)
    case link(String, to: String)
    case file(String, mode: UInt32, contents: String)
    case bind(String, FileStatus, at: String)
}

/// An image that can be run: a tree, and what runs in it when nothing else is asked for.
public struct Image: Sendable {
    public enum Root: Sendable {
        case folder(path: String, FileStatus)
        case assembled([ImageEntry])
        /// An overlay's folders, top first, two or more.
        case layers([(path: String, FileStatus)])
    }

    /// What was asked for, as it was asked.
    public let reference: String
    public let root: Root
    /// Stands before the caller's arguments: the interpreter and the script.
    public let entrypoint: [String]
    /// Runs when the caller gives no command.
    public let command: [String]
    public let workingFolder: String
    /// A program of the machine's that is shown in the image, to be read.
    public var script: (path: String, status: FileStatus, inside: String)?
}

/// What `--image` may be: `template:NAME`, a folder, a script or program file, or an image of the store.
public enum ImageReference: Equatable, Sendable {
    case template(String)
    case path(String)
    case stored(StoredImage)

    public init(_ text: String) throws(Problem) {
        if text.isEmpty {
            throw Problem("no image", "the name is empty", hint: "--image ./bot.py, a folder, or template:host")
        }
        if text.hasPrefix("template:") {
            let name = String(text.dropFirst(9))
            guard !name.isEmpty else {
                let names = Template.names.map { "template:\($0)" }.joined(separator: ", ")
                throw Problem("no template", "its name is missing behind template:", hint: "there are \(names)")
            }
            self = .template(name)
            return
        }
        if text.utf8.contains(0) { throw Problem("cannot use the image", "its path has a NUL character in it") }
        self = .path(text)
    }

    /// As it was asked for.
    public var text: String {
        switch self {
        case .template(let name): "template:\(name)"
        case .path(let path): path
        case .stored(let image): image.name
        }
    }

    /// Looks the image up. A built template is made in `store` first, with `progress` told of it.
    public func resolve(store: String, progress: (String) -> Void) throws(Problem) -> Image {
        switch self {
        case .template(let name):
            return try TemplateStore(folder: store).image(Template.named(name), progress: progress)
        case .path(let path): return try ImageReference.file(path)
        case .stored(let image): return try ImageStore(data: store).runnable(image)
        }
    }

    private static func file(_ path: String) throws(Problem) -> Image {
        let status: FileStatus
        do { status = try Descriptor.status(ofPath: path) } catch {
            throw Problem("cannot use the image \(path)", error, hint: hint(path, error))
        }
        switch status.kind {
        case .folder:
            guard Machine.mayExecute(path), Machine.mayRead(path) else {
                throw Problem(
                    "cannot use the image \(path)", KernelError("open", path, number: Errno.denied),
                    hint: "the folder must be readable by the user who runs codex32")
            }
            return Image(
                reference: path, root: .folder(path: path, status), entrypoint: [], command: ["/bin/sh"],
                workingFolder: "/")
        case .file: return try ScriptImage.image(path, status)
        default:
            throw Problem(
                "cannot use the image \(path)", "it is neither a folder nor a file",
                hint: "an image is a script, a program, a folder with a root file system, or template:NAME")
        }
    }

    private static func hint(_ path: String, _ error: KernelError) -> String {
        switch error.number {
        case Errno.loop: return "its symbolic links lead in a circle"
        case Errno.denied: return "the image must be readable by the user who runs codex32"
        default:
            let names = Template.names.map { "template:\($0)" }
            if Template.names.contains(path) { return "did you mean template:\(path)?" }
            return "an image is a script, a program, a folder, or one of \(names.joined(separator: ", "))"
        }
    }
}
