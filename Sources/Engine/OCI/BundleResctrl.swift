internal import LinuxKernel
internal import OCISpec

/// A container's group in the kernel's resctrl file system (Documentation/filesystems/resctrl.rst, Linux 4.10).
///
/// No machine that codex32 was tried on has one. What is written and read back was tested with files in its place.
struct ResctrlGroup: Equatable {
    /// Where it is.
    let path: String
    /// It was made for the container, and goes with it.
    let isOwn: Bool
    /// The container's own counters, in `mon_groups` of the group; nil: it has none.
    let monitor: String?

    private static let what = "cannot use linux.intelRdt"
    /// It is the file system's own folder.
    private var isDefault: Bool { !Descriptor.isMissing("\(path)/info") }

    /// Which group a configuration asks for; nil: none. Nothing is made yet.
    init?(_ spec: SpecResctrl?, id: String) throws(Problem) {
        guard let spec else { return nil }
        let mounts = try explaining(ResctrlGroup.what) { () throws(KernelError) in
            try Descriptor.contents(of: "/proc/self/mountinfo", limit: 64 << 20)
        }
        guard let root = MountRecord.parse(mounts).first(where: { $0.type == "resctrl" })?.target else {
            throw Problem(
                ResctrlGroup.what, "this machine has no resctrl file system mounted",
                hint: "mount -t resctrl resctrl /sys/fs/resctrl, where the processor and the kernel have it")
        }
        try self.init(spec, id: id, in: root)
    }

    /// - Parameter root: where the file system is mounted.
    init(_ spec: SpecResctrl, id: String, in root: String) throws(Problem) {
        let name = spec.group ?? id
        path = name == "/" ? root : "\(root)/\(name)"
        monitor = spec.monitors ? "\(path)/mon_groups/\(id)" : nil
        let path = path
        let isThere = try explaining(ResctrlGroup.what) { () throws(KernelError) in try Descriptor.exists(path) }
        isOwn = !isThere
        if isThere {
            guard spec.group != nil else { throw ResctrlGroup.wrong("there is a group \(name) already") }
            return
        }
        guard spec.group == nil || !spec.schemata.isEmpty else {
            throw Problem(
                ResctrlGroup.what, "linux.intelRdt.closID: there is no group \(name)",
                hint: "make it in \(root), or say what it has: linux.intelRdt.schemata")
        }
    }

    /// As a state has it.
    init(path: String, isOwn: Bool, monitor: String?) {
        (self.path, self.isOwn, self.monitor) = (path, isOwn, monitor)
    }

    private static func wrong(_ why: String) -> Problem { Problem(what, why) }

    /// Makes what is the container's own; of a group that was there before, it is only looked at whether it has what the
    /// configuration says.
    ///
    /// - Throws: what could not be had; nothing of it is left then.
    func make(_ schemata: [String]) throws(Problem) {
        if isOwn {
            do throws(KernelError) { try ResctrlGroup.makeFolder(path) } catch {
                throw error.number == Errno.noSpace
                    ? Problem(ResctrlGroup.what, "the processor has no group left", hint: "resctrl.rst: num_closids")
                    : Problem(ResctrlGroup.what, error)
            }
        }
        do throws(Problem) {
            if isOwn { try set(schemata) } else { try check(schemata) }
            if let monitor {
                try explaining("cannot use linux.intelRdt.enableMonitoring") { () throws(KernelError) in
                    try ResctrlGroup.makeFolder(monitor)
                }
            }
        } catch {
            if isOwn { try? ResctrlGroup.removeFolder(path) }
            throw error
        }
    }

    private static func split(_ path: String) -> (folder: String, name: String) {
        let slash = path.lastIndex(of: "/") ?? path.startIndex
        return (String(path[..<slash]), String(path[slash...].dropFirst()))
    }

    private static func removeFolder(_ path: String) throws(KernelError) {
        let (place, name) = split(path)
        try Descriptor.open(place, [.read, .folder]).remove(name, folder: true)
    }

    private static func makeFolder(_ path: String) throws(KernelError) {
        let (place, name) = split(path)
        try Descriptor.open(place, [.read, .folder]).makeFolder(name, mode: 0o755)
    }

