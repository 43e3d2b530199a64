internal import LinuxKernel

/// A blob on its way into the store: `ingest/blob-HEX.part`, which a pull that was killed leaves, and the next one of
/// the same blob goes on with. Whoever has its lock brings it; others wait, and have it too.
final class BlobPart {
    let descriptor: BlobDescriptor
    private let store: ImageStore
    private let folder: Owned
    private let file: Owned
    private var sum: SHA256
    /// Bytes that are there.
    private(set) var count: UInt64 = 0
    /// It goes on with what an earlier pull left.
    private(set) var isResumed = false
    private(set) var isWhole = false

    static func isName(_ name: String) -> Bool { name.hasPrefix("blob-") && name.hasSuffix(".part") }
    private static func name(_ digest: Digest) -> String { "blob-\(digest.hex).part" }

    /// Waits for whoever brings the same blob. Nil: it is in the store.
    static func take(
        _ descriptor: BlobDescriptor, _ store: ImageStore, waiting: () -> Void
    ) throws(Problem) -> BlobPart? {
        while !store.hasBlob(descriptor) {
            let what = "cannot bring \(descriptor.digest.short)"
            let (folder, file) = try explaining(what) { () throws(KernelError) -> (Owned, Owned) in
                let folder = Owned(try Descriptor.open("\(store.folder)/ingest", [.read, .folder]))
                let name = name(descriptor.digest)
                let file = Owned(try folder.descriptor.open(name, [.readWrite, .create, .noFollow]))
                if try !file.descriptor.lock(wait: false) {
                    waiting()
                    _ = try file.descriptor.lock(wait: true)
                }
                return (folder, file)
            }
            // Whoever had it may have put it into the store, or thrown it away.
            guard let now = try? folder.descriptor.status(of: name(descriptor.digest)),
                let own = try? file.descriptor.status(), now.inode == own.inode
            else { continue }
            return try BlobPart(descriptor, store, folder, file)
        }
        return nil
    }

    private init(
        _ descriptor: BlobDescriptor, _ store: ImageStore, _ folder: Owned, _ file: Owned
    ) throws(Problem) {
        (self.descriptor, self.store, self.folder, self.file) = (descriptor, store, folder, file)
        sum = try explaining("cannot bring \(descriptor.digest.short)") { () throws(KernelError) in try SHA256() }
        try resume()
    }

    /// Sums up what an earlier pull left. That it is right shows at the end.
    private func resume() throws(Problem) {
        try explaining("cannot go on with \(descriptor.digest.short)") { () throws(KernelError) in
            let size = UInt64(clamping: try file.descriptor.status().size)
            guard size <= descriptor.size else { return try clear() }
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 4096)
            defer { buffer.deallocate() }
            while true {
                let read = try file.descriptor.read(into: buffer)
                if read == 0 { break }
                sum.update(UnsafeRawBufferPointer(rebasing: buffer[..<read]))
                count += UInt64(read)
            }
            isResumed = count > 0
        }
    }

    private func clear() throws(KernelError) {
        try file.descriptor.truncate(0)
        try file.descriptor.seek(to: 0)
        sum = try SHA256()
        (count, isResumed) = (0, false)
    }

    func restart() throws(Problem) {
        try explaining("cannot bring \(descriptor.digest.short)") { () throws(KernelError) in try clear() }
    }

    func add(_ bytes: UnsafeRawBufferPointer) throws(Problem) {
        let what = "cannot bring \(descriptor.digest.short)"
        guard UInt64(bytes.count) <= descriptor.size - count else {
            throw Problem(what, "it has more than \(descriptor.size) bytes", hint: BlobPart.hint)
        }
        try explaining(what) { () throws(KernelError) in
            var done = 0
            while done < bytes.count {
                done += try file.descriptor.write(some: UnsafeRawBufferPointer(rebasing: bytes[done...]))
            }
        }
        sum.update(bytes)
        count += UInt64(bytes.count)
    }

    private static let hint = "it was damaged or changed on its way, or at the registry: pull again"

    /// Puts it into the store.
    ///
    /// - Returns: false: it is not what it should be, and began with what an earlier pull left; now it is empty.
    /// - Throws: it is not what it should be.
    func finish() throws(Problem) -> Bool {
        let what = "cannot bring \(descriptor.digest)"
        guard count == descriptor.size else {
            throw Problem(what, "it has only \(count) bytes, and should have \(descriptor.size)", hint: BlobPart.hint)
        }
        let found = sum.finish()
        guard found == descriptor.digest.hex else {
            let wasResumed = isResumed
            try restart()
            if wasResumed { return false }
            try? folder.descriptor.remove(BlobPart.name(descriptor.digest))
            throw Problem(what, "its sum is sha256:\(found)", hint: BlobPart.hint)
        }
        try explaining(what) { () throws(KernelError) in
            try file.descriptor.sync()
            let place = try Descriptor.open(store.folder, [.read, .folder])
            try place.rename(
                "ingest/\(BlobPart.name(descriptor.digest))", to: "blobs/\(descriptor.digest.hex)")
        }
        isWhole = true
        return true
    }
}
