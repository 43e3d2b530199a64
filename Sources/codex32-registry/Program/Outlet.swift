internal import Glibc
internal import NIOCore
internal import OCISpec

/// What goes to codex32: frames on the standard output, each a line of JSON, and behind it as many bytes as its member
/// `bytes` says.
actor Outlet {
    /// Waits where codex32 is slower than the network: that holds the connections back, too.
    func send(_ header: JSON, _ data: ByteBuffer? = nil) {
        write(Array((header.text() + "\n").utf8).withUnsafeBytes { Array($0) })
        guard let data else { return }
        data.withUnsafeReadableBytes { write($0) }
    }

    private func write(_ bytes: [UInt8]) { bytes.withUnsafeBytes { write($0) } }

    private func write(_ bytes: UnsafeRawBufferPointer) {
        var done = 0
        while done < bytes.count {
            let count = Glibc.write(1, bytes.baseAddress! + done, bytes.count - done)
            if count < 0, errno == EINTR { continue }
            // Nobody reads any more: codex32 ended.
            if count <= 0 { exit(1) }
            done += count
        }
    }
}

/// What codex32 asks for: lines of JSON on the standard input, some with bytes behind them.
///
/// Read by a thread of its own, for reading waits; the end of the input is the end of this program, whatever it does.
enum Inlet {
    struct Request: Sendable {
        let header: JSON
        let data: [UInt8]
    }

    /// A manifest at most; a line is no longer than this either.
    private static let most = 8 << 20

    static func requests() -> AsyncStream<Request> {
        AsyncStream { continuation in
            var thread = pthread_t()
            let box = Unmanaged.passRetained(Box(continuation))
            pthread_create(
                &thread, nil,
                { raw in
                    let continuation = Unmanaged<Box>.fromOpaque(raw!).takeRetainedValue().continuation
                    while let request = Inlet.next() { continuation.yield(request) }
                    exit(0)
                }, box.toOpaque())
            pthread_detach(thread)
        }
    }

    private final class Box: Sendable {
        let continuation: AsyncStream<Request>.Continuation
        init(_ continuation: AsyncStream<Request>.Continuation) { self.continuation = continuation }
    }

    private static func next() -> Request? {
        var line: [UInt8] = []
        var byte: UInt8 = 0
        while true {
            let count = read(0, &byte, 1)
            if count < 0, errno == EINTR { continue }
            guard count == 1, line.count < most else { return nil }
            if byte == 10 { break }
            line.append(byte)
        }
        guard let header = try? JSONReader.read(line) else { return nil }
        guard case .integer(let size)? = header["bytes"] else { return Request(header: header, data: []) }
        guard size >= 0, size <= most else { return nil }
        var data = [UInt8](repeating: 0, count: Int(size))
        var done = 0
        while done < data.count {
            let count = data.withUnsafeMutableBytes { read(0, $0.baseAddress! + done, $0.count - done) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return nil }
            done += count
        }
        return Request(header: header, data: data)
    }
}
