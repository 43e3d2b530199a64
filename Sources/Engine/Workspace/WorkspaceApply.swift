internal import Images
public import LinuxKernel

/// `workspace apply`: each file whole, by a rename; and none at all where something changed underneath.
extension Workspace {
    /// - Parameter paths: only these, with all that is below them; empty: everything.
    /// - Returns: what was applied.
    /// - Throws: what changed underneath, before anything was done; or what could not be written.
    public func apply(_ paths: [FileName]) throws(Problem) -> [FileChange] {
        let what = "cannot apply the workspace \(id)"
        let chosen = try changes().filter { change in
            paths.isEmpty || paths.contains { Workspace.isWithin(change.path, $0) }
        }
        for path in paths where !chosen.contains(where: { Workspace.isWithin($0.path, path) }) {
            throw Problem(what, "nothing at \(path) changed", hint: "codex32 workspace diff \(id) shows what did")
        }
        let (upper, lower) = try opened(what)
        let base = try base()
        var conflicts: [FileName] = []
        for change in chosen {
            let isFree = try explaining("\(what): \(change.path)") { () throws(KernelError) in
                try isUntouched(change, upper.value, lower.value, base)
            }
            if !isFree { conflicts.append(change.path) }
        }
        guard conflicts.isEmpty else {
            let list = conflicts.prefix(10).map(\.description).joined(separator: ", ")
            throw Problem(
                what, "changed in \(source) since the run began: \(list)\(conflicts.count > 10 ? ", …" : "")",
                hint: "nothing was applied; codex32 workspace apply \(id) PATH... takes the others")
        }
        for change in chosen {
            try explaining("\(what): \(change.path)") { () throws(KernelError) in
                try carryOut(change, upper.value, lower.value, base)
            }
        }
        return chosen
    }

    private static func isWithin(_ path: FileName, _ above: FileName) -> Bool {
        path == above || path.bytes.starts(with: above.bytes + [0x2f])
    }

    /// Whether the folder still has at a path what it had when the run began.
    private func isUntouched(
        _ change: FileChange, _ upper: borrowing Descriptor, _ lower: borrowing Descriptor, _ base: WorkspaceBase
    ) throws(KernelError) -> Bool {
        let was = base[change.path]
        guard let now = try WorkspaceFile.node(change.path, lower) else {
            // What is gone already need not be taken away; what was not there may come.
            return change.kind == .deleted || was == nil
        }
        if WorkspaceFile.isSame(change.path, upper, lower) { return true }
        guard let was, was == WorkspaceBase.Mark(now) else { return false }
        guard now.kind == .folder else { return true }
        if change.kind != .deleted, try WorkspaceFile.node(change.path, upper)?.kind == .folder { return true }
        return try isWholeTreeUntouched(change.path, lower, base)
    }

    /// A folder that goes takes with it only what was in it when the run began.
    private func isWholeTreeUntouched(
        _ path: FileName, _ lower: borrowing Descriptor, _ base: WorkspaceBase
    ) throws(KernelError) -> Bool {
        guard let (parent, name) = try WorkspaceFile.parent(path, lower) else { return true }
        let folder = try parent.value.open(name, [.read, .folder, .noFollow])
        for entry in try folder.names() {
            guard let whole = FileName(path.bytes + [0x2f] + entry.bytes), let was = base[whole] else { return false }
            let node = try folder.node(entry)
            guard was == WorkspaceBase.Mark(node) else { return false }
            if node.kind == .folder, try !isWholeTreeUntouched(whole, lower, base) { return false }
        }
        return true
    }

    private func carryOut(
        _ change: FileChange, _ upper: borrowing Descriptor, _ lower: borrowing Descriptor, _ base: WorkspaceBase
    ) throws(KernelError) {
        // Looked at again: what was right a moment ago may have changed since.
        guard try isUntouched(change, upper, lower, base) else {
            throw KernelError("rename", change.path.description, number: Errno.stale)
        }
        guard let (parent, name) = try WorkspaceFile.parent(change.path, lower) else {
            // What is in a folder that is gone is gone too.
            if change.kind == .deleted { return }
            throw KernelError("open", change.path.description, number: Errno.stale)
        }
        let now = try WorkspaceFile.node(change.path, lower)
        guard change.kind != .deleted, let (source, _) = try WorkspaceFile.parent(change.path, upper) else {
            if let now { try remove(name, now, parent.value) }
            return
        }
        let node = try source.value.node(name)
        let above = try parent.value.node()
        // It belongs to whom the file belonged that it takes the place of, or its folder; and changes nobody's user.
        let (uid, gid) = (now?.uid ?? above.uid, now?.gid ?? above.gid)
        let owner: (@Sendable (UInt32, UInt32) -> (uid: UInt32, gid: UInt32))?
        owner = Machine.isRoot ? { @Sendable _, _ in (uid: uid, gid: gid) } : nil
        let copy = LayeredCopy(setIDs: false, owner: owner)
        let temporary = FileName(".codex32-\(Machine.randomHex(bytes: 8)).part")
        switch node.kind {
        case .folder:
            if let now, now.kind != .folder { try remove(name, now, parent.value) }
            if now?.kind != .folder { try parent.value.makeFolder(name) }
            let folder = try parent.value.open(name, [.read, .folder, .noFollow])
            if Machine.isRoot, now?.kind != .folder { try folder.setOwner(uid: uid, gid: gid) }
            try folder.setMode(node.mode & 0o1777)
            return
        case .file:
            try copy.copy(
                file: try source.value.open(name, [.read, .noFollow, .nonblocking]), node, temporary, parent.value,
                sync: true)
        case .link: try parent.value.makeLink(temporary, to: try source.value.link(name))
        case .pipe: try parent.value.makePipe(temporary, mode: node.mode & 0o777)
        case .character, .block, .socket: return
        }
        do throws(KernelError) {
            if node.kind != .file, Machine.isRoot { try parent.value.setOwner(of: temporary, uid: uid, gid: gid) }
            if let now, now.kind == .folder { try remove(name, now, parent.value) }
            try parent.value.rename(temporary, to: name)
            try parent.value.sync()
        } catch {
            try? parent.value.remove(temporary)
            throw error
        }
    }

    private func remove(_ name: FileName, _ node: Node, _ parent: borrowing Descriptor) throws(KernelError) {
        guard node.kind == .folder else { return try parent.remove(name) }
        let folder = try parent.open(name, [.read, .folder, .noFollow])
        for entry in try folder.names() { try remove(entry, try folder.node(entry), folder) }
        try parent.remove(name, folder: true)
    }
}
