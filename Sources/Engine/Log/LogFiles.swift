internal import LinuxKernel

/// The files of a container's log: `log.json` (or `log.raw`) is written, `.1` is the one before it, and so on.
final class LogFiles {
    let folder: Descriptor
    let base: String
    private let limit: UInt64
    private let count: UInt64
    private var file: Descriptor
    /// Bytes of the file that is written now.
    private(set) var size: UInt64

    init(_ policy: LogPolicy, in folder: consuming Descriptor) throws(KernelError) {
        let name = LogFiles.base(policy.format)
        let opened = try LogFiles.open(name, in: folder)
        size = UInt64(clamping: try opened.status().size)
        base = name
        limit = policy.fileSize
        count = policy.files
        file = opened
        self.folder = folder
    }

    static func base(_ format: LogPolicy.Format) -> String { format == .raw ? "log.raw" : "log.json" }

    /// A link, a pipe or a device in its place is refused: what is written goes to this file or nowhere.
    private static func open(_ name: String, in folder: borrowing Descriptor) throws(KernelError) -> Descriptor {
        let file = try folder.open(name, [.write, .create, .append, .noFollow, .nonblocking])
        guard try file.status().kind == .file else { throw KernelError("open", name, number: Errno.invalid) }
        return file
    }

    /// How many bytes fit into the present file.
    var room: UInt64 { limit > size ? limit - size : 0 }

    /// Writes all of the bytes or none: what a full disk took of them is cut off again.
    func append(_ bytes: UnsafeRawBufferPointer) throws(KernelError) {
        var done = 0
        do {
            while done < bytes.count {
                done += try file.write(some: UnsafeRawBufferPointer(rebasing: bytes[done...]))
            }
        } catch {
            if done > 0 { try? file.truncate(Int64(size)) }
            throw error
        }
        size += UInt64(bytes.count)
    }

    /// Begins a new file; the oldest one goes. Killed in the middle it leaves a gap in the numbers, which readers
    /// pass over.
    func turn() throws(KernelError) {
        if count > 1 {
            for number in stride(from: count - 1, to: 0, by: -1) {
                let from = number == 1 ? base : "\(base).\(number - 1)"
                do { try folder.rename(from, to: "\(base).\(number)") } catch {
                    guard error.number == Errno.missing else { throw error }
                }
            }
        } else {
            try folder.remove(base)
        }
        file = try LogFiles.open(base, in: folder)
        size = 0
    }
}
