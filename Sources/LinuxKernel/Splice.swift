internal import CShims
internal import Glibc

extension Descriptor {
    /// Moves what is in this pipe, at most so many bytes, to a place in a file, without waiting (splice(2)). Nothing
    /// of it passes through this process: killed at any moment, each byte is in the one or in the other.
    public borrowing func splice(to file: borrowing Descriptor, at offset: Int64, most: Int) throws(KernelError) -> Int
    {
        try KernelError.check(codex_splice_to_file(number, file.number, offset, most), "splice")
    }

    /// Writes all of the bytes at a place (pwrite(2)), or fails.
    public borrowing func write(_ bytes: UnsafeRawBufferPointer, at offset: Int64) throws(KernelError) {
        let count = try KernelError.check(codex_pwrite(number, bytes.baseAddress, bytes.count, offset), "pwrite")
        guard count == bytes.count else { throw KernelError("pwrite", number: ENOSPC) }
    }

    /// Reads into the buffer from a place (pread(2)); returns how many bytes there were.
    public borrowing func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(KernelError) -> Int
    {
        try KernelError.check(codex_pread(number, buffer.baseAddress, buffer.count, offset), "pread")
    }
}
