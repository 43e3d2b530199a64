internal import Glibc

/// One line that a cgroup v2 file is told (admin-guide/cgroup-v2.rst), and what it must say afterwards.
public struct CgroupSetting: Equatable, Sendable {
    /// As in "memory.max".
    public let file: String
    public let value: String

    public init(_ file: String, _ value: String) {
        self.file = file
        self.value = value
    }

    /// As in "memory"; "cgroup" is no controller, for those files are always there.
    public var controller: String { String(file.prefix { $0 != "." }) }

    /// It takes a limit away, and a cgroup that never had one need not be told.
    public var limitsNothing: Bool { value.split(separator: " ").first == "max" }

    /// `cpu.shares` of v1 (2 to 262144, 1024 by default) as `cpu.weight` (1 to 10000, 100 by default): a curve through
    /// the ends and the defaults, which runc has since 1.3.2 and crun since 1.23 (opencontainers/cgroups, pull
    /// request 20).
    public static func weight(shares: UInt64) -> UInt64 {
        if shares <= 2 { return 1 }
        if shares >= 262144 { return 10000 }
        let l = log2(Double(shares))
        return UInt64(pow(10, (l * l + 125 * l) / 612 - 7.0 / 34).rounded(.up))
    }

    /// The files with a line for each device, whose writes change one of them.
    static let keyed: Set<String> = ["io.max", "io.weight", "io.bfq.weight", "io.latency", "rdma.max", "misc.max"]

    /// Whether a file's present text means what was asked: memory is rounded down to whole pages, a list of CPUs is
    /// put in order, and what was left out stays as it was.
    func holds(_ now: String) -> Bool {
        if file.hasPrefix("cpuset.cpus") || file.hasPrefix("cpuset.mems") {
            return Cgroup.cpuRanges(value) == Cgroup.cpuRanges(now)
        }
        let asked = value.split(separator: " ")
        guard CgroupSetting.keyed.contains(file) else {
            let have = now.split(separator: " ")
            return asked.count <= have.count && zip(asked, have).allSatisfy { same($0, $1) }
        }
        let lines = now.split(separator: "\n").map { $0.split(separator: " ") }
        guard let line = lines.first(where: { $0.first == asked.first }) else {
            // A device without limits has no line.
            return asked.dropFirst().allSatisfy { $0.hasSuffix("=max") || $0 == "max" }
        }
        return asked.allSatisfy { word in line.contains { same(word, $0) } }
    }

    private func same(_ asked: Substring, _ now: Substring) -> Bool {
        if asked == now { return true }
        if let (want, have) = (Double(asked), Double(now)) as? (Double, Double), want == have { return true }
        // A byte count, perhaps with a suffix (memparse()), in whole pages; more than the kernel counts to is "max".
        guard file.hasPrefix("memory.") || file.hasPrefix("hugetlb."), let bytes = CgroupSetting.bytes(asked) else {
            return false
        }
        guard let have = UInt64(now) else { return now == "max" && bytes > UInt64(Int64.max) - 65536 }
        let page: UInt64 = file.hasPrefix("memory.") ? 4096 : pageSize
        return have == bytes / page * page
    }

    /// Of huge pages, by the file's name: hugetlb.2MB.max.
    private var pageSize: UInt64 {
        let parts = file.split(separator: ".")
        guard parts.count > 1 else { return 1 }
        let text = parts[1].hasSuffix("B") ? parts[1].dropLast() : parts[1]
        return max(CgroupSetting.bytes(text) ?? 1, 1)
    }

    /// A number of bytes, perhaps with a suffix of the kernel's (memparse()).
    public static func bytes(_ text: Substring) -> UInt64? {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard let number = UInt64(digits) else { return nil }
        let shift: UInt64
        switch text.dropFirst(digits.count).lowercased() {
        case "": shift = 0
        case "k": shift = 10
        case "m": shift = 20
        case "g": shift = 30
        case "t": shift = 40
        default: return nil
        }
        let (value, overflow) = number.multipliedReportingOverflow(by: 1 << shift)
        return overflow ? nil : value
    }
}

extension Cgroup {
    /// Whether this kernel has a file for cgroups like this one.
    public borrowing func has(_ file: String) -> Bool { (try? folder.status(of: file)) != nil }

