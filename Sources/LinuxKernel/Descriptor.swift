internal import CShims
internal import Glibc

/// A file descriptor with one owner, closed once, when the owner ends. Always close-on-exec.
public struct Descriptor: ~Copyable {
    /// For the calls of this module and for the slots of a launch plan only.
    public let number: Int32

    /// Takes over a descriptor that nobody else will close.
    public init(owning number: Int32) { self.number = number }

    deinit { _ = codex_close(number) }

    /// Gives the descriptor up without closing it.
    public consuming func release() -> Int32 {
        let kept = number
        discard self
        return kept
    }

    /// A second descriptor of the same open file, numbered 3 or more.
    public borrowing func duplicate() throws(KernelError) -> Descriptor {
        Descriptor(owning: try KernelError.check(codex_duplicate(number, 3), "fcntl"))
    }

    public borrowing func read(into buffer: UnsafeMutableRawBufferPointer) throws(KernelError) -> Int {
        try KernelError.check(codex_read(number, buffer.baseAddress, buffer.count), "read")
    }

    /// Whether every one of the next bytes of a file is as expected. In pieces on the stack: this is on every
    /// start, and a page of memory never touched before costs more than a read.
    public borrowing func continues(with expected: [UInt8]) -> Bool {
        var done = 0
        while done < expected.count {
            let count = min(8192, expected.count - done)
            let isSame = withUnsafeTemporaryAllocation(byteCount: 8192, alignment: 8) { piece in
                codex_read(number, piece.baseAddress, count) == count
                    && expected.withUnsafeBytes { memcmp(piece.baseAddress!, $0.baseAddress! + done, count) == 0 }
            }
            if !isSame { return false }
            done += count
        }
        return true
    }

    /// Reads at most so many bytes from the beginning.
    public borrowing func readPrefix(_ count: Int) throws(KernelError) -> [UInt8] {
        var result = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            result = codex_read(number, buffer.baseAddress, count)
            filled = max(result, 0)
        }
        try KernelError.check(result, "read")
        return bytes
    }

    /// Reads at most so many bytes from a place (pread(2)).
    public borrowing func read(at offset: Int64, count: Int) throws(KernelError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let result = bytes.withUnsafeMutableBytes { codex_pread(number, $0.baseAddress, $0.count, offset) }
        return Array(bytes[..<(try KernelError.check(result, "pread"))])
    }

    public borrowing func truncate(_ size: Int64) throws(KernelError) {
        try KernelError.check(codex_ftruncate(number, size), "ftruncate")
    }

    /// Writes some of the bytes, and says how many.
    public borrowing func write(some bytes: UnsafeRawBufferPointer) throws(KernelError) -> Int {
        try KernelError.check(codex_write(number, bytes.baseAddress, bytes.count), "write")
    }

    /// Writes some of the bytes, and says how many.
    public borrowing func write(some bytes: [UInt8]) throws(KernelError) -> Int {
        try KernelError.check(bytes.withUnsafeBytes { codex_write(number, $0.baseAddress, $0.count) }, "write")
    }

    /// Writes all of the text.
    public borrowing func write(_ text: String) throws(KernelError) { try write(bytes: Array(text.utf8)) }

    public borrowing func write(bytes: [UInt8]) throws(KernelError) {
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes { codex_write(number, $0.baseAddress! + done, $0.count - done) }
            done += try KernelError.check(count, "write")
        }
    }

    /// Reads to the end. A file of more than `limit` bytes is an error (E2BIG): what is read here
    /// may be anybody's.
    public borrowing func readAll(limit: Int) throws(KernelError) -> [UInt8] {
        var bytes: [UInt8] = []
        // Most of what is read here is a line or two; what is longer is read in larger pieces.
        var piece = 1024
        while true {
            let more = try readPrefix(piece)
            if more.isEmpty { return bytes }
            if bytes.isEmpty { bytes = more } else { bytes += more }
            if bytes.count > limit { throw KernelError("read", number: E2BIG) }
            if more.count == piece { piece = min(2 * piece, 65536) }
        }
    }

    /// Whether a number that came by inheritance is open. Only before this process opens anything itself does the
    /// answer mean what the caller left open.
    public static func isOpen(_ number: Int32) -> Bool { fcntl(number, F_GETFD) >= 0 }

    /// For a descriptor that came by inheritance: it goes no further.
    public borrowing func setCloseOnExec() throws(KernelError) {
        try KernelError.check(codex_set_close_on_exec(number), "fcntl")
    }

    /// For a program that this process runs and that finds it by its number.
    public borrowing func clearCloseOnExec() throws(KernelError) {
        let result = fcntl(number, F_SETFD, 0) < 0 ? -errno : 0
        try KernelError.check(result, "fcntl")
    }

    public borrowing func setNonblocking(_ on: Bool) throws(KernelError) {
        try KernelError.check(codex_set_nonblocking(number, on ? 1 : 0), "fcntl")
    }

    public borrowing func sync() throws(KernelError) { try KernelError.check(codex_fsync(number), "fsync") }

    /// Brings all that was written to its whole file system to the disk (syncfs(2)): for a tree of many files that is
    /// far less work than syncing each.
    public borrowing func syncFileSystem() throws(KernelError) {
        try KernelError.check(codex_syncfs(number), "syncfs")
    }

    /// Takes an exclusive lock (flock(2)). Returns false when another process has it and `wait` is off.
    public borrowing func lock(wait: Bool) throws(KernelError) -> Bool {
        let result = codex_flock(number, LOCK_EX | (wait ? 0 : LOCK_NB))
        if result == -EWOULDBLOCK { return false }
        try KernelError.check(result, "flock")
        return true
    }

    /// A pipe: what is written to the second comes out of the first.
    public static func pipe() throws(KernelError) -> (read: Int32, write: Int32) {
        var ends: [Int32] = [-1, -1]
        try KernelError.check(codex_pipe(&ends), "pipe2")
        return (ends[0], ends[1])
    }
}
