internal import LinuxKernel
internal import Sandbox

/// The mount sources that the parent opened, each a detached mount that nobody else can reach.
struct OpenedSources: ~Copyable {
    /// By slot. Closed together in the end.
    let numbers: SlotNumbers

    init(_ plan: LaunchPlan) throws(Problem) {
        var numbers = SlotNumbers()
        do {
            for source in plan.sources { numbers[source.slot] = try OpenedSources.open(source, plan).release() }
        } catch {
            for (_, number) in numbers { _ = Descriptor(owning: number) }
            throw error
        }
        self.numbers = numbers
    }

    deinit { for (_, number) in numbers { _ = Descriptor(owning: number) } }

    private static func open(_ bind: BindSource, _ plan: LaunchPlan) throws(Problem) -> Descriptor {
        if case .disk(let layered) = bind.kind {
            let disk = LayerDisk(bind.source)
            let tree = try disk.mount(bind.attributes)
            try disk.furnish(tree, layered: layered, for: plan.identity)
            return tree
        }
        return try explaining("cannot use \(bind.source.path)") { () throws(KernelError) in
            let place = try Descriptor.open(bind.source.path, [.pathOnly])
            let now = try place.status()
            guard now.device == bind.source.status.device, now.inode == bind.source.status.inode else {
                throw KernelError("open", bind.source.path, number: Errno.stale)
            }
            let tree = try place.cloneMount(recursive: bind.recursive)
            if !bind.attributes.isEmpty { try tree.setMountAttributes(bind.attributes, recursive: bind.recursive) }
            return tree
        }
    }

    /// Gives the sources the owners that the plan wants (id-mapped mounts). What a file system cannot
    /// do is told by name: its files keep their owners, which the container then sees as nobody.
    borrowing func mapOwners(_ plan: LaunchPlan, child: Int32) throws(Problem) -> [Notice] {
        guard plan.identity != nil, plan.sources.contains(where: { $0.owners != .plain }) else { return [] }
        let own = try explaining("cannot open the user namespace") { () throws(KernelError) in
            try Descriptor.open("/proc/\(child)/ns/user", [.read])
        }
        return try mapOwners(plan, in: own)
    }

    /// The same, with the container's user namespace at hand.
    borrowing func mapOwners(_ plan: LaunchPlan, in own: borrowing Descriptor) throws(Problem) -> [Notice] {
        guard let identity = plan.identity else { return [] }
        var notices: [Notice] = []
        for source in plan.sources {
            guard let number = numbers[source.slot], let mapped = try namespaceMap(source.owners, plan.user, identity)
            else { continue }
            do {
                switch mapped {
                case .container: try Descriptor.mapOwners(ofMount: number, by: own, recursive: source.recursive)
                case .special(let map):
                    let special = try MappingNamespace(map)
                    try Descriptor.mapOwners(ofMount: number, by: special.namespace, recursive: source.recursive)
                }
            } catch let error as KernelError {
                guard error.number == Errno.invalid || error.number == Errno.permission else {
                    throw Problem("cannot map the owners of \(source.source.path)", error)
                }
                // What is world-readable can be read all the same.
                if !source.attributes.contains(.readOnly) {
                    notices.append(
                        Notice(
                            .volumeOwners,
                            "the file system of \(source.source.path) has no id-mapped mounts: its files keep their owners",
                            hint: "keep it on ext4, xfs or btrfs", waived: plan.level != .strict))
                }
            } catch let problem as Problem {
                throw problem
            } catch { continue }
        }
        return notices
    }

    private enum Mapping {
        case container
        case special(IdentityMap)
    }

    private func namespaceMap(
        _ owners: BindSource.Owners, _ user: UserIdentity, _ identity: IdentityMap
    ) throws(Problem) -> Mapping? {
        switch owners {
        case .plain: return nil
        case .namespace: return .container
        case .exchanged(let uid, let gid):
            if uid == user.uid && gid == user.gid && identity.uids.count == 1 { return .container }
            return .special(
                IdentityMap(
                    uids: OpenedSources.exchange(uid, user.uid, identity.uids),
                    gids: OpenedSources.exchange(gid, user.gid, identity.gids), byHelper: false, deniesGroups: false))
        }
    }

    /// A map from ids on disk to host ids in which `owner` is where `user` would be, and the other way
    /// round, and everything else as in the container's own map. Ranges may not overlap, so the
    /// container's range is cut at the two.
    static func exchange(_ owner: UInt32, _ user: UInt32, _ ranges: [IdentityRange]) -> [IdentityRange] {
        guard let range = ranges.first(where: { $0.contains(inside: user) }) else { return ranges }
        let host = { (inside: UInt32) in range.outside + (inside - range.inside) }
        var list = [IdentityRange(inside: owner, outside: host(user), count: 1)]
        guard owner != user else { return ranges }
        let end = range.inside + range.count
        if range.contains(inside: owner) { list.append(IdentityRange(inside: user, outside: host(owner), count: 1)) }
        var start = range.inside
        for cut in [owner, user].sorted() + [end] {
            guard cut <= end, cut >= start else { continue }
            if cut > start { list.append(IdentityRange(inside: start, outside: host(start), count: cut - start)) }
            start = cut + 1
        }
        return list
    }
}
