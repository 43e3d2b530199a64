internal import LinuxKernel

/// The files of a container's log: `log.json` (or `log.raw`) is written, `.1` is the one before it, and so on.
final class LogFiles {
    let folder: Descriptor
    let base: String
    private let limit: UInt64
    private let count: UInt64
    private var file: Descriptor
    /// Of the file that is written now.
    private(set) var inode: UInt64
    /// Bytes of it.
    private(set) var size: UInt64
    /// The file ends in the middle of a line: what is written next must not become part of it.
    private var isTorn = false

    /// - Parameter position: how far a killed writer of this log had come for certain.
    init(
        _ policy: LogPolicy, in folder: consuming Descriptor, from position: LogPosition? = nil
    ) throws(KernelError) {
        let name = LogFiles.base(policy.format)
        try position?.restore(in: folder, base: name, count: policy.files)
        let opened = try LogFiles.open(name, in: folder)
        let status = try opened.status()
        let length = status.size
        inode = status.inode
        size = UInt64(clamping: length)
        // A supervisor that was killed may have left half a line.
        if policy.format == .json, length > 0 { isTorn = try opened.read(at: length - 1, count: 1) != [10] }
        base = name
        limit = policy.fileSize
        count = policy.files
        file = opened
        self.folder = folder
    }

    static func base(_ format: LogPolicy.Format) -> String { format == .raw ? "log.raw" : "log.json" }

    /// A link, a pipe or a device in its place is refused: what is written goes to this file or nowhere.
    private static func open(_ name: String, in folder: borrowing Descriptor) throws(KernelError) -> Descriptor {
        let file = try folder.open(name, [.readWrite, .create, .append, .noFollow, .nonblocking])
        guard try file.status().kind == .file else { throw KernelError("open", name, number: Errno.invalid) }
        return file
    }

    /// How many bytes fit into the present file.
    var room: UInt64 { limit > size ? limit - size : 0 }

    /// Writes all of the bytes or none: what a full disk took of them is cut off again.
    func append(_ bytes: UnsafeRawBufferPointer) throws(KernelError) {
        if isTorn {
            try file.write(bytes: [10])
            (isTorn, size) = (false, size + 1)
        }
        var done = 0
        do {
            while done < bytes.count {
                done += try file.write(some: UnsafeRawBufferPointer(rebasing: bytes[done...]))
            }
        } catch {
            if done > 0 {
                do { try file.truncate(Int64(size)) } catch { (isTorn, size) = (true, size + UInt64(done)) }
            }
            throw error
        }
        size += UInt64(bytes.count)
    }

    /// Begins a new file; the oldest one goes. The new one is made first: a disk that has no room for it costs no
    /// old one. Killed in the middle it leaves a gap in the numbers, which readers pass over.
    func turn() throws(KernelError) {
        let next = "\(base).next"
        do { try folder.remove(next) } catch { guard error.number == Errno.missing else { throw error } }
        let opened = try folder.open(next, [.readWrite, .create, .exclusive, .append, .noFollow])
        let number = try opened.status().inode
        for number in stride(from: count - 1, to: 0, by: -1) {
            let from = number == 1 ? base : "\(base).\(number - 1)"
            do { try folder.rename(from, to: "\(base).\(number)") } catch {
                guard error.number == Errno.missing else { throw error }
            }
        }
        try folder.rename(next, to: base)
        file = opened
        (inode, size, isTorn) = (number, 0, false)
    }
}
