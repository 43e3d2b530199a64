internal import CShims

/// A compressed stream being read: bounded memory, whatever the stream says of itself.
public final class Inflation {
    public enum Form: Sendable { case gzip, zstd }
    private let state: UnsafeMutableRawPointer

    public init(_ form: Form) throws(KernelError) {
        guard let made = codex_inflate_new(Int32(form == .gzip ? CODEX_GZIP : CODEX_ZSTD)) else {
            throw KernelError("malloc", number: Errno.noMemory)
        }
        state = made
    }

    /// Takes some bytes and gives some.
    ///
    /// - Returns: how many were taken and given, and whether a stream has ended there; nil: it is no such stream.
    public func step(
        _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
    ) -> (taken: Int, given: Int, atEnd: Bool)? {
        var (taken, given) = (input.count, output.count)
        let result = codex_inflate(
            state, input.baseAddress?.assumingMemoryBound(to: UInt8.self), &taken,
            output.baseAddress?.assumingMemoryBound(to: UInt8.self), &given)
        return result < 0 ? nil : (taken, given, result == 1)
    }

    deinit { codex_inflate_free(state) }
}

extension Descriptor {
    /// Marks a name as gone for an overlay that has this folder above another (a character device 0:0).
    public borrowing func makeWhiteout(_ name: FileName) throws(KernelError) {
        let folder = number
        try KernelError.check(name.withCString { codex_make_whiteout(folder, $0) }, "mknod", name.description)
    }

    /// Makes a socket's name that nobody listens behind (mknod(2)).
    public borrowing func makeSocket(_ name: FileName) throws(KernelError) {
        let folder = number
        try KernelError.check(name.withCString { codex_make_socket(folder, $0) }, "mknod", name.description)
    }
}
