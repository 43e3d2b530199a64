internal import LinuxKernel
internal import OCISpec

/// The mounts of a bundle (config.md, "Mounts"). Every option is one that is known, or an error.
extension BundlePlan {
    private struct Options {
        var attributes: MountAttributes = []
        var recursive: Bool?
        var data: [MountOption] = []
        var bind = BundleBind(recursive: false)
        /// "idmap" or "ridmap".
        var ownersRecursive: Bool?
        var copiesUp = false
    }

    /// The options with a value, or without, that are the file system's own, by its type.
    private static let own: [String: Set<String>] = [
        "tmpfs": ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks"],
        "devpts": ["newinstance", "ptmxmode", "mode", "gid", "uid", "max"], "proc": ["hidepid", "subset"],
        "sysfs": [], "mqueue": [], "cgroup": [], "cgroup2": [],
    ]

    /// MOUNT_ATTR_STRICTATIME (linux/mount.h).
    private static let everyAccessTime = MountAttributes(rawValue: 0x20)

    /// Podman gives it itself where SELinux is, in quotes, as mount(8) takes it.
    private func label(_ value: Substring, _ mount: SpecMount) throws(Problem) -> MountOption {
        guard Machine.hasSELinux else {
            throw BundlePlan.wrong("\(mount.place).options", "context: SELinux is not enabled on this machine")
        }
        let isQuoted = value.count > 1 && value.hasPrefix("\"") && value.hasSuffix("\"")
        return MountOption("context", String(isQuoted ? value.dropFirst().dropLast() : value))
    }

    private func options(_ mount: SpecMount) throws(Problem) -> Options {
        var result = Options()
        let isBind = mount.type == "bind" || mount.options.contains("bind") || mount.options.contains("rbind")
        for option in mount.options {
            switch option {
            case "bind": if result.recursive == nil { result.recursive = false }
            case "rbind": result.recursive = true
            case "ro": result.attributes.insert(.readOnly)
            case "rw": result.attributes.remove(.readOnly)
            case "nosuid": result.attributes.insert(.noSetuid)
            case "nodev": result.attributes.insert(.noDevices)
            case "noexec": result.attributes.insert(.noExecute)
            case "suid": result.attributes.remove(.noSetuid)
            case "dev": result.attributes.remove(.noDevices)
            case "exec": result.attributes.remove(.noExecute)
            // The last one counts.
            case "noatime":
                result.attributes.remove(BundlePlan.everyAccessTime)
                result.attributes.insert(.noAccessTime)
            case "strictatime":
                result.attributes.remove(.noAccessTime)
                result.attributes.insert(BundlePlan.everyAccessTime)
            case "nodiratime": result.attributes.insert(MountAttributes(rawValue: 0x80))  // MOUNT_ATTR_NODIRATIME
            case "relatime", "atime": result.attributes.subtract([.noAccessTime, BundlePlan.everyAccessTime])
            case "defaults": break
            case "idmap": result.ownersRecursive = false
            case "ridmap": result.ownersRecursive = true
            case "tmpcopyup" where mount.type == "tmpfs": result.copiesUp = true
            default:
                if let kind = BundlePlan.propagation(option) {
                    result.bind.propagation = kind
                    continue
                }
                if BundlePlan.addRecursive(option, to: &result.bind) { continue }
                let parts = option.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                // A bind mount has no file system to be made: mount(2) takes no notice of these, and writers of bundles
                // who give the same options to every mount count on that.
                if isBind, parts.count == 2, parts[0] == "mode" || parts[0] == "size" { continue }
                if parts.count == 2, parts[0] == "context", mount.type == "tmpfs" || mount.type == "devpts" {
                    result.data.append(try label(parts[1], mount))
                    continue
                }
                guard BundlePlan.own[mount.type]?.contains(String(parts[0])) ?? false, parts.count < 2 || parts[1] != ""
                else {
                    throw BundlePlan.wrong("\(mount.place).options", "\(option) is not supported for this mount yet")
                }
                result.data.append(MountOption(String(parts[0]), parts.count > 1 ? String(parts[1]) : ""))
            }
        }
        return result
    }

