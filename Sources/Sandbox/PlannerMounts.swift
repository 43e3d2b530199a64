internal import LinuxKernel

/// What is mounted into the root: /proc, /sys, /dev, temporary folders, volumes.
extension Planner {
    mutating func mountSteps(_ root: Root) throws(Problem) {
        let strict = request.level == .strict
        let proc = slot()
        add(
            .newFileSystem(
                "proc", options: strict ? [MountOption("hidepid", "invisible")] : [],
                attributes: [.noSetuid, .noDevices, .noExecute], workingFolder: nil, into: proc))
        add(.attach(proc, at: "/proc", .systemFolder))
        var devices: Devices?
        var sys: Slot?
        if root.mount != nil {
            if !strict { sys = sysSteps() }
            let made = deviceSteps(strict: strict)
            temporarySteps(made)
            devices = made
        }
        workspaceSteps()
        // Outer targets first, whatever their kind, so that an inner one is mounted into them and not under.
        let given =
            request.temporary.map { ($0.target, Given.temporary($0)) }
            + request.volumes.map { ($0.target, Given.volume($0)) }
        for (_, mount) in given.sorted(by: { $0.0 < $1.0 }) {
            switch mount {
            case .temporary(let temporary): temporaryMount(temporary, within: nil)
            case .volume(let volume): volumeSteps(volume, onHost: root.mount == nil)
            }
        }
        if sharesQuotas { for (file, most) in SharedQuota.files { add(.write(proc, file, most)) } }
        for sysctl in request.sysctls {
            add(.write(proc, "sys/" + String(sysctl.name.map { $0 == "." ? "/" : $0 }), sysctl.value))
        }
        if let devices { maskSteps(devices, proc: proc, sys: sys) }
        if request.terminal {
            add(
                .terminal(devpts: devices?.pts, console: devices?.folder, uid: plan.user.uid, gid: ttyGroup))
        }
        if let devices, strict { add(.mountAttributes(devices.folder, set: .readOnly, clear: [], recursive: false)) }
    }

    /// The group of terminals, 5 as everywhere; where the container has no such id, the program's own.
    var ttyGroup: UInt32 { plan.identity?.hostGID(5) == nil && plan.identity != nil ? plan.user.gid : 5 }

    struct Devices {
        let folder: Slot
        let null: Slot
        let pts: Slot
    }

    private mutating func sysSteps() -> Slot {
        let attributes: MountAttributes = [.readOnly, .noSetuid, .noDevices, .noExecute]
        let sys = slot()
        guard ownsNetwork else {
            // sysfs belongs to a network namespace: without one of its own the host's is shown.
            let place = slot()
            add(.open(hostPath: "/sys", device: 0, inode: 0, into: place))
            add(.cloneTree(place, recursive: true, into: sys))
            add(.mountAttributes(sys, set: attributes, clear: [], recursive: true))
            add(.attach(sys, at: "/sys", .systemFolder))
            return sys
        }
        // A mount in a user namespace needs the host's sysfs to be wholly visible; minimal as root has none.
        add(.newFileSystem("sysfs", options: [], attributes: attributes, workingFolder: nil, into: sys))
        add(.attach(sys, at: "/sys", .systemFolder))
        if plan.cgroup != nil && plan.unsharesCgroup {
            let tree = slot()
            add(.newFileSystem("cgroup2", options: [], attributes: attributes, workingFolder: nil, into: tree))
            add(.attach(tree, at: "/sys/fs/cgroup", .ifPresent, within: sys))
        }
        return sys
    }

