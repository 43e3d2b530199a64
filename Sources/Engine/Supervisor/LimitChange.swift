internal import LinuxKernel
internal import OCISpec

/// Other limits for a cgroup whose program runs: all of them, or none.
struct LimitChange {
    /// What must be written to have the files say again what they said.
    private var former: [(file: String, value: String)] = []
    /// What the kernel's files say now, by their names.
    private(set) var inForce = JSON.null

    /// Writes those limits that differ, each read back. When one is not taken, those before it are put back.
    ///
    /// - Throws: a `Problem` that names the limit which was not taken.
    init(to wanted: CgroupLimits, from before: CgroupLimits, in group: borrowing Cgroup) throws(Problem) {
        let same = before.files.map { "\($0.file)=\($0.value)" }
        for (_, file, value) in wanted.files where !same.contains("\(file)=\(value)") {
            do throws(KernelError) {
                former.append((file, LimitChange.former(file, says: try group.read(file), changedBy: value)))
                try group.set(file, value)
            } catch {
                throw Problem("cannot set the limit \(file)", error, hint: undo(group))
            }
        }
        var members: [JSON.Member] = []
        for (_, file, _) in wanted.files where !members.contains(where: { $0.name == file }) {
            members.append(.init(file, .text(try? group.read(file))))
        }
        inForce = .object(members)
    }

    /// Puts the former limits back, the last first, and says in words what has become of them.
    @discardableResult
    func undo(_ group: borrowing Cgroup) -> String {
        var lost: [String] = []
        for (file, value) in former.reversed() {
            if (try? group.folder.open(file, [.write]).write(group.spelled(file, value))) == nil { lost.append(file) }
        }
        return lost.isEmpty
            ? "the other limits stay as they were"
            : "\(lost.joined(separator: ", ")) could not be put back: give the former value again"
    }

    /// `io.max` has a line for each device that has limits, and a write changes one of them; an empty `cpuset.cpus`
    /// is that of the cgroup above.
    private static func former(_ file: String, says now: String, changedBy value: String) -> String {
        switch file {
        case "io.max":
            let device = value.prefix { $0 != " " }
            let line = now.split(separator: "\n").first { $0.hasPrefix(device + " ") }
            return line.map(String.init) ?? "\(device) rbps=max wbps=max riops=max wiops=max"
        case "io.weight": return String(now.prefix { $0 != "\n" })
        default: return now.isEmpty ? "\n" : now
        }
    }
}
