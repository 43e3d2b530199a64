public import LinuxKernel
public import OCISpec

/// What the annotation `codex32.isolation=strict` puts on top of a bundle: the walls of the level of that name, inside
/// the namespaces and around the mounts that the bundle asks for.
///
/// No capabilities, no_new_privs, the level's own seccomp filter beside the bundle's (of two, the kernel takes the
/// stricter answer), more masked paths, and Landlock: files can be written only where the bundle mounts something
/// writable. Of what the kernel counts for a user, or for all, a part: see ``SharedQuota``.
public struct BundleTightening: Equatable, Sendable {
    public static let annotation = "codex32.isolation"
    public static let waiver = "codex32.waive"

    /// Nil: a person said by name that it may be missing.
    public var landlockABI: Int?

    public init(landlockABI: Int?) { self.landlockABI = landlockABI }

    /// What a bundle asks for; nil: nothing on top.
    ///
    /// - Parameters:
    ///   - usual: the level where the bundle says nothing.
    ///   - abi: the kernel's own Landlock.
    /// - Throws: another value, or what the machine or the bundle lacks.
    public init?(_ spec: RuntimeSpec, usual: String?, abi: Int?) throws(Problem) {
        let value = { (name: String) -> String? in
            guard case .string(let text)? = spec.annotations.first(where: { $0.name == name })?.value else {
                return nil
            }
            return text
        }
        let asked = value(BundleTightening.annotation)
        let waived = value(BundleTightening.waiver)
        if let asked, asked != "strict" {
            throw BundlePlan.wrong("annotations", "\(BundleTightening.annotation) is \(asked), and can only be strict")
        }
        if let waived, waived != "landlock" {
            throw BundlePlan.wrong("annotations", "\(BundleTightening.waiver) is \(waived), and can only be landlock")
        }
        guard asked ?? usual == "strict" else { return nil }
        // What the one who configured the runtime wants is not the bundle's to weaken.
        guard waived == nil || usual != "strict" else {
            throw BundlePlan.wrong(
                "annotations", "\(BundleTightening.waiver) is not taken where strict is the runtime's own level")
        }
        for type in ["pid", "mount", "ipc", "uts", "network"]
        where !spec.linux.namespaces.contains(where: { $0.type == type && (type != "mount" || $0.path == nil) }) {
            throw BundlePlan.wrong(
                "linux.namespaces", "strict needs a \(type) namespace\(type == "mount" ? " of its own" : "")")
        }
        guard abi != nil || waived != nil else {
            throw Problem(
                "cannot use the annotation \(BundleTightening.annotation)", "this kernel has no Landlock",
                hint: "the annotation \(BundleTightening.waiver)=landlock does without")
        }
        landlockABI = waived == nil ? abi : nil
    }
}

extension RuntimeSpec {
    /// Its process as strict has it.
    public mutating func tighten() {
        process.noNewPrivileges = true
        process.capabilities = [:]
    }
}

extension BundlePlan {
    /// The rule set, while files can still be opened everywhere; its slot, to enforce it with.
    mutating func wallSteps() -> Slot? {
        guard let abi = tightening?.landlockABI else { return nil }
        let all = LandlockRights.all(abi)
        let write = all & ~(LandlockRights.makeCharacterDevice | LandlockRights.makeBlockDevice)
        let rules = slot()
        // An own domain for each program that `exec` adds must not part it from the others by signals; those stay
        // inside by the pid namespace. As for a run.
        let isJoining = !plan.steps.contains { if case .pivot = $0 { true } else { false } }
        let scopes =
            abi < 6 ? 0 : LandlockRights.scopeAbstractSockets | (isJoining ? 0 : LandlockRights.scopeSignals)
        plan.steps.append(.landlockCreate(files: all, tcp: 0, scopes: isJoining ? 0 : scopes, into: rules))
        let ioctl = all & LandlockRights.ioctlDevice
        plan.steps.append(
            .landlockPath(rules, "/", rights: spec.rootReadOnly ? LandlockRights.look : write))
        plan.steps.append(.landlockPath(rules, "/dev", rights: LandlockRights.look | LandlockRights.writeFile | ioctl))
        for mount in spec.mounts where mount.isWritableFolder {
            plan.steps.append(.landlockPath(rules, mount.destination, rights: write))
        }
        plan.landlockABI = abi
        return rules
    }

