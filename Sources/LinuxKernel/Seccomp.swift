internal import CShims
internal import Glibc

/// A compiled filter: an array of `struct sock_filter` (seccomp(2)).
public struct SeccompProgram: Hashable, Sendable {
    public let bytes: [UInt8]

    /// Nil for what the kernel would refuse: no whole instructions, none, or more than BPF_MAXINSNS.
    public init?(bytes: [UInt8]) {
        guard bytes.count % 8 == 0, !bytes.isEmpty, bytes.count / 8 <= 4096 else { return nil }
        self.bytes = bytes
    }

    public var instructionCount: Int { bytes.count / 8 }
}

/// One condition on an argument of a system call.
public struct SeccompCondition: Hashable, Sendable {
    /// In the order of libseccomp's `enum scmp_compare`, which begins with 1.
    public enum Comparison: UInt32, Sendable {
        case notEqual = 1
        case less, lessOrEqual, equal, greaterOrEqual, greater, maskedEqual
    }
    public let argument: UInt32
    public let comparison: Comparison
    public let value: UInt64
    /// With ``Comparison/maskedEqual``, `value` is the mask and this is what must remain.
    public let second: UInt64

    public init(argument: UInt32, comparison: Comparison, value: UInt64, second: UInt64 = 0) {
        self.argument = argument
        self.comparison = comparison
        self.value = value
        self.second = second
    }
}

/// A filter being put together with libseccomp (seccomp_init(3) and the pages beside it).
public struct SeccompBuilder: ~Copyable {
    private let filter: OpaquePointer

    /// `defaultAction` is a `SCMP_ACT_*` value.
    public init?(defaultAction: UInt32) {
        guard let filter = codex_seccomp_new(defaultAction) else { return nil }
        self.filter = filter
    }

    deinit { codex_seccomp_free(filter) }

    public borrowing func add(architecture token: UInt32) throws(KernelError) {
        try KernelError.check(codex_seccomp_architecture(filter, token), "seccomp_arch_add")
    }

    public borrowing func add(
        action: UInt32, call: SystemCallNumber, conditions: [SeccompCondition]
    ) throws(KernelError) {
        let arguments = conditions.map {
            codex_seccomp_argument(
                index: $0.argument, comparison: $0.comparison.rawValue, value: $0.value, mask_value: $0.second)
        }
        let result = codex_seccomp_rule(
            filter, action, call.number, arguments, UInt32(arguments.count), call.isRecent ? 1 : 0)
        try KernelError.check(result, "seccomp_rule_add", call.name)
    }

    public borrowing func compile() throws(KernelError) -> SeccompProgram {
        var program: UnsafeMutableRawPointer?
        let size = try KernelError.check(codex_seccomp_compile(filter, &program), "seccomp_export_bpf")
        defer { free(program) }
        let bytes = [UInt8](UnsafeRawBufferPointer(start: program, count: size))
        guard let made = SeccompProgram(bytes: bytes) else { throw KernelError("seccomp_export_bpf", number: E2BIG) }
        return made
    }

    /// libseccomp's token for an architecture's name ("x86_64", "x86", "x32", "aarch64", "arm"); nil: unknown.
    public static func architecture(named name: String) -> UInt32? {
        let token = codex_seccomp_architecture_token(name)
        return token == 0 ? nil : token
    }

    public static var nativeArchitecture: UInt32 { codex_seccomp_native_architecture() }

    /// The library's version, part of what a cached program depends on.
    public static var libraryVersion: UInt32 { codex_seccomp_version() }
}

/// A system call that some architecture has.
public struct SystemCallNumber: Sendable {
    public let name: String
    public let number: Int32
    /// Not known to libseccomp: the number holds for the native architecture.
    public let isRecent: Bool

    /// Nil for a name that no architecture knows.
    public init?(name: String) {
        self.name = name
        let known = codex_seccomp_number(name)
        if known != -1 {
            number = known
            isRecent = false
        } else if let special = SystemCallNumber.special[name] {
            // Below 0 is libseccomp's way to say "not on this architecture".
            number = Machine.architecture == "x86_64" ? special : -10_000
            isRecent = true
        } else if let index = SystemCallNumber.recent.firstIndex(of: name) {
            number = SystemCallNumber.firstRecent + Int32(index)
            isRecent = true
        } else {
            return nil
        }
    }

    /// Calls that only x86_64 has, newer than libseccomp 2.5.4 (arch/x86/entry/syscalls/syscall_64.tbl).
    private static let special: [String: Int32] = ["uretprobe": 335, "uprobe": 336]

    /// Calls newer than Debian 12's libseccomp 2.5.4, which have one number on every architecture
    /// (include/uapi/asm-generic/unistd.h, Linux 5.17 to 6.17).
    static let firstRecent: Int32 = 450
    static let recent = [
        "set_mempolicy_home_node", "cachestat", "fchmodat2", "map_shadow_stack", "futex_wake", "futex_wait",
        "futex_requeue", "statmount", "listmount", "lsm_get_self_attr", "lsm_set_self_attr", "lsm_list_modules",
        "mseal", "setxattrat", "getxattrat", "listxattrat", "removexattrat", "open_tree_attr", "file_getattr",
        "file_setattr", "listns",
    ]
}
