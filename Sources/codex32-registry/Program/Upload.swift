internal import AsyncHTTPClient
internal import Distribution
internal import Glibc
internal import NIOCore
internal import NIOHTTP1
internal import OCISpec

/// Taking blobs and manifests to a registry.
struct Upload: Sendable {
    let session: Session
    let repository: String

    /// A file that this program was given, open.
    struct Blob: Sendable {
        let digest: String
        let size: UInt64
        let file: Int32
    }

    /// - Returns: whether the registry had it already.
    func blob(_ blob: Blob) async throws(Failure) -> Bool {
        try await Download.retrying { () throws(Failure) in
            let url = try await session.url("/v2/\(repository)/blobs/\(blob.digest)")
            let there = try await session.ask(.HEAD, url)
            await session.drain(there)
            if there.status == .ok { return true }
            let begin = try await session.ask(
                .POST, try await session.url("/v2/\(repository)/blobs/uploads/"),
                headers: [("content-length", "0")], follows: false)
            let said = try await session.collect(begin, limit: Session.largestAnswer)
            guard begin.status == .accepted, let location = begin.headers.first(name: "location") else {
                throw Download.failure(begin, said, session.settings.registry)
            }
            let place = try RegistryURL.resolve(location, from: try await session.url("/"))
            guard place.hasPrefix("https://") || session.settings.isInsecure else {
                throw Failure("the registry wants it at a place that is not encrypted")
            }
            let separator = place.contains("?") ? "&" : "?"
            let done = try await session.ask(
                .PUT, "\(place)\(separator)digest=\(RegistryURL.escape(blob.digest))",
                headers: [("content-type", "application/octet-stream")],
                body: { .stream(FileBytes(blob), length: .known(Int64(blob.size))) }, follows: false)
            let answer = try await session.collect(done, limit: Session.largestAnswer)
            guard done.status == .created else { throw Download.failure(done, answer, session.settings.registry) }
            return false
        }
    }

    func manifest(_ bytes: [UInt8], type: String, as reference: String) async throws(Failure) {
        try await Download.retrying { () throws(Failure) in
            let url = try await session.url("/v2/\(repository)/manifests/\(reference)")
            let done = try await session.ask(
                .PUT, url, headers: [("content-type", type)], body: { .bytes(ByteBuffer(bytes: bytes)) }, follows: false
            )
            let answer = try await session.collect(done, limit: Session.largestAnswer)
            guard done.status == .created else { throw Download.failure(done, answer, session.settings.registry) }
        }
    }
}

/// A file's bytes, a piece at a time: as fast as the network takes them.
private struct FileBytes: AsyncSequence, Sendable {
    typealias Element = ByteBuffer
    let blob: Upload.Blob

    init(_ blob: Upload.Blob) { self.blob = blob }

    struct AsyncIterator: AsyncIteratorProtocol {
        let blob: Upload.Blob
        var at: UInt64 = 0

        mutating func next() async throws -> ByteBuffer? {
            let count = Int(Swift.min(blob.size - at, 1 << 18))
            guard count > 0 else { return nil }
            var buffer = ByteBufferAllocator().buffer(capacity: count)
            let (file, offset) = (blob.file, off_t(at))
            let read = buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: count) { bytes in
                Swift.max(pread(file, bytes.baseAddress, count, offset), 0)
            }
            // Shorter than it was: what was promised cannot be sent any more.
            guard read > 0 else {
                throw Distribution.Failure("the blob \(blob.digest) is cut off on this machine's disk")
            }
            at += UInt64(read)
            return buffer
        }
    }

    func makeAsyncIterator() -> AsyncIterator { AsyncIterator(blob: blob) }
}
