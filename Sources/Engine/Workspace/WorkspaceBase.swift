internal import LinuxKernel

/// What a folder was like when a run began: by this is told what changed underneath since.
struct WorkspaceBase {
    /// One file, as far as a change shows. The kernel sets the time of the last change, and no program can.
    struct Mark: Equatable {
        let text: String

        init(_ node: Node) {
            if node.kind == .folder {
                // What is in it has marks of its own.
                text = "d \(node.inode) \(node.mode)"
            } else {
                text =
                    "f \(node.inode) \(node.mode) \(node.size) \(node.modified.seconds).\(node.modified.nanoseconds) \(node.changed.seconds).\(node.changed.nanoseconds)"
            }
        }

        init(text: String) { self.text = text }
    }

    private var marks: [FileName: Mark] = [:]
    /// Folders with more in them are not looked after.
    private static let most = 1_000_000
    private static let deepest = 256

    subscript(path: FileName) -> Mark? { marks[path] }

    /// Looks at all that a folder holds.
    init(of folder: borrowing Descriptor) throws(Problem) {
        try walk(folder, [], WorkspaceBase.deepest)
    }

    private mutating func walk(_ folder: borrowing Descriptor, _ path: [UInt8], _ depth: Int) throws(Problem) {
        let what = "cannot remember the workspace"
        guard depth > 0 else { throw Problem(what, "it is deeper than \(WorkspaceBase.deepest) folders") }
        let names = try explaining(what) { () throws(KernelError) in try folder.names() }
        for name in names {
            guard let whole = FileName(path + [0x2f] + name.bytes), let node = try? folder.node(name) else { continue }
            marks[whole] = Mark(node)
            guard marks.count <= WorkspaceBase.most else {
                throw Problem(what, "it has more than \(WorkspaceBase.most) files", hint: "choose a smaller folder")
            }
            guard node.kind == .folder else { continue }
            let next = try explaining("\(what): \(whole)") { () throws(KernelError) in
                try folder.open(name, [.read, .folder, .noFollow])
            }
            try walk(next, whole.bytes, depth - 1)
        }
    }

    /// As bytes: mark, a NUL, path, a NUL.
    var bytes: [UInt8] {
        var output: [UInt8] = []
        for (path, mark) in marks { output += Array(mark.text.utf8) + [0] + path.bytes + [0] }
        return output
    }

    /// - Throws: it is damaged.
    init(bytes: [UInt8]) throws(Problem) {
        let parts = bytes.split(separator: 0, omittingEmptySubsequences: false)
        guard parts.count % 2 == 1, parts.last?.isEmpty == true else {
            throw Problem("cannot use the workspace", "what it remembers of its folder is damaged")
        }
        for index in stride(from: 0, to: parts.count - 1, by: 2) {
            guard let path = FileName(parts[index + 1]) else { continue }
            marks[path] = Mark(text: String(decoding: parts[index], as: UTF8.self))
        }
    }
}
