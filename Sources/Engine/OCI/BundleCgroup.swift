internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// The cgroup of a container that came by `oci create` (config-linux.md, "Cgroups path"), by the cgroupfs driver:
/// folders of cgroup v2 that codex32 makes, fills with limits before the program's process is born into them, and
/// removes.
enum BundleCgroup {
    private static let root = "/sys/fs/cgroup"
    /// CGROUP2_SUPER_MAGIC (statfs(2)).
    private static let kind: UInt32 = 0x6367_7270

    /// The host path of the cgroup that a configuration asks for; nil: none can be had, and nothing was asked for
    /// that would need one.
    ///
    /// An absolute path begins at the mount, a relative one at the cgroup above the caller's own, which itself has
    /// processes and so cannot have cgroups with limits below it. Without a path it is as for a run.
    static func path(_ spec: SpecLinux, id: String) throws(Problem) -> String? {
        let asked =
            spec.cgroupsPath.map { "linux.cgroupsPath \($0)" }
            ?? spec.resources.names.first.map { "linux.resources.\($0)" }
        let isUnified = try explaining("cannot make a cgroup") { () throws(KernelError) in
            try Descriptor.exists("\(root)/cgroup.controllers")
        }
        guard isUnified else {
            guard let asked else { return nil }
            throw Problem(
                "cannot use \(asked)", "this machine mounts its cgroup controllers the v1 way, or none",
                hint:
                    "podman run --cgroups=disabled without limits, or the option --cgroup-manager disabled, asks for none"
            )
        }
        guard let path = spec.cgroupsPath else {
            do throws(CgroupPlace.Missing) { return "\(try CgroupPlace.find().path)/\(id)" } catch {
                guard let asked else { return nil }
                throw Problem("cannot use \(asked)", error.why, hint: error.hint)
            }
        }
        let parts = path.split(separator: "/").filter { $0 != "." }.map(String.init)
        guard !parts.isEmpty, !parts.contains(".."), parts.count <= 64,
            parts.allSatisfy({ $0.utf8.count <= 255 && $0.quotedForTerminal == $0 })
        else { throw Problem("cannot use linux.cgroupsPath \(path)", "it is no path of a cgroup below the root") }
        let place = path.hasPrefix("/") ? root : root + (try ownParent())
        return "\(place)/\(parts.joined(separator: "/"))"
    }

    /// Empty for the root.
    private static func ownParent() throws(Problem) -> String {
        let text = try explaining("cannot read /proc/self/cgroup") { () throws(KernelError) in
            try Descriptor.contents(of: "/proc/self/cgroup")
        }
        let own = text.split(separator: "\n").first { $0.hasPrefix("0::/") }?.dropFirst(4) ?? ""
        let parts = own.split(separator: "/")
        guard !parts.contains("..") else {
            throw Problem("cannot use linux.cgroupsPath", "codex32's own cgroup is outside of its cgroup namespace")
        }
        return parts.dropLast().map { "/\($0)" }.joined()
    }

    /// Makes a cgroup, with those above it that are missing, and sets its limits, each read back.
    ///
    /// - Throws: where others' processes are in it, which would be limited, and ended, with the container.
    static func make(_ path: String, _ resources: SpecResources) throws(Problem) -> Cgroup {
        let what = "cannot make the cgroup \(path)"
        let isNew = try explaining(what) { () throws(KernelError) in try makeFolders(path) }
        let group = try explaining(what) { () throws(KernelError) in try Cgroup(existing: path) }
        guard isNew || !group.isPopulated() else {
            throw Problem(what, "container's cgroup is not empty: other processes are in it")
        }
        do throws(Problem) { try limit(group, resources) } catch {
            if isNew { _ = group.remove() }
            throw error
        }
        return group
    }

    /// Sets all limits, each read back.
    static func limit(_ group: borrowing Cgroup, _ resources: SpecResources) throws(Problem) {
        for setting in try limits(resources, group).settings where !(setting.limitsNothing && !group.has(setting.file))
        {
            try set(setting, group)
        }
    }

