internal import LinuxKernel
internal import OCISpec

/// Which namespaces a bundle's container has: new ones, and by path those that are there (config-linux.md, "Namespaces").
extension BundlePlan {
    /// - Parameter cgroups: whether the container has a cgroup of its own.
    mutating func chooseNamespaces(cgroups: Bool) throws(Problem) {
        var paths: [(path: String, kind: Namespace)] = []
        let names: [String: Namespace] = [
            "pid": .pid, "network": .network, "mount": .mount, "ipc": .ipc, "uts": .uts, "user": .user,
            "cgroup": .cgroup, "time": .time,
        ]
        for entry in spec.linux.namespaces {
            guard let kind = names[entry.type] else { continue }
            guard let path = entry.path else {
                plan.namespaces.insert(kind)
                continue
            }
            guard path.hasPrefix("/") else { throw BundlePlan.wrong("linux.namespaces", "\(path) is not absolute") }
            guard kind != .mount else {
                shared = SharedMounts(path: path, inode: try inode(ofMounts: path), mark: mark)
                continue
            }
            paths.append((path, kind))
        }
        // Without these nothing could be ended or cleaned up for certain. A pid namespace of others', or the machine's own,
        // does not end with the container, and what that left there is found by its cgroup.
        if !plan.namespaces.contains(.pid), !cgroups {
            throw BundlePlan.wrong(
                "linux.namespaces",
                "a pid namespace by path, or none, takes a cgroup: else its processes could not be ended")
        }
        if !plan.namespaces.contains(.mount), shared == nil {
            // The caller's mounts belong to another user namespace, whose rights it would take to add to them.
            guard !spec.linux.namespaces.contains(where: { $0.type == "user" }) else {
                throw BundlePlan.wrong("linux.namespaces", "with a user namespace it takes a mount namespace")
            }
            shared = SharedMounts(path: nil, inode: Namespace.current(.mount) ?? 0, mark: mark)
        }
        try timeSteps()
        try chooseUser()
        join(paths)
    }

    /// A mount namespace of others' too stays as it is where nothing is asked for that would change it.
    private var mark: String? {
        let isAsked =
            !spec.mounts.isEmpty || spec.rootReadOnly || !spec.linux.maskedPaths.isEmpty
            || !spec.linux.readOnlyPaths.isEmpty || !spec.linux.devices.isEmpty || spec.linux.rootPropagation != nil
            || spec.linux.mountLabel != nil
        return isAsked ? "codex32-\(Machine.randomHex(bytes: 16))" : nil
    }

    private func inode(ofMounts path: String) throws(Problem) -> UInt64 {
        let other = try explaining("cannot open the mnt namespace \(path)") { () throws(KernelError) in
            try Descriptor.status(ofPath: path)
        }
        if other.inode == Namespace.current(.mount) {
            throw Problem(
                "cannot use config.json",
                "linux.namespaces: \(path) is the mount namespace that codex32 itself is in",
                hint: "leave out the namespace to be in the caller's")
        }
        return other.inode
    }

    /// Into a mount namespace that is there.
    mutating func joinMounts() throws(Problem) {
        guard let path = shared?.path else { return }
        let place = slot()
        joined.append((place, path, .mount))
        plan.steps.append(.join(place, namespaces: [.mount]))
    }

    /// The way to a root in a mount namespace in which nothing may change: this process alone gets another root.
    mutating func chroot(_ rootPath: String) throws(Problem) {
        let root = slot()
        plan.steps += [.open(hostPath: rootPath, device: 0, inode: 0, into: root), .useRoot(root)]
        try hookSteps()
        plan.steps.append(.changeRoot)
        plan.terminal = spec.process.terminal
        guard spec.process.terminal else { return }
        let terminals = slot()
        plan.steps += [
            .openTerminals("/dev/pts", into: terminals),
            .terminal(devpts: terminals, console: nil, uid: spec.process.uid, gid: spec.process.gid),
        ]
    }

    /// Where others see it, the root lies on a mount that is known by its source, and what goes on below it goes nowhere
    /// else: from there on nothing of it is anybody's mount but the container's.
    mutating func enterShared(_ root: Slot, _ rootPath: String, _ mark: String) {
        let base = slot()
        plan.steps += [
            .newFileSystem(
                "tmpfs",
                options: [MountOption("source", mark), MountOption("size", "4096"), MountOption("mode", "0")],
                attributes: [.readOnly, .noSetuid, .noDevices, .noExecute], workingFolder: nil, into: base),
            .enterHost(base, at: rootPath, over: root), .propagation(base, .isPrivate, recursive: false),
            .enterHost(root, at: rootPath, over: base),
        ]
    }

