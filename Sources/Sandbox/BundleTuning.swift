internal import LinuxKernel
internal import OCISpec

/// What a bundle asks of the scheduler and the memory, by name, in the kernel's numbers.
extension BundlePlan {
    /// Before capabilities and filters: some of it takes a right that the program may not have.
    func tuningSteps() throws(Problem) -> [LaunchStep] {
        var steps: [LaunchStep] = []
        if let given = spec.process.scheduler { steps.append(.tune(.scheduler(try BundlePlan.scheduler(given)))) }
        if let given = spec.process.ioPriority { steps.append(.tune(.ioPriority(try BundlePlan.ioPriority(given)))) }
        if let given = spec.linux.memoryPolicy { steps.append(.tune(try BundlePlan.memoryPolicy(given))) }
        if let given = spec.linux.personality {
            // sys/personality.h
            guard let value = ["LINUX": UInt32(0), "LINUX32": 8][given.domain] else {
                throw BundlePlan.wrong("linux.personality.domain", "\(given.domain) is neither LINUX nor LINUX32")
            }
            steps.append(.tune(.personality(value)))
        }
        if let label = spec.process.appArmor {
            guard Machine.hasAppArmor else {
                throw BundlePlan.unlabelled("process.apparmorProfile", "AppArmor is not enabled on this machine")
            }
            steps.append(.tune(.appArmor(label)))
        }
        if let label = spec.process.seLinux {
            guard Machine.hasSELinux else {
                throw BundlePlan.unlabelled("process.selinuxLabel", "SELinux is not enabled on this machine")
            }
            steps.append(.tune(.seLinux(label)))
        }
        return steps
    }

    /// Whether the mounts can have the label that is asked for.
    func checkLabel() throws(Problem) {
        guard spec.linux.mountLabel == nil || Machine.hasSELinux else {
            throw BundlePlan.unlabelled("linux.mountLabel", "SELinux is not enabled on this machine")
        }
    }

    private static func unlabelled(_ place: String, _ why: String) -> Problem {
        Problem(
            "cannot use \(place)", why,
            hint: "leave it out: podman run --security-opt label=disable, or apparmor=unconfined")
    }

    /// linux/sched.h and linux/sched/types.h: `struct sched_attr` as it was at first, of 48 bytes.
    static func scheduler(_ given: SpecScheduler) throws(Problem) -> [UInt8] {
        let policies: [String: UInt32] = [
            "SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_ISO": 4, "SCHED_IDLE": 5,
            "SCHED_DEADLINE": 6,
        ]
        let known: [String: UInt64] = [
            "SCHED_FLAG_RESET_ON_FORK": 1, "SCHED_FLAG_RECLAIM": 2, "SCHED_FLAG_DL_OVERRUN": 4,
            "SCHED_FLAG_KEEP_POLICY": 8, "SCHED_FLAG_KEEP_PARAMS": 16,
        ]
        guard let policy = policies[given.policy], policy != 4 else {
            throw wrong("process.scheduler.policy", "\(given.policy) is not a policy of Linux")
        }
        var flags: UInt64 = 0
        for name in given.flags {
            guard let flag = known[name] else { throw wrong("process.scheduler.flags", "\(name) is not supported") }
            flags |= flag
        }
        var bytes: [UInt8] = []
        for word in [UInt32(48), policy] { withUnsafeBytes(of: word) { bytes += $0 } }
        withUnsafeBytes(of: flags) { bytes += $0 }
        withUnsafeBytes(of: given.nice) { bytes += $0 }
        withUnsafeBytes(of: given.priority) { bytes += $0 }
        for word in [given.runtime, given.deadline, given.period] { withUnsafeBytes(of: word) { bytes += $0 } }
        return bytes
    }

    /// linux/ioprio.h.
    static func ioPriority(_ given: SpecIOPriority) throws(Problem) -> UInt32 {
        guard let kind = ["IOPRIO_CLASS_RT": UInt32(1), "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3][given.kind] else {
            throw wrong("process.ioPriority.class", "\(given.kind) is not a class of Linux")
        }
        return kind << 13 | given.priority
    }

