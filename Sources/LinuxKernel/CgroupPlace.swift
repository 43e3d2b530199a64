internal import CShims
internal import Glibc

/// AT_EACCESS (faccessat(2)).
private let effectiveAccess: Int32 = 0x200

/// Where on this machine codex32 may make cgroups, and with which controllers.
public struct CgroupPlace: Equatable, Sendable {
    /// The host path of the folder below which a cgroup for each container is made.
    public let path: String
    /// The controllers that such a cgroup gets.
    public let controllers: CaseSet<CgroupController>

    public init(path: String, controllers: CaseSet<CgroupController>) {
        self.path = path
        self.controllers = controllers
    }

    /// Why there is none, and what would change that.
    public struct Missing: Error, Equatable, Sendable {
        public let why: String
        public let hint: String
        public init(_ why: String, hint: String) {
            self.why = why
            self.hint = hint
        }
    }

    private static let root = "/sys/fs/cgroup"
    private static let superMagic = 0x6367_7270  // CGROUP2_SUPER_MAGIC

    /// Finds the place, and prepares it. As root: `/sys/fs/cgroup/codex32`. Else the nearest cgroup
    /// above this process that was delegated to its user (cgroup-v2.rst, "Delegation").
    public static func find() throws(Missing) -> CgroupPlace {
        guard let available = try? controllers("\(root)/cgroup.controllers") else {
            throw Missing(
                "this machine mounts its cgroup controllers the v1 way, or none",
                hint: "boot with systemd.unified_cgroup_hierarchy=1")
        }
        if Machine.isRoot && writable("\(root)/cgroup.subtree_control") {
            enable(available, in: root)
            let path = "\(root)/codex32"
            let made = codex_mkdirat(AT_FDCWD, path, 0o755)
            if made < 0 && made != -EEXIST {
                throw Missing(
                    "cannot make \(path): \(KernelError("mkdir", number: -made).reason)",
                    hint: "mount cgroup2 read-write")
            }
            return CgroupPlace(
                path: path, controllers: enable(offered(path), in: path))
        }
        return try delegated()
    }

    private static func delegated() throws(Missing) -> CgroupPlace {
        let hint = "systemd-run --user --scope -p Delegate=yes codex32 run ..."
        guard let text = try? Descriptor.contents(of: "/proc/self/cgroup"),
            let line = text.split(separator: "\n").first(where: { $0.hasPrefix("0::/") })
        else { throw Missing("this process is in no cgroup v2", hint: hint) }
        var place = root + line.dropFirst(3)
        while place.hasSuffix("/") { place.removeLast() }
        // Upwards as long as the user may write. A cgroup with processes of its own cannot give its
        // children controllers ("no internal processes"), so the first that can is taken.
        var best: CgroupPlace?
        while place.count > root.count {
            guard writable("\(place)/cgroup.procs"), writable("\(place)/cgroup.subtree_control") else { break }
            let offered = offered(place)
            let enabled = enable(offered, in: place)
            if enabled.count > (best?.controllers.count ?? 0) { best = CgroupPlace(path: place, controllers: enabled) }
            if enabled == offered && !enabled.isEmpty { break }
            guard let slash = place.lastIndex(of: "/") else { break }
            place = String(place[..<slash])
        }
        if let best { return best }
        if let own = leaveAlone(root + line.dropFirst(3)) { return own }
        throw Missing("no cgroup was delegated to this user", hint: hint)
    }

    /// In a cgroup that is ours and holds nobody but this process (a fresh scope), moves this process
    /// into a leaf, which makes room for controllers.
    private static func leaveAlone(_ path: String) -> CgroupPlace? {
        guard writable("\(path)/cgroup.procs"), let processes = try? Descriptor.contents(of: "\(path)/cgroup.procs"),
            processes == "\(getpid())\n"
        else { return nil }
        let leaf = "\(path)/codex32.self"
        let made = codex_mkdirat(AT_FDCWD, leaf, 0o755)
        guard made == 0 || made == -EEXIST else { return nil }
        guard (try? Descriptor.open("\(leaf)/cgroup.procs", [.write]).write(String(getpid()))) != nil else {
            return nil
        }
        let enabled = enable(offered(path), in: path)
        return enabled.isEmpty ? nil : CgroupPlace(path: path, controllers: enabled)
    }

    /// Turns controllers on for the children of a cgroup and returns those that are on.
    @discardableResult
    private static func enable(
        _ wanted: CaseSet<CgroupController>, in path: String
    ) -> CaseSet<CgroupController> {
        let file = "\(path)/cgroup.subtree_control"
        for controller in wanted.subtracting((try? controllers(file)) ?? CaseSet()) {
            // One at a time: one that cannot be had must not keep the others away.
            try? Descriptor.open(file, [.write]).write("+\(controller.name)")
        }
        return (try? controllers(file)) ?? CaseSet()
    }

    private static func offered(_ path: String) -> CaseSet<CgroupController> {
        (try? controllers("\(path)/cgroup.controllers")) ?? CaseSet()
    }

    private static func controllers(_ path: String) throws(KernelError) -> CaseSet<CgroupController> {
        CaseSet(words: try Descriptor.contents(of: path))
    }

    private static func writable(_ path: String) -> Bool {
        codex_faccessat(AT_FDCWD, path, W_OK, effectiveAccess) == 0
    }
}
