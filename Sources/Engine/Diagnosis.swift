internal import LinuxKernel
internal import Sandbox

/// What this machine has of all that the levels use.
public enum Diagnosis {
    public struct Finding: Sendable {
        public let name: String
        public let isThere: Bool
        public let found: String
        /// The least that would add it.
        public let change: String?
        /// The levels that cannot start without it.
        let neededBy: Set<String>
        /// What strict must waive to start without it.
        let waiver: String?
    }

    public enum Works: String, Sendable {
        case yes, no
        case partly = "with less"
    }

    public struct Level: Sendable {
        public let name: String
        public let verdict: Works
        public let lacks: [String]
    }

    public static func all() -> [Finding] {
        [
            kernel(), userNamespaces(), appArmor(), subordinate(), cgroup(), seccomp(), landlock(), overlay(),
            requirements(),
        ]
    }

    public static func levels(_ findings: [Finding]) -> [Level] {
        IsolationLevel.allCases.map { level in
            let missing = findings.filter { !$0.isThere }
            let fatal = missing.filter { $0.neededBy.contains(level.rawValue) }
            if !fatal.isEmpty { return Level(name: level.rawValue, verdict: .no, lacks: fatal.map(\.name)) }
            let waivers = missing.compactMap(\.waiver)
            switch level {
            case .strict:
                return Level(
                    name: "strict", verdict: waivers.isEmpty ? .yes : .partly, lacks: waivers.map { "--waive \($0)" })
            case .standard: return Level(name: "standard", verdict: waivers.isEmpty ? .yes : .partly, lacks: waivers)
            case .minimal: return Level(name: "minimal", verdict: .yes, lacks: [])
            }
        }
    }

    private static let every: Set<String> = ["minimal", "standard", "strict"]

    private static func kernel() -> Finding {
        let release = Machine.kernelRelease
        let isNew = KernelVersion(release).map { $0 >= Offer.oldestKernel } ?? false
        return Finding(
            name: "kernel", isThere: isNew, found: release, change: "boot Linux \(Offer.oldestKernel) or newer",
            neededBy: every, waiver: nil)
    }

    /// Tried, not guessed: a process is started in one.
    private static func userNamespaces() -> Finding {
        let needed: Set<String> = Machine.isRoot ? ["standard", "strict"] : every
        let range = IdentityRange(inside: 0, outside: Machine.isRoot ? 0 : Machine.uid, count: 1)
        let group = IdentityRange(inside: 0, outside: Machine.isRoot ? 0 : Machine.gid, count: 1)
        do {
            _ = try MappingNamespace(
                IdentityMap(uids: [range], gids: [group], byHelper: false, deniesGroups: !Machine.isRoot))
            return Finding(
                name: "user namespaces", isThere: true, found: "one was made", change: nil, neededBy: needed,
                waiver: nil)
        } catch {
            return Finding(
                name: "user namespaces", isThere: false, found: error.why,
                change: "sysctl -w user.max_user_namespaces=65536 kernel.unprivileged_userns_clone=1", neededBy: needed,
                waiver: nil)
        }
    }

    /// Ubuntu 24.04 and newer let only named programs use user namespaces.
    private static func appArmor() -> Finding {
        let value = try? Descriptor.contents(of: "/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
        let restricts = value?.hasPrefix("1") == true && !Machine.isRoot
        return Finding(
            name: "AppArmor lets users have them", isThere: !restricts,
            found: value == nil ? "no such restriction" : restricts ? "restricted" : "not restricted",
            change: "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for codex32",
            neededBy: [], waiver: nil)
    }

    private static func subordinate() -> Finding {
        if Machine.isRoot {
            return Finding(
                name: "subordinate ids", isThere: true, found: "root needs none", change: nil, neededBy: [], waiver: nil
            )
        }
        let range = SubordinateIDs.range(in: "/etc/subuid", uid: Machine.uid)
        let helper = HostProgram.find("newuidmap")
        let found = range.map { "\($0.outside) to \($0.outside + $0.count - 1)" } ?? "no range in /etc/subuid"
        return Finding(
            name: "subordinate ids", isThere: range != nil && helper != nil,
            found: helper == nil ? "newuidmap is not installed" : found,
            change: helper == nil
                ? "apt-get install uidmap"
                : "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER",
            neededBy: [], waiver: nil)
    }

    private static func cgroup() -> Finding {
        do {
            let place = try CgroupPlace.find()
            let missing = CaseSet<CgroupController>.all.subtracting(place.controllers)
            let all = missing.isEmpty
            return Finding(
                name: "cgroup v2", isThere: all,
                found: "\(place.controllers.names) at \(place.path)",
                change: all
                    ? nil
                    : "delegate \(missing.names) too: systemctl edit user@.service, Delegate=yes",
                neededBy: [],
                waiver: all ? nil : "cgroup")
        } catch {
            return Finding(
                name: "cgroup v2", isThere: false, found: error.why, change: error.hint, neededBy: [], waiver: "cgroup")
        }
    }

    private static func seccomp() -> Finding {
        let has = Machine.hasSeccompFilters
        return Finding(
            name: "seccomp filters", isThere: has, found: has ? "available" : "the kernel has none",
            change: "a kernel with CONFIG_SECCOMP_FILTER", neededBy: has ? [] : every, waiver: nil)
    }

    private static func landlock() -> Finding {
        let abi = Machine.landlockABI
        return Finding(
            name: "Landlock", isThere: abi != nil,
            found: abi.map { "ABI \($0)" } ?? "the kernel has none, or it is switched off",
            change: "add landlock to the kernel's lsm= parameter", neededBy: [], waiver: abi == nil ? "landlock" : nil)
    }

    /// What a script with a `requirements.txt` stands on is made by mmdebstrap, the first time.
    private static func requirements() -> Finding {
        let program = HostProgram.find("mmdebstrap")
        return Finding(
            name: "template:python, for requirements.txt", isThere: program != nil,
            found: program.map { "\($0) makes it" } ?? "mmdebstrap is not installed",
            change: "apt-get install mmdebstrap", neededBy: [], waiver: nil)
    }

    private static func overlay() -> Finding {
        let has = Machine.supports(fileSystem: "overlay") || !Machine.isRoot && Machine.lists(fileSystem: "overlay")
        return Finding(
            name: "overlay file system", isThere: has,
            found: has ? "available, in user namespaces too since Linux 5.11" : "not loaded",
            change: "modprobe overlay", neededBy: [], waiver: nil)
    }
}