    /// The level's own list, beside the bundle's.
    func strictFilter() throws(Problem) -> SeccompProgram? {
        guard tightening != nil else { return nil }
        guard let kernel = KernelVersion(Machine.kernelRelease) else {
            throw Problem("cannot use the strict seccomp profile", "this kernel's version is not understood")
        }
        do throws(DocumentError) {
            return try filters.program(
                profile: IsolationLevel.strict.seccompProfile,
                for: .init(capabilities: [], architecture: Machine.architecture, kernel: kernel))
        } catch { throw Problem("cannot use the strict seccomp profile", error.description, hint: error.hint) }
    }

    /// The shares of what the kernel counts for a user namespace, where the container has one that is new. In the host's,
    /// or one of others', the count is theirs, and nothing can be set beside it.
    mutating func quotaSteps() throws(Problem) {
        guard tightening != nil, plan.identity != nil, !joinsUser else { return }
        let proc = try proc("strict takes a part of the user's quotas")
        for (file, most) in SharedQuota.files { plan.steps.append(.write(proc, file, most)) }
    }

    /// As for a run. The program has no right to raise any of them, so that they hold in the host's user namespace too:
    /// there they are a bound for what the user has in all.
    func quotaLimits() -> [LaunchStep] {
        guard tightening != nil else { return [] }
        let given = spec.process.limits.compactMap { ResourceLimit.number($0.type.dropFirst(7).lowercased()) }
        return SharedQuota.resourceLimits.filter { !given.contains($0.resource) }
            .map { .lowerResourceLimit($0.resource, most: $0.most) }
    }

    /// The terminals of a devpts: as many as were asked for, and no more than a run has.
    func terminalOptions(_ options: [MountOption]) -> [MountOption] {
        guard tightening != nil else { return options }
        let asked = options.last { $0.key == "max" }.flatMap { UInt64($0.value) } ?? .max
        return options.filter { $0.key != "max" } + [MountOption("max", String(min(asked, SharedQuota.terminals)))]
    }

    /// Files of a tmpfs, which are kernel memory that its size does not count: as many as a run gives to so much, where
    /// nothing is said of them.
    func fileOptions(_ options: [MountOption]) -> [MountOption] {
        guard tightening != nil, !options.contains(where: { $0.key == "nr_inodes" }) else { return options }
        let size = options.last { $0.key == "size" }.flatMap { CgroupSetting.bytes($0.value[...]) }
        return options + [MountOption("nr_inodes", String(SharedQuota.inodes(for: size)))]
    }

    /// What tells of the machine rather than of the container.
    mutating func strictMasks(_ null: Slot, _ empty: Slot) {
        guard tightening != nil, let proc = outer["proc"] else { return }
        for path in DefaultPaths.maskedStrict {
            plan.steps.append(.mask(path, null: null, empty: empty, within: proc))
        }
    }
}

extension SpecMount {
    /// Somewhere that files may be written: volumes, and file systems in memory.
    fileprivate var isWritableFolder: Bool {
        let first = destination.split(separator: "/").first ?? ""
        guard first != "proc", first != "sys", destination != "/dev" else { return false }
        var isWritable = true
        for option in options {
            if option == "ro" || option == "rro" { isWritable = false }
            if option == "rw" || option == "rrw" { isWritable = true }
        }
        return isWritable
            && (type == "tmpfs" || type == "bind" || options.contains("bind") || options.contains("rbind"))
    }
}