    /// Writes a setting and reads it back.
    /// - Throws: ENOENT where the kernel or the cgroup above does not offer it; EINVAL where it was taken otherwise
    ///   than asked.
    public borrowing func set(_ setting: CgroupSetting) throws(KernelError) {
        do throws(KernelError) { try folder.open(setting.file, [.write, .noFollow]).write(setting.value) } catch {
            throw KernelError("write", setting.file, number: error.number)
        }
        let now = try read(setting.file)
        guard setting.holds(now) else { throw KernelError("read back", "\(setting.file) (\(now))", number: EINVAL) }
    }

    /// What must be written to have a file say again what it says now.
    public borrowing func former(_ setting: CgroupSetting) throws(KernelError) -> CgroupSetting {
        let now = try read(setting.file)
        guard CgroupSetting.keyed.contains(setting.file) else {
            return CgroupSetting(setting.file, now.isEmpty ? spelled(setting.file, "\n") : now)
        }
        let key = setting.value.prefix { $0 != " " }
        if let line = now.split(separator: "\n").first(where: { $0.hasPrefix(key + " ") }) {
            return CgroupSetting(setting.file, String(line))
        }
        // No line of its own: the words that were asked for, each without a limit.
        let words = setting.value.split(separator: " ").dropFirst().map { word in
            word.firstIndex(of: "=").map { "\(word[..<$0])=max" } ?? "default"
        }
        return CgroupSetting(setting.file, ([String(key)] + words).joined(separator: " "))
    }

    /// Whether there is a process in it or below it.
    public borrowing func isPopulated() -> Bool { number("cgroup.events", key: "populated") != 0 }

    /// Whether all of its processes are stopped (cgroup.freeze).
    public borrowing func isFrozen() -> Bool { number("cgroup.events", key: "frozen") == 1 }

    /// Stops all of its processes, or lets them go on (Linux 5.2), and waits until it is so.
    /// - Throws: EAGAIN where it was not within the time; the cgroup is then as it was.
    public borrowing func freeze(_ on: Bool, milliseconds: Int) throws(KernelError) {
        try folder.open("cgroup.freeze", [.write, .noFollow]).write(on ? "1" : "0")
        let end = Clock.monotonic + Int64(milliseconds) * 1_000_000
        while isFrozen() != on {
            guard Clock.monotonic < end else {
                if on { try? folder.open("cgroup.freeze", [.write, .noFollow]).write("0") }
                throw KernelError("write", "cgroup.freeze", number: EAGAIN)
            }
            Clock.sleep(milliseconds: 1)
        }
    }

    /// Removes it with the cgroups that its processes made below, however many and deep. All processes must have ended.
    /// - Throws: EBUSY where one of them can still not be removed after 10 s.
    public borrowing func removeAll() throws(KernelError) {
        // Down and up again with one folder open: the container chose the depth. Nothing here can be moved or be a
        // link (cgroup-v2.rst, "Organizing Processes and Threads"), so that ".." is where it came from.
        var at = try folder.duplicate()
        var stack: [(name: String, below: [String])] = [("", try Cgroup.below(at))]
        while let next = stack.last?.below.last {
            stack[stack.count - 1].below.removeLast()
            at = try at.open(next, [.read, .folder, .noFollow])
            stack.append((next, try Cgroup.below(at)))
            while stack.count > 1, let (name, below) = stack.last, below.isEmpty {
                at = try at.open("..", [.read, .folder])
                try Cgroup.remove(name, in: at)
                stack.removeLast()
            }
        }
        try Cgroup.remove(name, in: parent)
    }

    /// The kernel counts a process that was just reaped, or whose parent has not seen its end, for a moment longer.
    private static func remove(_ name: String, in folder: borrowing Descriptor) throws(KernelError) {
        let end = Clock.monotonic + 10_000_000_000
        while true {
            do throws(KernelError) { return try folder.remove(name, folder: true) } catch {
                if error.number == ENOENT { return }
                guard error.number == EBUSY, Clock.monotonic < end else {
                    throw KernelError("rmdir", name, number: error.number)
                }
                Clock.sleep(milliseconds: 2)
            }
        }
    }

    private static func below(_ folder: borrowing Descriptor) throws(KernelError) -> [String] {
        // It has a link for each folder below it, and most have none.
        guard try folder.node().links != 2 else { return [] }
        return try folder.entries().filter { (try? folder.status(of: $0))?.kind == .folder }
    }
}
