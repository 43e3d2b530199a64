internal import LinuxKernel

/// How many processes there were at once, how many descriptors they had, and how large the files that they wrote
/// became: what the kernel's own counters do not tell everywhere.
///
/// It is looked at when a call is about to be made that could have changed it. What ends a process from outside is no
/// call: such a one has been looked at as of its last.
struct ProcessUse {
    /// Threads that made a call, each with its process.
    private var threads: [Int32: Int32] = [:]
    private(set) var mostThreads: UInt64 = 1
    private(set) var mostProcesses: UInt64 = 1
    private(set) var mostDescriptors: UInt64 = 0
    /// Bytes that each process wrote, to files or not (proc_pid_io(5)).
    private var written: [Int32: UInt64] = [:]
    /// Of files that were there, when they were opened or when their process ended.
    private var largestKnown: UInt64 = 0
    private var isCounted = true
    private var calls = 0

    private static func numbers(_ names: String...) -> Set<Int32> {
        Set(names.compactMap { SystemCallNumber(name: $0)?.number }.filter { $0 >= 0 })
    }

    private let births = ProcessUse.numbers("clone", "clone3", "fork", "vfork")
    private let ends = ProcessUse.numbers("exit_group", "execve", "execveat")
    private let sizes = ProcessUse.numbers("ftruncate", "truncate", "fallocate")
    /// Descriptors of one process that are looked at when it ends.
    private static let most = 4096

    mutating func note(_ call: ObservedCall) {
        calls += 1
        let number = call.data.number
        if threads[call.pid] == nil { meet(call.pid) }
        if births.contains(number) { count() }
        if sizes.contains(number) {
            // The new size, or a place and what is to be there. A nonsensical one is refused, and says nothing.
            let arguments = call.data.arguments
            let (size, isHuge) =
                number == SystemCallNumber(name: "fallocate")?.number
                ? arguments[2].addingReportingOverflow(arguments[3]) : (arguments[1], false)
            if !isHuge, size < 1 << 50 { largestKnown = max(largestKnown, size) }
        }
        if ends.contains(number) {
            // Of codex32's own child, until it is the program, nobody but root can know.
            if !look(call.pid), number == SystemCallNumber(name: "exit_group")?.number { isCounted = false }
            for name in (try? Descriptor.open("/proc/\(call.pid)/fd", [.read, .folder]).entries())?.prefix(
                ProcessUse.most) ?? []
            {
                if let open = UInt32(name) { measure(call.pid, open) }
            }
        } else if calls % 64 == 0 {
            _ = look(call.pid)
        }
    }

    /// No file grew beyond this: all that was written by all, behind the largest that there was. Nil: it was not counted.
    ///
    /// - Parameter opened: bytes of the largest file that was there already when it was opened to be written.
    func largestFile(opened: UInt64) -> UInt64? {
        guard isCounted else { return nil }
        let (sum, isHuge) = written.values.reduce((max(largestKnown, opened), false)) { sum, bytes in
            let (next, isHuge) = sum.0.addingReportingOverflow(bytes)
            return (next, sum.1 || isHuge)
        }
        return isHuge ? nil : sum
    }

    private mutating func meet(_ pid: Int32) {
        let group = (try? ProcessStatus(pid: pid))?.number("Tgid").map { Int32(truncatingIfNeeded: $0) }
        threads[pid] = group ?? pid
    }

    /// With the one that is about to be born.
    private mutating func count() {
        threads = threads.filter { ObservedProcess.isThere($0.key) }
        mostThreads = max(mostThreads, UInt64(threads.count) + 1)
        mostProcesses = max(mostProcesses, UInt64(Set(threads.values).count) + 1)
    }

    /// How many descriptors it has, by the size of the table that the kernel keeps of them: as many as the highest number
    /// needs, in powers of two; and what it wrote, if that could be read.
    private mutating func look(_ pid: Int32) -> Bool {
        if let size = (try? ProcessStatus(pid: pid))?.number("FDSize"), size > 0 {
            mostDescriptors = max(mostDescriptors, UInt64(size))
        }
        guard let text = try? Descriptor.contents(of: "/proc/\(pid)/io", limit: 4096),
            let bytes = UInt64(text.split(separator: "\n").first { $0.hasPrefix("wchar: ") }?.dropFirst(7) ?? "")
        else { return false }
        let group = threads[pid] ?? pid
        written[group] = max(written[group] ?? 0, bytes)
        return true
    }

    private mutating func measure(_ pid: Int32, _ number: UInt32) {
        // Only files that are open for writing can grow: proc_pid_fdinfo(5), flags, in octal.
        guard let status = try? Descriptor.status(ofPath: "/proc/\(pid)/fd/\(number)"), status.kind == .file,
            status.size > 0, UInt64(status.size) > largestKnown,
            let text = try? Descriptor.contents(of: "/proc/\(pid)/fdinfo/\(number)", limit: 1 << 16),
            let line = text.split(separator: "\n").first(where: { $0.hasPrefix("flags:") }),
            let flags = UInt64(line.dropFirst(6).drop { $0 == "\t" || $0 == " " }, radix: 8), flags & 3 != 0
        else { return }
        largestKnown = UInt64(status.size)
    }
}