    static func limits(_ resources: SpecResources, _ group: borrowing Cgroup) throws(Problem) -> BundleLimits {
        // Read once: what a closure reads of a borrowed value it cannot keep.
        var texts: [String: String] = [:]
        var files = ["memory.max", "memory.swap.max", "cpu.max", "cpu.max.burst", "io.bfq.weight"]
        files += resources.hugepages.map { "hugetlb.\($0.size).rsvd.max" }
        for file in files { texts[file] = try? group.read(file) }
        do throws(DocumentError) { return try BundleLimits(resources) { texts[$0] } } catch {
            throw Problem("cannot use \(error.place)", error.why)
        }
    }

    static func set(_ setting: CgroupSetting, _ group: borrowing Cgroup) throws(Problem) {
        do throws(KernelError) { try group.set(setting) } catch {
            let what = "cannot set the limit \(setting.file) to \(setting.value)"
            guard error.number == Errno.missing || error.number == Errno.denied else { throw Problem(what, error) }
            // A cgroup's own files can be written, so that a missing one is not there to be made (EACCES).
            let isOffered = group.has(setting.file)
            throw Problem(
                what, isOffered ? error.description : "this cgroup has no such file",
                hint: isOffered
                    ? nil
                    : "the controller \(setting.controller) is missing here: see cgroup.controllers of \(group.path) and above"
            )
        }
    }

    /// True: it was not there before. Each folder gives all of its controllers to those below it, as far as it may;
    /// what is missing in the end shows where a limit needs it.
    private static func makeFolders(_ path: String) throws(KernelError) -> Bool {
        var at = try Descriptor.open(root, [.read, .folder])
        guard try at.fileSystem() == kind else { throw KernelError("open", root, number: Errno.noDevice) }
        var isNew = false
        for part in path.dropFirst(root.count).split(separator: "/").map(String.init) {
            giveControllers(at)
            isNew = false
            do throws(KernelError) {
                try at.makeFolder(part, mode: 0o755)
                isNew = true
            } catch {
                // One that is there already need not be writable, as long as the last one is.
                guard error.number == Errno.exists || (try? at.status(of: part)) != nil else { throw error }
            }
            at = try at.open(part, [.read, .folder, .noFollow])
        }
        return isNew
    }

    private static func giveControllers(_ folder: borrowing Descriptor) {
        guard let offered = try? folder.contents(of: "cgroup.controllers"),
            let given = try? folder.contents(of: "cgroup.subtree_control")
        else { return }
        let words = { (text: String) in Set(text.split(whereSeparator: { $0 == " " || $0 == "\n" })) }
        for controller in words(offered).subtracting(words(given)).sorted() {
            // One at a time: one that cannot be had must not keep the others away.
            try? folder.open("cgroup.subtree_control", [.write]).write("+\(controller)")
        }
    }

    /// Puts the rules for devices in force. Where that is not allowed they hold all the same for a container that
    /// cannot make device nodes: it has those only that the configuration gives.
    static func attach(_ bundle: BundlePlan, to group: borrowing Cgroup) throws(Problem) {
        do throws(KernelError) { try group.attach(DeviceFilter(bundle.deviceRules)) } catch {
            guard try !bundle.mayMakeDevices(), error.number == Errno.permission else {
                throw Problem(
                    "cannot use linux.resources.devices", error,
                    hint: "it takes CAP_SYS_ADMIN outside of user namespaces, and a kernel with CONFIG_CGROUP_BPF")
            }
        }
    }

    /// Ends all that is in it, and removes it with those below it. One that is not there is no error.
    static func remove(_ path: String, _ what: String) throws(Problem) {
        do throws(KernelError) {
            let group = try Cgroup(existing: path)
            group.kill()
            try group.removeAll()
        } catch {
            guard error.number == Errno.missing else { throw Problem(what, error) }
        }
    }
}
