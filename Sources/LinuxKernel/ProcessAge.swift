internal import CShims
internal import Glibc

extension ProcessIdentity {
    /// Nanoseconds since the process began, to a hundredth of a second; nil: the clock cannot be read.
    ///
    /// By the clock of the boot, in which the start time is counted (proc_pid_stat(5), proc_uptime(5)): nobody sets
    /// it, and it is the same for every process that looks.
    public var age: Int64? {
        guard let text = try? Descriptor.contents(of: "/proc/uptime"), let word = text.split(separator: " ").first,
            let uptime = Double(word), uptime >= 0, uptime < 1e9
        else { return nil }
        let ticks = UInt64(max(sysconf(Int32(_SC_CLK_TCK)), 1))
        let began = Double(startTime / ticks) + Double(startTime % ticks) / Double(ticks)
        return Int64(max(uptime - began, 0) * 1e9)
    }
}

extension ProcessStatus {
    /// Whether the process is the first of a pid namespace below the reader's, as every container's program, or the
    /// reaper in front of it, is. Readable for everybody, whatever the process hides.
    public var isFirstOfNamespace: Bool {
        let numbers = self["NSpid"]?.split(separator: "\t") ?? []
        return numbers.count > 1 && numbers.last == "1"
    }
}

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