    /// Writes the lines at once, and reads them back.
    func set(_ schemata: [String]) throws(Problem) {
        guard !schemata.isEmpty else { return }
        do throws(KernelError) {
            try Descriptor.open("\(path)/schemata", [.write]).write(schemata.joined(separator: "\n") + "\n")
        } catch {
            // The kernel says there what it disliked.
            let words = (try? Descriptor.contents(of: "\(ResctrlGroup.split(path).folder)/info/last_cmd_status")) ?? ""
            let said = words.split(separator: "\n").first.map(String.init)
            throw Problem(ResctrlGroup.what, "\(path)/schemata: \(said ?? error.reason)")
        }
        try check(schemata)
    }

    /// What it has now.
    func schemata() throws(Problem) -> [String] {
        let text = try explaining(ResctrlGroup.what) { () throws(KernelError) in
            try Descriptor.contents(of: "\(path)/schemata")
        }
        return text.split(separator: "\n").map(String.init)
    }

    private func check(_ schemata: [String]) throws(Problem) {
        let there = Schemata(try self.schemata())
        // In percent, of processors' steps (resctrl.rst, "Memory bandwidth Allocation").
        let root = isDefault ? path : ResctrlGroup.split(path).folder
        let step = (try? Descriptor.contents(of: "\(root)/info/MB/bandwidth_gran"))
            .flatMap { UInt64($0.split(separator: "\n").first ?? "") }
        guard let lost = Schemata(schemata).first(missingIn: there, step: step ?? 1) else { return }
        throw ResctrlGroup.wrong("\(path)/schemata has \(lost.found ?? "no such line"), not \(lost.wanted)")
    }

    /// Puts a process there, and so all that come from it.
    func join(_ pid: Int32) throws(Problem) {
        for folder in [path, monitor] {
            guard let folder else { continue }
            try explaining(ResctrlGroup.what) { () throws(KernelError) in
                try Descriptor.open("\(folder)/tasks", [.write]).write(String(pid))
                let members = try Descriptor.contents(of: "\(folder)/tasks", limit: 8 << 20)
                guard members.split(separator: "\n").contains(where: { $0 == String(pid) }) else {
                    throw KernelError("write", "\(folder)/tasks", number: Errno.noProcess)
                }
            }
        }
    }

    /// Takes away what is the container's own. A group that others have come to be in by now stays: without it they would be
    /// in the usual one.
    func remove(_ what: String) throws(Problem) {
        do throws(KernelError) {
            if let monitor, try Descriptor.exists(monitor) { try ResctrlGroup.removeFolder(monitor) }
            guard isOwn, try Descriptor.exists(path) else { return }
            if try Descriptor.exists("\(path)/tasks"),
                try !Descriptor.contents(of: "\(path)/tasks", limit: 8 << 20).isEmpty
            {
                return
            }
            try ResctrlGroup.removeFolder(path)
        } catch { throw Problem(what, error) }
    }
}

/// The lines of a `schemata` file, by what each says: RESOURCE:DOMAIN=VALUE;DOMAIN=VALUE.
private struct Schemata {
    private var values: [(resource: String, domain: String, value: String)] = []

    init(_ lines: [String]) {
        for line in lines {
            let parts = line.split(separator: ":", maxSplits: 1)
            guard parts.count == 2 else { continue }
            let resource = String(parts[0].trimmed)
            for part in parts[1].split(separator: ";") {
                let pair = part.split(separator: "=", maxSplits: 1)
                guard pair.count == 2 else { continue }
                values.removeAll { $0.resource == resource && $0.domain == String(pair[0].trimmed) }
                values.append((resource, String(pair[0].trimmed), String(pair[1].trimmed)))
            }
        }
    }

    /// What of these values another one has otherwise. A cache's are hexadecimal, with or without zeros before them; the
    /// kernel rounds a bandwidth up to what the processor can do.
    func first(missingIn other: Schemata, step: UInt64) -> (wanted: String, found: String?)? {
        for (resource, domain, value) in values {
            let found = other.values.first { $0.resource == resource && $0.domain == domain }?.value
            if let found {
                let isBandwidth = resource.hasSuffix("MB") || resource.hasSuffix("MBA")
                if isBandwidth, let asked = UInt64(value), let there = UInt64(found), there >= asked,
                    there - asked < step
                {
                    continue
                }
                if !isBandwidth, let asked = UInt64(value, radix: 16), asked == UInt64(found, radix: 16) { continue }
            }
            return ("\(resource):\(domain)=\(value)", found.map { "\(resource):\(domain)=\($0)" })
        }
        return nil
    }
}

extension Substring {
    fileprivate var trimmed: Substring {
        var rest = self
        while rest.first == " " { rest.removeFirst() }
        while rest.last == " " { rest.removeLast() }
        return rest
    }
}
