internal import LinuxKernel

/// Files of a workspace by their paths, walked by descriptor: a link on the way is an error.
enum WorkspaceFile {
    /// The folder that a path is in, and its last part; nil: there is no such folder.
    static func parent(
        _ path: FileName, _ root: borrowing Descriptor
    ) throws(KernelError) -> (folder: Owned<Descriptor>, name: FileName)? {
        let parts = path.bytes.split(separator: 0x2f).compactMap { FileName($0) }
        guard let name = parts.last else { return nil }
        var folder = Owned(try root.duplicate())
        for part in parts.dropLast() {
            do throws(KernelError) {
                folder = Owned(try folder.value.open(part, [.read, .folder, .noFollow]))
            } catch {
                // What is no folder, or a link, is not gone through.
                if [Errno.missing, Errno.notFolder, Errno.loop].contains(error.number) { return nil }
                throw error
            }
        }
        return (folder, name)
    }

    static func node(_ path: FileName, _ root: borrowing Descriptor) throws(KernelError) -> Node? {
        guard let (folder, name) = try parent(path, root) else { return nil }
        do throws(KernelError) { return try folder.value.node(name) } catch {
            if error.number == Errno.missing { return nil }
            throw error
        }
    }

    /// Whether a path stands for the same in both: kind, mode, and contents.
    static func isSame(_ path: FileName, _ upper: borrowing Descriptor, _ lower: borrowing Descriptor) -> Bool {
        guard let (a, name) = try? parent(path, upper), let (b, _) = try? parent(path, lower),
            let one = try? a.value.node(name), let two = try? b.value.node(name), one.kind == two.kind
        else { return false }
        switch one.kind {
        // What is in it is told by itself.
        case .folder: return one.mode & 0o1777 == two.mode & 0o1777
        case .link: return (try? a.value.link(name)) == (try? b.value.link(name))
        case .pipe: return true
        case .file:
            guard one.mode & 0o777 == two.mode & 0o777, one.size == two.size,
                let first = try? a.value.open(name, [.read, .noFollow, .nonblocking]),
                let second = try? b.value.open(name, [.read, .noFollow, .nonblocking])
            else { return false }
            return (try? isSame(first, second)) == true
        default: return false
        }
    }

    private static func isSame(
        _ one: borrowing Descriptor, _ two: borrowing Descriptor
    ) throws(KernelError) -> Bool {
        var at: Int64 = 0
        while true {
            let (a, b) = (try one.read(at: at, count: 1 << 17), try two.read(at: at, count: 1 << 17))
            guard a == b else { return false }
            if a.isEmpty { return true }
            at += Int64(a.count)
        }
    }
}
