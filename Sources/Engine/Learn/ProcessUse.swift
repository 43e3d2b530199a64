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
    private(set) var largestFile: UInt64 = 0
    private var calls = 0

    private static func numbers(_ names: String...) -> Set<Int32> {
        Set(names.compactMap { SystemCallNumber(name: $0)?.number }.filter { $0 >= 0 })
    }

    private let births = ProcessUse.numbers("clone", "clone3", "fork", "vfork")
    private let ends = ProcessUse.numbers("exit_group", "execve", "execveat")
    private let closings = ProcessUse.numbers("close")
    /// Descriptors of one process that are looked at when it ends.
    private static let most = 4096

    mutating func note(_ call: ObservedCall) {
        calls += 1
        let number = call.data.number
        if threads[call.pid] == nil { meet(call.pid) }
        if births.contains(number) { count() }
        if closings.contains(number) {
            measure(call.pid, UInt32(truncatingIfNeeded: call.data.arguments[0]))
        }
        if ends.contains(number) {
            countDescriptors(call.pid)
            for name in (try? Descriptor.open("/proc/\(call.pid)/fd", [.read, .folder]).entries())?.prefix(
                ProcessUse.most) ?? []
            {
                if let open = UInt32(name) { measure(call.pid, open) }
            }
        } else if calls % 64 == 0 {
            countDescriptors(call.pid)
        }
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

    /// By the size of the table that the kernel keeps of them: as many as the highest number needs, in powers of two.
    private mutating func countDescriptors(_ pid: Int32) {
        guard let size = (try? ProcessStatus(pid: pid))?.number("FDSize"), size > 0 else { return }
        mostDescriptors = max(mostDescriptors, UInt64(size))
    }

    private mutating func measure(_ pid: Int32, _ number: UInt32) {
        // Only files that are open for writing can grow: proc_pid_fdinfo(5), flags, in octal.
        guard let status = try? Descriptor.status(ofPath: "/proc/\(pid)/fd/\(number)"), status.kind == .file,
            status.size > 0, UInt64(status.size) > largestFile,
            let text = try? Descriptor.contents(of: "/proc/\(pid)/fdinfo/\(number)", limit: 1 << 16),
            let line = text.split(separator: "\n").first(where: { $0.hasPrefix("flags:") }),
            let flags = UInt64(line.dropFirst(6).drop { $0 == "\t" || $0 == " " }, radix: 8), flags & 3 != 0
        else { return }
        largestFile = UInt64(status.size)
    }
}
