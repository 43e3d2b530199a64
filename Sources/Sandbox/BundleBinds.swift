public import LinuxKernel
internal import OCISpec

/// What is asked of a bind mount, beside its two places.
public struct BundleBind: Sendable {
    public var recursive: Bool
    /// Of the mount itself.
    public var attributes: MountAttributes = []
    /// What has to be cleared to set them: the times are one value of several, MOUNT_ATTR__ATIME (mount_setattr(2)).
    public var cleared: MountAttributes {
        let times = MountAttributes(rawValue: 0x70)
        return attributes.isDisjoint(with: times) ? [] : times
    }
    /// Of it and all that is below.
    public var recursiveSet: MountAttributes = []
    public var recursiveClear: MountAttributes = []
    /// Nil: private.
    public var propagation: (value: MountPropagation, recursive: Bool)?
    /// Whose files' owners it shows (MOUNT_ATTR_IDMAP); nil: as on disk.
    public var owners: IdentityMap?
    public var ownersRecursive = false

    public init(recursive: Bool) { self.recursive = recursive }

    /// Whether it is seen on which side something is mounted later.
    public var keepsPeers: Bool { propagation.map { $0.value == .shared || $0.value == .slave } ?? false }
}

/// A mount that the parent clones for its child.
public struct BundleClone: Sendable {
    public let slot: Slot
    public let path: String
    public let bind: BundleBind
}

extension BundlePlan {
    /// The attributes whose names begin with an r: they hold for all below too (config.md, "Linux mount options").
    static func addRecursive(_ option: String, to bind: inout BundleBind) -> Bool {
        let all: [String: (set: Bool, MountAttributes)] = [
            "rro": (true, .readOnly), "rrw": (false, .readOnly), "rnosuid": (true, .noSetuid),
            "rsuid": (false, .noSetuid), "rnodev": (true, .noDevices), "rdev": (false, .noDevices),
            "rnoexec": (true, .noExecute), "rexec": (false, .noExecute), "rnosymfollow": (true, .noSymlinks),
            "rsymfollow": (false, .noSymlinks),
        ]
        guard let (sets, attribute) = all[option] else { return addTimes(option, to: &bind) }
        // The last of two that contradict each other holds.
        if sets { bind.recursiveSet.insert(attribute) } else { bind.recursiveSet.remove(attribute) }
        if sets { bind.recursiveClear.remove(attribute) } else { bind.recursiveClear.insert(attribute) }
        return true
    }

    /// Access times are one value of three, of which mount_setattr(2) wants all bits cleared to set one.
    private static func addTimes(_ option: String, to bind: inout BundleBind) -> Bool {
        let mask = MountAttributes(rawValue: 0x70)  // MOUNT_ATTR__ATIME
        let noFolders = MountAttributes(rawValue: 0x80)  // MOUNT_ATTR_NODIRATIME
        let values: [String: UInt64] = [
            "rrelatime": 0, "ratime": 0, "rnorelatime": 0, "rnoatime": 0x10, "rstrictatime": 0x20, "rnostrictatime": 0,
        ]
        switch option {
        case "rnodiratime":
            bind.recursiveSet.insert(noFolders)
            bind.recursiveClear.remove(noFolders)
        case "rdiratime":
            bind.recursiveSet.remove(noFolders)
            bind.recursiveClear.insert(noFolders)
        default:
            guard let value = values[option] else { return false }
            bind.recursiveSet.subtract(mask)
            bind.recursiveSet.insert(MountAttributes(rawValue: value))
            bind.recursiveClear.insert(mask)
        }
        return true
    }

    /// A clone of a mount of the host's.
    ///
    /// Root's private folders may be closed to the container's ids, and the container's own mount namespace has lost
    /// its ties to the host's, so that the parent clones where it may.
    mutating func bind(_ path: String, _ bind: BundleBind, place: String) throws(Problem) -> Slot {
        let tree = slot()
        // In the mount namespace that is joined, the parent is not.
        let isJoined = shared?.path != nil
        if isJoined, bind.owners != nil || bind.propagation?.value == .shared {
            throw BundlePlan.wrong(place, "neither shared nor id-mapped in a mount namespace that is there")
        }
        let mayClone = rights.contains(.systemAdministration) && !isJoined
        if mayClone, plan.identity != nil || bind.keepsPeers || bind.owners != nil {
            clones.append(BundleClone(slot: tree, path: path, bind: bind))
            return tree
        }
        if bind.owners != nil {
            throw BundlePlan.wrong(place, "an ordinary user may not map the owners of files")
        }
        if bind.propagation?.value == .shared {
            throw BundlePlan.wrong(place, "an ordinary user's mounts cannot be shared with the host")
        }
        let source = slot()
        plan.steps += [
            .open(hostPath: path, device: 0, inode: 0, into: source),
            .cloneTree(source, recursive: bind.recursive, into: tree, slave: bind.keepsPeers),
        ]
        if !bind.attributes.isEmpty {
            plan.steps.append(.mountAttributes(tree, set: bind.attributes, clear: bind.cleared, recursive: false))
        }
        if !bind.recursiveSet.isEmpty || !bind.recursiveClear.isEmpty {
            plan.steps.append(
                .mountAttributes(tree, set: bind.recursiveSet, clear: bind.recursiveClear, recursive: true))
        }
        if let kind = bind.propagation, kind.value == .unbindable {
            plan.steps.append(.propagation(tree, kind.value, recursive: kind.recursive))
        }
        return tree
    }

    /// The map of a mount's own, or the container's.
    func owners(_ mount: SpecMount, _ recursive: Bool?) throws(Problem) -> IdentityMap? {
        let ranges = { (list: [SpecLinux.Mapping]) in
            list.map { IdentityRange(inside: $0.inside, outside: $0.outside, count: $0.count) }
        }
        if !mount.uidMappings.isEmpty {
            return IdentityMap(
                uids: ranges(mount.uidMappings), gids: ranges(mount.gidMappings), byHelper: false, deniesGroups: false)
        }
        guard recursive != nil else { return nil }
        guard var map = plan.identity else {
            throw BundlePlan.wrong(mount.place, "idmap needs uidMappings and gidMappings, or a user namespace")
        }
        map.byHelper = false
        map.deniesGroups = false
        return map
    }
}