    /// In this order: where the caller may, the child is born in those that are there (from a user namespace of its own
    /// it could not enter what belongs to one above); then its user namespace, then what is left (setns(2)).
    private mutating func join(_ paths: [(path: String, kind: Namespace)]) {
        let hasUser = plan.namespaces.contains(.user) || joinsUser
        let isLent = hasUser && rights.contains(.systemAdministration)
        for space in paths.sorted(by: {
            ($0.kind == .user ? 0 : 1, $0.kind.rawValue) < ($1.kind == .user ? 0 : 1, $1.kind.rawValue)
        }) {
            if space.kind == .pid || isLent && space.kind != .user && space.kind != .time {
                birthplaces.append(space)
                continue
            }
            let place = slot()
            joined.append((place, space.path, space.kind))
            plan.steps.append(.join(place, namespaces: [space.kind]))
        }
        guard joinsUser else { return }
        // What is new belongs to the user namespace that is joined, so that it is made after that; a pid namespace
        // by another birth.
        let later = plan.namespaces.subtracting([.pid, .time])
        plan.steps.append(.unshare(later.reduce(0) { $0 | $1.cloneFlag }))
        if plan.namespaces.contains(.pid) { plan.steps.append(.enterFirst) }
        if plan.namespaces.contains(.time) { plan.steps.append(.tune(.timeOffsets(""))) }
        plan.namespaces = []
    }

    /// A time namespace with offsets is made by the child itself, before its clocks are looked at.
    private mutating func timeSteps() throws(Problem) {
        guard !spec.linux.timeOffsets.isEmpty else { return }
        guard plan.namespaces.remove(.time) != nil else {
            throw BundlePlan.wrong("linux.timeOffsets", "there is no new time namespace for them")
        }
    }

    private mutating func chooseUser() throws(Problem) {
        if let path = spec.linux.namespaces.first(where: { $0.type == "user" })?.path {
            joinsUser = true
            plan.identity = try joinedIdentity(path)
            return
        }
        let maps = !spec.linux.uidMappings.isEmpty || !spec.linux.gidMappings.isEmpty
        guard plan.namespaces.contains(.user) else {
            if maps { throw BundlePlan.wrong("linux.uidMappings", "there is no user namespace for them") }
            return
        }
        guard !spec.linux.uidMappings.isEmpty, !spec.linux.gidMappings.isEmpty else {
            throw BundlePlan.wrong("linux.uidMappings", "a new user namespace needs maps")
        }
        let (uids, gids) = (BundlePlan.ranges(spec.linux.uidMappings), BundlePlan.ranges(spec.linux.gidMappings))
        let mayMap = rights.isSuperset(of: [.setuid, .setgid])
        let single = uids.count == 1 && uids[0].count == 1 && gids.count == 1 && gids[0].count == 1
        plan.identity = IdentityMap(
            uids: uids, gids: gids, byHelper: !mayMap && !single, deniesGroups: !mayMap && single)
    }

    /// The ids of a user namespace that is there: as the configuration says they are, or as a process in it has them.
    private func joinedIdentity(_ path: String) throws(Problem) -> IdentityMap {
        let folder = path.hasPrefix("/proc/") && path.hasSuffix("/ns/user") ? String(path.dropLast(8)) : nil
        let read = { (name: String) in folder.flatMap { try? Descriptor.contents(of: "\($0)/\(name)") } ?? "" }
        var uids = IdentityRange.list(read("uid_map"))
        var gids = IdentityRange.list(read("gid_map"))
        if uids.isEmpty || gids.isEmpty {
            uids = BundlePlan.ranges(spec.linux.uidMappings)
            gids = BundlePlan.ranges(spec.linux.gidMappings)
        } else if !spec.linux.uidMappings.isEmpty, BundlePlan.ranges(spec.linux.uidMappings) != uids {
            throw BundlePlan.wrong("linux.uidMappings", "are not those of \(path)")
        }
        guard !uids.isEmpty, !gids.isEmpty else {
            throw BundlePlan.wrong("linux.uidMappings", "say those of \(path), which are not known by its name")
        }
        return IdentityMap(uids: uids, gids: gids, byHelper: false, deniesGroups: read("setgroups").hasPrefix("deny"))
    }

    private static func ranges(_ list: [SpecLinux.Mapping]) -> [IdentityRange] {
        list.map { IdentityRange(inside: $0.inside, outside: $0.outside, count: $0.count) }
    }
}
