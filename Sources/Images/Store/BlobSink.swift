internal import LinuxKernel

/// A blob that this process writes itself: it has its name, which is its sum, once it is whole and on the disk.
///
/// The store is shared meanwhile (``ImageStore/share()``), and until something refers to the blob.
final class BlobSink: ByteSink {
    private let place: Owned
    private let file: Owned
    private let sum: SHA256
    private let temporary = "ingest/\(Machine.randomHex(bytes: 8))"
    private var count: UInt64 = 0
    private var isDone = false

    init(_ store: ImageStore) throws(KernelError) {
        place = Owned(try Descriptor.open(store.folder, [.read, .folder]))
        file = Owned(try place.descriptor.open(temporary, [.write, .create, .exclusive, .noFollow]))
        sum = try SHA256()
    }

    deinit { if !isDone { try? place.descriptor.remove(temporary) } }

    func write(_ bytes: UnsafeRawBufferPointer) throws(KernelError) {
        var done = 0
        while done < bytes.count {
            done += try file.descriptor.write(some: UnsafeRawBufferPointer(rebasing: bytes[done...]))
        }
        sum.update(bytes)
        count += UInt64(bytes.count)
    }

    func finish() throws(KernelError) -> (digest: Digest, size: UInt64) {
        try file.descriptor.sync()
        let digest = Digest(hex: sum.finish())!
        try place.descriptor.rename(temporary, to: "blobs/\(digest.hex)")
        isDone = true
        return (digest, count)
    }
}

extension ImageStore {
    /// Takes a small blob in.
    func ingest(_ bytes: [UInt8], what: String) throws(Problem) -> (digest: Digest, size: UInt64) {
        try explaining("cannot write \(what)") { () throws(KernelError) in
            let sink = try BlobSink(self)
            var bytes = bytes
            try withBytes(of: &bytes) { bytes throws(KernelError) in try sink.write(UnsafeRawBufferPointer(bytes)) }
            return try sink.finish()
        }
    }
}
