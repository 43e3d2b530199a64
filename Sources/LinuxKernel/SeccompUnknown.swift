internal import CShims

/// Classic BPF over `struct seccomp_data` (seccomp(2)): what libseccomp has no words for.
extension SeccompProgram {
    /// The program with some instructions in front, by which the call numbers from `first` up to, and
    /// without, `end` get an action of their own on the given architectures (AUDIT_ARCH_*). All other
    /// numbers and architectures come to the program as before.
    ///
    /// Nil when the result is longer than the kernel takes.
    public func answering(_ action: UInt32, from first: UInt32, below end: UInt32, on architectures: [UInt32])
        -> SeccompProgram?
    {
        guard !architectures.isEmpty, architectures.count < 200 else { return nil }
        // The offsets of nr and arch in struct seccomp_data are 0 and 4.
        var head: [FilterInstruction] = [.load(4)]
        for (index, architecture) in architectures.enumerated() {
            head.append(.ifEqual(architecture, then: architectures.count - index))
        }
        head.append(.jump(4))
        head += [.load(0), .ifAtLeast(end, then: 2), .ifAtLeast(first, then: 0, otherwise: 1), .answer(action)]
        return SeccompProgram(bytes: head.flatMap(\.bytes) + bytes)
    }
}

extension SystemCallNumber {
    /// The highest number that codex32 knows a name for. From 403 on every architecture counts the same
    /// (include/uapi/asm-generic/unistd.h).
    public static let highestKnown: Int32 = {
        var highest = firstRecent + Int32(recent.count) - 1
        while codex_seccomp_knows(highest + 1) == 1 { highest += 1 }
        return highest
    }()

    /// Where numbers with another meaning begin: ARM's own calls where it is there (__ARM_NR_BASE), else
    /// those of x32 (__X32_SYSCALL_BIT).
    public static func special(_ architectures: [UInt32]) -> UInt32 {
        architectures.contains(0x4000_0028) ? 0x000f_0000 : 0x4000_0000
    }
}