    mutating func mountSteps(_ mount: SpecMount) throws(Problem) {
        let parts = mount.destination.split(separator: "/").filter { $0 != "." }
        guard let first = parts.first.map(String.init) else {
            throw BundlePlan.wrong("\(mount.place).destination", "nothing can be mounted over the root")
        }
        // A fake file there would take what is written for the kernel (CVE-2019-16884, CVE-2019-19921).
        if first == "proc", parts.count > 1 {
            throw BundlePlan.wrong("\(mount.place).destination", "nothing may be mounted below /proc")
        }
        if first == "proc", mount.type != "proc", mount.source != "/proc" {
            throw BundlePlan.wrong(
                "\(mount.place).type", "at /proc there can only be a proc, or the host's by a bind")
        }
        let target = "/" + parts.joined(separator: "/")
        let options = try options(mount)
        let isSystem = ["proc", "sys", "dev"].contains(first)
        let within = parts.count > 1 ? outer[first] : nil
        let tree: Slot
        var isFile = false
        if options.recursive != nil || mount.type == "bind" {
            guard options.data.isEmpty else {
                throw BundlePlan.wrong("\(mount.place).options", "\(options.data[0].key) says nothing for a bind mount")
            }
            guard mount.source.hasPrefix("/") else {
                throw BundlePlan.wrong("\(mount.place).source", "must be an absolute path")
            }
            let status = try explaining("cannot mount \(mount.source)") { () throws(KernelError) in
                try Descriptor.status(ofPath: mount.source)
            }
            isFile = status.kind != .folder
            var wanted = options.bind
            wanted.recursive = options.recursive ?? false
            wanted.attributes = options.attributes
            wanted.owners = try owners(mount, options.ownersRecursive)
            wanted.ownersRecursive = options.ownersRecursive ?? false
            guard !options.copiesUp else {
                throw BundlePlan.wrong("\(mount.place).options", "tmpcopyup says nothing for a bind mount")
            }
            tree = try bind(mount.source, wanted, place: mount.place)
            if target == "/dev" { devicesGiven = true }
        } else {
            guard options.ownersRecursive == nil, mount.uidMappings.isEmpty else {
                throw BundlePlan.wrong(mount.place, "only the owners of a bind mount can be mapped")
            }
            tree = slot()
            try fileSystem(mount, options, into: tree)
            if options.copiesUp {
                plan.steps.append(
                    .copyUp(tree, from: target, keepsMode: options.data.contains { $0.key == "mode" }, within: within))
                if options.attributes.contains(.readOnly) {
                    plan.steps.append(.mountAttributes(tree, set: .readOnly, clear: [], recursive: false))
                }
            }
            let again = options.bind
            if !again.recursiveSet.isEmpty || !again.recursiveClear.isEmpty {
                plan.steps.append(
                    .mountAttributes(tree, set: again.recursiveSet, clear: again.recursiveClear, recursive: true))
            }
            if let kind = again.propagation, kind.value != .isPrivate {
                plan.steps.append(.propagation(tree, kind.value, recursive: kind.recursive))
            }
            if target == "/dev/pts", mount.type == "devpts" { terminals = tree }
        }
        let kind: MountTarget = isSystem ? (isFile ? .systemFile : .systemFolder) : (isFile ? .file : .folder)
        plan.steps.append(.attach(tree, at: target, kind, within: within))
        if parts.count == 1 { outer[first] = tree }
    }

    private mutating func fileSystem(_ mount: SpecMount, _ options: Options, into tree: Slot) throws(Problem) {
        guard BundlePlan.own[mount.type] != nil else {
            throw BundlePlan.wrong("\(mount.place).type", "\(mount.type) is not supported yet")
        }
        var (type, attributes, data) = (mount.type, options.attributes, options.data)
        // Filled before it is closed.
        if options.copiesUp { attributes.remove(.readOnly) }
        // What mountinfo shows as the source, as was asked: the kernel's own word would be "none".
        if !mount.source.isEmpty, !mount.source.utf8.contains(0) { data.append(MountOption("source", mount.source)) }
        if type == "devpts" { data = terminalOptions(data) }
        if type == "tmpfs" { data = fileOptions(data) }
        if type == "cgroup" || type == "cgroup2" {
            // Without a cgroup namespace the machine's whole tree would be shown.
            attributes.formUnion([.readOnly, .noSetuid, .noDevices, .noExecute])
            let isUnified = try explaining("cannot mount at \(mount.destination)") { () throws(KernelError) in
                try Descriptor.exists("/sys/fs/cgroup/cgroup.controllers")
            }
            if isUnified, !spec.linux.namespaces.contains(where: { $0.type == "cgroup" }) {
                throw BundlePlan.wrong("\(mount.place).type", "a cgroup mount needs a cgroup namespace")
            }
            // A container without a cgroup of its own has nothing there to see: an empty folder.
            (type, data) = isUnified ? ("cgroup2", []) : ("tmpfs", [MountOption("size", "4096")])
        }
        // SELinux has labels of its own for proc, sysfs and cgroups. A file system that was made with the namespace takes none
        // for all of it, only one for its root (security_sb_set_mnt_opts).
        let label = spec.linux.mountLabel
        if let label, type == "tmpfs" || type == "devpts", !data.contains(where: { $0.key == "context" }) {
            data.append(MountOption("context", label))
        }
        plan.steps.append(
            .newFileSystem(type, options: data, attributes: attributes, workingFolder: nil, into: tree))
        if let label, type == "mqueue" { plan.steps.append(.labelMount(tree, label)) }
    }
}