    /// linux/mempolicy.h.
    static func memoryPolicy(_ given: SpecMemoryPolicy) throws(Problem) -> LaunchTuning {
        let modes: [String: UInt32] = [
            "MPOL_DEFAULT": 0, "MPOL_PREFERRED": 1, "MPOL_BIND": 2, "MPOL_INTERLEAVE": 3, "MPOL_LOCAL": 4,
            "MPOL_PREFERRED_MANY": 5, "MPOL_WEIGHTED_INTERLEAVE": 6,
        ]
        let known: [String: UInt32] = [
            "MPOL_F_STATIC_NODES": 1 << 15, "MPOL_F_RELATIVE_NODES": 1 << 14, "MPOL_F_NUMA_BALANCING": 1 << 13,
        ]
        guard var mode = modes[given.mode] else {
            throw wrong("linux.memoryPolicy.mode", "\(given.mode) is not a mode of Linux")
        }
        for name in given.flags {
            guard let flag = known[name] else {
                throw wrong("linux.memoryPolicy.flags", "\(name) is not a flag of Linux")
            }
            mode |= flag
        }
        return .memoryPolicy(mode, nodes: LaunchTuning.mask(given.nodes ?? []))
    }

    /// Devices of the configuration's own. Where no node can be made, the host's is bound.
    mutating func ownDeviceSteps() throws(Problem) {
        let mayMake = plan.identity == nil && rights.contains(CapabilitySet(number: 27))  // CAP_MKNOD
        for device in spec.linux.devices {
            let first = device.path.split(separator: "/").first.map(String.init) ?? ""
            let isNested = device.path.split(separator: "/").count > 1
            guard isNested, !["proc", "sys"].contains(first) else {
                throw BundlePlan.wrong("\(device.place).path", "\(device.path) is no place for a device")
            }
            let within = outer[first]
            let number = LaunchNode.number(device.major, device.minor)
            if device.type == "p" || mayMake {
                let kind: LaunchNode.Kind = device.type == "p" ? .pipe : device.type == "b" ? .block : .character
                let node = LaunchNode(
                    path: device.path, kind: kind, number: kind == .pipe ? 0 : number, mode: device.mode ?? 0o666,
                    uid: device.uid ?? 0, gid: device.gid ?? 0)
                plan.steps.append(.makeNode(node, mustExist: first == "dev" && devicesGiven, within: within))
                continue
            }
            // A bound node shows the host's mode, and only that.
            let status = try explaining("cannot use the device \(device.path)") { () throws(KernelError) in
                try Descriptor.status(ofPath: device.path)
            }
            if let mode = device.mode, mode & 0o777 != status.mode & 0o777 {
                throw BundlePlan.wrong(
                    "\(device.place).fileMode",
                    "is not the host's, and no device can be made in a user namespace")
            }
            let tree = slot()
            plan.steps.append(.openDevice(hostPath: device.path, number: number, into: tree))
            plan.steps.append(.attach(tree, at: device.path, within == nil ? .file : .systemFile, within: within))
        }
    }

    /// What holds for the root's own mount once it is entered (config-linux.md, "Rootfs Mount Propagation").
    func rootPropagation(_ root: Slot) throws(Problem) -> [LaunchStep] {
        guard let kind = spec.linux.rootPropagation.flatMap(BundlePlan.propagation) else { return [] }
        // Its mounts say for themselves what holds for them.
        return kind.value == .isPrivate ? [] : [.propagation(root, kind.value, recursive: false)]
    }

    static func propagation(_ name: String) -> (value: MountPropagation, recursive: Bool)? {
        let isRecursive = name.hasPrefix("r")
        switch isRecursive ? String(name.dropFirst()) : name {
        case "shared": return (.shared, isRecursive)
        case "slave": return (.slave, isRecursive)
        case "private": return (.isPrivate, isRecursive)
        case "unbindable": return (.unbindable, isRecursive)
        default: return nil
        }
    }
}
