internal import CShims
internal import Glibc

extension Machine {
    /// Whether AppArmor is there and confines programs (apparmor(7)).
    public static var hasAppArmor: Bool {
        ((try? Descriptor.contents(of: "/sys/module/apparmor/parameters/enabled")) ?? "").hasPrefix("Y")
    }

    /// Where SELinux is enabled, its file system is mounted at its one place. What could not be looked at may be there:
    /// a label that the kernel then refuses is an error.
    public static var hasSELinux: Bool { !Descriptor.isMissing("/sys/fs/selinux/enforce") }

    /// Does something whose children are born in other namespaces than this process's own; it is back in its own
    /// afterwards (setns(2)). A pid namespace is entered by those children alone.
    ///
    /// - Parameter spaces: a descriptor of each, and its kind. No user namespace: there is no way back from one.
    public static func lending<R: ~Copyable>(
        _ spaces: [(number: Int32, kind: Namespace)], _ body: () throws(KernelError) -> R
    ) throws(KernelError) -> R {
        var own: [(number: Int32, kind: Namespace)] = []
        defer { for space in own { _ = Descriptor(owning: space.number) } }
        for space in spaces {
            own.append((try Descriptor.open("/proc/self/ns/\(space.kind.file)", [.read]).release(), space.kind))
        }
        var entered = 0
        defer {
            for space in own[..<entered] where codex_join_namespace(space.number, space.kind.cloneFlag) < 0 {
                // What this process does next is meant for its own namespaces, and must not happen in another's.
                _exit(125)
            }
        }
        for space in spaces {
            let what = "a \(space.kind.file) namespace"
            try KernelError.check(codex_join_namespace(space.number, space.kind.cloneFlag), "setns", what)
            entered += 1
        }
        return try body()
    }
}
