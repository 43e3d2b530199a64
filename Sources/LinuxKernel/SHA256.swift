internal import CShims

/// A SHA-256 (FIPS 180-4) that is fed piece by piece.
public final class SHA256 {
    private let state: UnsafeMutableRawPointer

    public init() throws(KernelError) {
        guard let made = codex_sha256_new() else { throw KernelError("malloc", number: Errno.noMemory) }
        state = made
    }

    public func update(_ bytes: UnsafeRawBufferPointer) { codex_sha256_update(state, bytes.baseAddress, bytes.count) }

    public func update(_ bytes: [UInt8]) { bytes.withUnsafeBytes { update($0) } }

    /// The sum of everything so far, as 64 lower-case digits; it begins anew then.
    public func finish() -> String {
        var digest = [UInt8](repeating: 0, count: 32)
        codex_sha256_finish(state, &digest)
        var text: [UInt8] = []
        let digits = Array("0123456789abcdef".utf8)
        for byte in digest {
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 15)])
        }
        return String(decoding: text, as: UTF8.self)
    }

    deinit { codex_sha256_free(state) }
}
