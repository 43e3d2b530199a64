internal import CShims

/// One rule about devices: what of reading, writing and mknod(2) it gives or takes.
public struct DeviceRule: Hashable, Sendable {
    /// BPF_DEVCG_DEV_BLOCK and BPF_DEVCG_DEV_CHAR (linux/bpf.h).
    public enum Kind: Int32, Sendable {
        case block = 1
        case character = 2
    }

    /// BPF_DEVCG_ACC_* (linux/bpf.h).
    public struct Access: OptionSet, Hashable, Sendable {
        public let rawValue: Int32
        public init(rawValue: Int32) { self.rawValue = rawValue }
        public static let make = Access(rawValue: 1)
        public static let read = Access(rawValue: 2)
        public static let write = Access(rawValue: 4)
        public static let all: Access = [.make, .read, .write]
    }

    public let allow: Bool
    /// Nil: both kinds, and any number.
    public let kind: Kind?
    public let major: UInt32?
    public let minor: UInt32?
    public let access: Access

    public init(_ allow: Bool, _ kind: Kind?, _ major: UInt32?, _ minor: UInt32?, _ access: Access = .all) {
        (self.allow, self.kind, self.major, self.minor, self.access) = (allow, kind, major, minor, access)
    }

    /// It speaks of every device and every access: what was said before it no longer counts.
    public var isWhole: Bool { kind == nil && major == nil && minor == nil && access == .all }
}

/// A program of the kernel's BPF machine (linux/bpf.h, BPF_PROG_TYPE_CGROUP_DEVICE, Linux 4.15) that decides what
/// the processes of a cgroup may do with devices.
///
/// For each of the accesses that a process asks for at once, the last rule that fits decides, and where none does the
/// answer is no; all of them must be allowed. So to read and write takes the right to both, whichever rules give it.
public struct DeviceFilter: Equatable, Sendable {
    /// 8 bytes each (struct bpf_insn).
    public let instructions: [UInt64]

    public init(_ rules: [DeviceRule]) {
        var code: [UInt64] = []
        // r1 is the context: access_type (the type below, the access above 16 bits), major, minor.
        code.append(DeviceFilter.word(Op.load, to: 2, from: 1, offset: 0))
        code.append(DeviceFilter.word(Op.move, to: 3, from: 2))
        code.append(DeviceFilter.word(Op.and, to: 2, value: 0xffff))
        code.append(DeviceFilter.word(Op.shiftRight, to: 3, value: 16))
        code.append(DeviceFilter.word(Op.load, to: 4, from: 1, offset: 4))
        code.append(DeviceFilter.word(Op.load, to: 5, from: 1, offset: 8))
        for rule in rules.reversed() {
            code += DeviceFilter.code(rule)
            if rule.isWhole { break }
        }
        code += DeviceFilter.answer(0)
        instructions = code
    }

    /// r3 holds the accesses that no later rule has decided.
    private static func code(_ rule: DeviceRule) -> [UInt64] {
        var body: [UInt64] = []
        if rule.allow {
            body.append(word(Op.and, to: 3, value: ~rule.access.rawValue))
            body.append(word(Op.jumpNotEqual, to: 3, offset: 2, value: 0))
            body += answer(1)
        } else {
            body.append(word(Op.jumpSet, to: 3, offset: 1, value: rule.access.rawValue))
            body.append(word(Op.jump, to: 0, offset: 2))
            body += answer(0)
        }
        var code: [UInt64] = []
        let tests: [(register: UInt64, value: Int32)] = [
            (2, rule.kind?.rawValue), (4, rule.major.map(Int32.init)), (5, rule.minor.map(Int32.init)),
        ].compactMap { register, value in value.map { (register, $0) } }
        for (index, test) in tests.enumerated() {
            let skipped = tests.count - index - 1 + body.count
            code.append(word(Op.jumpNotEqual, to: test.register, offset: Int16(skipped), value: test.value))
        }
        return code + body
    }

    private static func answer(_ value: Int32) -> [UInt64] {
        [word(Op.set, to: 0, value: value), word(Op.exit, to: 0)]
    }

    /// Opcodes of linux/bpf.h and linux/bpf_common.h: class | size or source | operation. All arithmetic is of 32
    /// bits, which clears the upper half.
    private enum Op {
        static let load: UInt64 = 0x61  // BPF_LDX | BPF_MEM | BPF_W
        static let move: UInt64 = 0xbc  // BPF_ALU | BPF_MOV | BPF_X
        static let set: UInt64 = 0xb4  // BPF_ALU | BPF_MOV | BPF_K
        static let and: UInt64 = 0x54  // BPF_ALU | BPF_AND | BPF_K
        static let shiftRight: UInt64 = 0x74  // BPF_ALU | BPF_RSH | BPF_K
        static let jump: UInt64 = 0x05  // BPF_JMP | BPF_JA
        static let jumpNotEqual: UInt64 = 0x55  // BPF_JMP | BPF_JNE | BPF_K
        static let jumpSet: UInt64 = 0x45  // BPF_JMP | BPF_JSET | BPF_K
        static let exit: UInt64 = 0x95  // BPF_JMP | BPF_EXIT
    }

    private static func word(
        _ code: UInt64, to: UInt64, from: UInt64 = 0, offset: Int16 = 0, value: Int32 = 0
    ) -> UInt64 {
        code | to << 8 | from << 12 | UInt64(UInt16(bitPattern: offset)) << 16
            | UInt64(UInt32(bitPattern: value)) << 32
    }
}

extension Cgroup {
    /// Puts a filter in force for this cgroup and those below it, beside those that are there already: all must allow.
    ///
    /// - Parameter replacing: it takes the place of the one that codex32 attached before, in one step.
    /// - Throws: EPERM for those who may not load such programs (CAP_SYS_ADMIN, outside of any user namespace); ENOENT
    ///   where there is none to be replaced.
    public borrowing func attach(_ filter: DeviceFilter, replacing: Bool = false) throws(KernelError) {
        let count = UInt32(filter.instructions.count)
        try KernelError.check(
            codex_device_filter_attach(folder.number, filter.instructions, count, replacing ? 1 : 0), "bpf")
    }
}