    private mutating func deviceSteps(strict: Bool) -> Devices {
        let folder = slot()
        add(temporary(size: 65536, mode: 0o755, attributes: [.noSetuid, .noExecute], into: folder))
        var fixtures = DefaultPaths.fixtures
        if isGiven("/dev/shm") { fixtures.removeLast(DefaultPaths.sharedMemory.count) }
        add(.furnish(folder, fixtures))
        add(.attach(folder, at: "/dev", .systemFolder))
        var null = folder
        for device in DefaultPaths.devices {
            let node = slot()
            let number = DefaultPaths.deviceNumber(device.major, device.minor)
            add(.openDevice(hostPath: "/dev/\(device.name)", number: number, into: node))
            add(.attach(node, at: "/dev/\(device.name)", .fixture, within: folder))
            if device.name == "null" { null = node }
        }
        for device in request.devices {
            let node = slot()
            add(.openDevice(hostPath: device.path, number: device.number, into: node))
            add(.attach(node, at: device.target, .systemFile))
        }
        let pts = slot()
        var options = [
            MountOption("max", String(SharedQuota.terminals)), MountOption("ptmxmode", "0666"),
            MountOption("mode", "0620"),
        ]
        if plan.identity == nil || plan.identity?.hostGID(5) != nil { options.append(MountOption("gid", "5")) }
        add(
            .newFileSystem(
                "devpts", options: options, attributes: [.noSetuid, .noExecute], workingFolder: nil, into: pts))
        add(.attach(pts, at: "/dev/pts", .systemFolder, within: folder))
        return Devices(folder: folder, null: null, pts: pts)
    }

    private mutating func temporarySteps(_ devices: Devices) {
        let strict = request.level == .strict
        if !isGiven("/dev/shm") {
            temporaryMount(
                TemporaryMount(target: "/dev/shm", size: request.shmSize ?? 64 << 20, mode: 0o1777, executable: false),
                within: devices.folder)
        }
        if !isGiven("/tmp") {
            temporaryMount(
                TemporaryMount(target: "/tmp", size: 64 << 20, mode: 0o1777, executable: !strict), within: nil)
        }
    }

    /// Whether the caller mounts something of his own there.
    private func isGiven(_ target: String) -> Bool {
        request.temporary.contains { $0.target == target } || request.volumes.contains { $0.target == target }
    }

    private mutating func temporaryMount(_ mount: TemporaryMount, within: Slot?) {
        var attributes: MountAttributes = [.noSetuid, .noDevices]
        if !mount.executable { attributes.insert(.noExecute) }
        if mount.readOnly { attributes.insert(.readOnly) }
        let tree = slot()
        add(temporary(size: mount.size, mode: mount.mode, attributes: attributes, into: tree))
        add(.attach(tree, at: mount.target, .folder, within: within))
    }

    private enum Given {
        case temporary(TemporaryMount)
        case volume(Volume)
    }

    private mutating func volumeSteps(_ volume: Volume, onHost: Bool) {
        var attributes: MountAttributes = [.noSetuid, .noDevices]
        if volume.readOnly { attributes.insert(.readOnly) }
        if volume.noExecute { attributes.insert(.noExecute) }
        let tree = bind(volume.source, attributes: attributes, owners: owners(of: volume))
        let kind: MountTarget = volume.source.status.kind == .folder ? .folder : .file
        add(.attach(tree, at: volume.target, onHost ? .existing : kind))
    }

    /// A volume of somebody's belongs, inside, to the program: what it writes is theirs outside.
    private func owners(of volume: Volume) -> BindSource.Owners {
        guard parentOpensSources, volume.mapOwners ?? true else { return .plain }
        return .exchanged(uid: volume.source.status.uid, gid: volume.source.status.gid)
    }

    private mutating func maskSteps(_ devices: Devices, proc: Slot, sys: Slot?) {
        let strict = request.level == .strict
        // Filled by the first mask that covers a folder: most machines have few of them, or none.
        let empty = slot()
        for path in DefaultPaths.masked + (strict ? DefaultPaths.maskedStrict : []) {
            guard let within = path.hasPrefix("/sys/") ? sys : proc else { continue }
            add(.mask(path, null: devices.null, empty: empty, within: within))
        }
        if strict {
            // All of /proc at once: stronger than the list, and one call instead of five.
            add(.mountAttributes(proc, set: .readOnly, clear: [], recursive: false))
        } else {
            for path in DefaultPaths.readOnly { add(.readOnly(path, within: proc)) }
        }
    }
}
