internal import Glibc

/// The limits of one cgroup, in the words of the kernel's cgroup v2 files (admin-guide/cgroup-v2.rst).
public struct CgroupLimits: Equatable, Sendable {
    /// Bytes; nil: nothing asked for, and the level decides; ``none``: no limit, whatever the level's is.
    public var memoryMax: UInt64?
    public var swapMax: UInt64?
    /// Microseconds of CPU time in each period of 100 ms.
    public var cpuQuota: UInt64?
    public var cpuWeight: UInt64?
    public var pidsMax: UInt64?
    /// CPU numbers as in "0-3,7"; empty: all, as ``none``.
    public var cpus: String?
    /// By "major:minor": the keys rbps, wbps, riops, wiops.
    public var io: [String: [String: UInt64]] = [:]
    public var ioWeight: UInt64?

    public init() {}
    public static let cpuPeriod: UInt64 = 100_000
    /// Instead of a number: no limit. More bytes, processes or operations than the kernel counts to (its own "max" of
    /// memory is this number).
    public static let none = UInt64(Int64.max) / 4096 * 4096

    /// Only those that limit something: what a new cgroup, which has no limits, must be told.
    public var limiting: CgroupLimits {
        var limits = self
        // Not by key paths: to make these takes the runtime longer than all else here.
        if memoryMax == CgroupLimits.none { limits.memoryMax = nil }
        if swapMax == CgroupLimits.none { limits.swapMax = nil }
        if cpuQuota == CgroupLimits.none { limits.cpuQuota = nil }
        if pidsMax == CgroupLimits.none { limits.pidsMax = nil }
        if limits.cpus?.isEmpty == true { limits.cpus = nil }
        guard !io.isEmpty else { return limits }
        limits.io = limits.io.mapValues { $0.filter { $0.value != CgroupLimits.none } }.filter { !$0.value.isEmpty }
        return limits
    }

    private static func text(_ limit: UInt64) -> String { limit == none ? "max" : String(limit) }

    /// The controllers that these limits need.
    public var controllers: CaseSet<CgroupController> {
        var needed = CaseSet<CgroupController>()
        if memoryMax != nil || swapMax != nil { needed.insert(.memory) }
        if cpuQuota != nil || cpuWeight != nil { needed.insert(.cpu) }
        if pidsMax != nil { needed.insert(.pids) }
        if cpus != nil { needed.insert(.cpuset) }
        if !io.isEmpty || ioWeight != nil { needed.insert(.io) }
        return needed
    }

    /// What is written, file by file, in an order that the kernel accepts.
    public var files: [(controller: String, file: String, value: String)] {
        var list: [(controller: String, file: String, value: String)] = []
        if let memoryMax {
            list.append(("memory", "memory.max", CgroupLimits.text(memoryMax)))
            // The whole container ends together: a bot without its worker is worse than none.
            list.append(("memory", "memory.oom.group", "1"))
        }
        if let swapMax { list.append(("memory", "memory.swap.max", CgroupLimits.text(swapMax))) }
        if let cpuQuota { list.append(("cpu", "cpu.max", "\(CgroupLimits.text(cpuQuota)) \(CgroupLimits.cpuPeriod)")) }
        if let cpuWeight { list.append(("cpu", "cpu.weight", String(cpuWeight))) }
        if let pidsMax { list.append(("pids", "pids.max", CgroupLimits.text(pidsMax))) }
        // Nothing at all would not be a write.
        if let cpus { list.append(("cpuset", "cpuset.cpus", cpus.isEmpty ? "\n" : cpus)) }
        if let ioWeight { list.append(("io", "io.weight", "default \(ioWeight)")) }
        for (device, limits) in io.sorted(by: { $0.key < $1.key }) {
            let text = limits.sorted { $0.key < $1.key }.map { "\($0.key)=\(CgroupLimits.text($0.value))" }.joined(
                separator: " ")
            list.append(("io", "io.max", "\(device) \(text)"))
        }
        return list
    }
}

/// One cgroup v2 folder that codex32 made.
public struct Cgroup: ~Copyable {
    /// The folder's path on the host.
    public let path: String
    public let folder: Descriptor
    let parent: Descriptor
    let name: String

    /// Makes a cgroup below `parent` (a host path).
    public init(make name: String, in parentPath: String) throws(KernelError) {
        let above = try Descriptor.open(parentPath, [.read, .folder])
        try above.makeFolder(name, mode: 0o755)
        folder = try above.open(name, [.read, .folder, .noFollow])
        parent = above
        self.name = name
        path = "\(parentPath)/\(name)"
    }

    /// Opens a cgroup that is there already, by its host path.
    public init(existing path: String) throws(KernelError) {
        guard path.hasPrefix("/sys/fs/cgroup/"), let slash = path.lastIndex(of: "/"),
            !path.split(separator: "/").contains("..")
        else { throw KernelError("open", path, number: EINVAL) }
        let above = try Descriptor.open(String(path[..<slash]), [.read, .folder])
        let name = String(path[path.index(after: slash)...])
        folder = try above.open(name, [.read, .folder, .noFollow])
        parent = above
        self.name = name
        self.path = path
    }

