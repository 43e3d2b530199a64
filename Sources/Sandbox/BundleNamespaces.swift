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
                try checkJoined(mounts: path)
                joinedMounts = path
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
        if !plan.namespaces.contains(.mount), joinedMounts == nil {
            throw BundlePlan.wrong("linux.namespaces", "a container without a mount namespace is not supported yet")
        }
        try timeSteps()
        try chooseUser()
        join(paths)
    }

    /// A mount namespace that is there is others' too: it stays as it is, and what would change it is refused by name.
    private func checkJoined(mounts path: String) throws(Problem) {
        let asked: [(name: String, isAsked: Bool)] = [
            ("mounts", !spec.mounts.isEmpty), ("root.readonly", spec.rootReadOnly),
            ("linux.maskedPaths", !spec.linux.maskedPaths.isEmpty),
            ("linux.readonlyPaths", !spec.linux.readOnlyPaths.isEmpty),
            ("linux.devices", !spec.linux.devices.isEmpty),
            ("linux.rootfsPropagation", spec.linux.rootPropagation != nil),
            ("linux.mountLabel", spec.linux.mountLabel != nil),
        ]
        if let name = asked.first(where: \.isAsked)?.name {
            throw Problem(
                "cannot use config.json", "\(name): the mount namespace is one that is there, and stays as it is",
                hint: "leave it out: the container sees what is mounted in \(path)")
        }
        let other = try explaining("cannot open the mnt namespace \(path)") { () throws(KernelError) in
            try Descriptor.status(ofPath: path)
        }
        if other.inode == Namespace.current(.mount) {
            throw BundlePlan.wrong("linux.namespaces", "\(path) is the mount namespace that codex32 itself is in")
        }
    }

    /// The way into a mount namespace that is there, and to the root in it. As nothing of it may change, this process
    /// alone gets another root.
    mutating func joinMounts(_ path: String, rootPath: String) throws(Problem) {
        let (place, root) = (slot(), slot())
        joined.append((place, path, .mount))
        plan.steps += [
            .join(place, namespaces: [.mount]), .open(hostPath: rootPath, device: 0, inode: 0, into: root),
            .useRoot(root),
        ]
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