    public borrowing func read(_ file: String) throws(KernelError) -> String {
        let text = try folder.contents(of: file, limit: 1 << 16)
        return text.hasSuffix("\n") ? String(text.dropLast()) : text
    }

    /// Writes a limit and reads it back: a limit that the kernel did not take as asked is an error.
    public borrowing func set(_ file: String, _ value: String) throws(KernelError) {
        let value = spelled(file, value)
        do { try folder.open(file, [.write]).write(value) } catch {
            throw KernelError("write", file, number: error.number)
        }
        let now = try read(file)
        guard Cgroup.holds(file: file, asked: value, now: now) else {
            throw KernelError("read back", file, number: EINVAL)
        }
    }

    /// A value as the file takes it now. A cgroup that has processes in it may not lose its set of CPUs (ENOSPC, since
    /// cgroup v2's cpuset): to have no set of its own then is to have all that the cgroup above has.
    public borrowing func spelled(_ file: String, _ value: String) -> String {
        guard file == "cpuset.cpus", value == "\n", (try? read(file))?.isEmpty == false,
            let all = try? parent.contents(of: "cpuset.cpus.effective", limit: 1 << 16), all != "\n"
        else { return value }
        return String(all.prefix { $0 != "\n" })
    }

    /// Whether a file's present text means what was asked. Memory is rounded down to whole pages;
    /// io files hold a line for each device.
    static func holds(file: String, asked: String, now: String) -> Bool {
        switch file {
        case "memory.max", "memory.swap.max":
            guard let want = UInt64(asked) else { return asked == now }
            guard let have = UInt64(now) else { return want > UInt64(Int64.max) - 65536 }
            return have == want / 4096 * 4096 || have == want
        case "io.max":
            let words = asked.split(separator: " ")
            guard let line = now.split(separator: "\n").first(where: { $0.hasPrefix(words[0] + " ") }) else {
                // A device without limits has no line.
                return words.dropFirst().allSatisfy { $0.hasSuffix("=max") }
            }
            let have = Set(line.split(separator: " "))
            return words.allSatisfy { have.contains($0) }
        case "io.weight": return now.split(separator: "\n").contains { $0 == asked }
        case "cpuset.cpus": return cpuRanges(asked) == cpuRanges(now)
        default: return asked == now
        }
    }

    /// A list of CPUs as the kernel may write it in another way: in order, with what adjoins put together.
    static func cpuRanges(_ text: String) -> [ClosedRange<UInt32>]? {
        var ranges: [ClosedRange<UInt32>] = []
        for part in text.split(whereSeparator: { $0 == "," || $0 == "\n" }) {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { UInt32($0) }
            guard ends.count <= 2, let first = ends[0], let last = ends[ends.count - 1], first <= last,
                last < UInt32.max
            else { return nil }
            ranges.append(first...last)
        }
        return ranges.sorted { $0.lowerBound < $1.lowerBound }.reduce(into: []) { merged, range in
            guard let last = merged.last, range.lowerBound <= last.upperBound + 1 else { return merged.append(range) }
            merged[merged.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
        }
    }

    /// Kills everything in it (cgroup.kill, Linux 5.14).
    public borrowing func kill() { try? folder.open("cgroup.kill", [.write]).write("1") }

    /// Removes it. Its processes must be gone; false: it is still busy.
    public borrowing func remove() -> Bool {
        do { try parent.remove(name, folder: true) } catch { return error.number == ENOENT }
        return true
    }

    /// A number that stands alone in a file; nil where the kernel has no such file, or "max".
    public borrowing func number(_ file: String) -> UInt64? { (try? read(file)).flatMap { UInt64($0) } }

    /// One of the lines "key number" of a flat-keyed file.
    public borrowing func number(_ file: String, key: String) -> UInt64? {
        guard let text = try? read(file) else { return nil }
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ")
            if words.count == 2, words[0] == key { return UInt64(words[1]) }
        }
        return nil
    }

    /// The sum over all devices of one key of io.stat; nil where there is no io controller.
    public borrowing func ioTotal(_ key: String) -> UInt64? {
        guard let text = try? read("io.stat") else { return nil }
        var total: UInt64 = 0
        for word in text.split(whereSeparator: { $0 == " " || $0 == "\n" }) where word.hasPrefix(key + "=") {
            total &+= UInt64(word.dropFirst(key.count + 1)) ?? 0
        }
        return total
    }
}

extension Cgroup {
    /// Ends and removes a cgroup that nobody owns any more. False: it is still there, a second later.
    @discardableResult
    public static func clear(_ name: String, in parentPath: String) -> Bool {
        guard parentPath.hasPrefix("/sys/fs/cgroup/"), let parent = try? Descriptor.open(parentPath, [.read, .folder]),
            let folder = try? parent.open(name, [.read, .folder, .noFollow])
        else { return true }
        try? folder.open("cgroup.kill", [.write]).write("1")
        for _ in 0..<200 {
            do { try parent.remove(name, folder: true) } catch {
                if error.number == ENOENT { return true }
                Clock.sleep(milliseconds: 5)
                continue
            }
            return true
        }
        return false
    }
}
