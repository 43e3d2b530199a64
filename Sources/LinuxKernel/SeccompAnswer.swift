internal import CShims
internal import Glibc

/// A system call as a filter sees it (seccomp(2), `struct seccomp_data`).
public struct SystemCallData: Hashable, Sendable {
    public let number: Int32
    /// AUDIT_ARCH_*.
    public let architecture: UInt32
    public let instruction: UInt64
    /// Six of them.
    public let arguments: [UInt64]

    public init(number: Int32, architecture: UInt32, instruction: UInt64 = 0, arguments: [UInt64]) {
        self.number = number
        self.architecture = architecture
        self.instruction = instruction
        self.arguments = arguments
    }

    /// The call's name on its architecture; "call 999" where none is known.
    public var name: String {
        var bytes = [CChar](repeating: 0, count: 64)
        guard codex_seccomp_name(architecture, number, &bytes, bytes.count) == 0 else {
            let index = Int(number - SystemCallNumber.firstRecent)
            if SystemCallNumber.recent.indices.contains(index) { return SystemCallNumber.recent[index] }
            return "call \(number)"
        }
        return String(decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// A word of 32 bits at an offset; nil: the filter would be refused.
    fileprivate func word(at offset: UInt32) -> UInt32? {
        switch offset {
        case 0: return UInt32(bitPattern: number)
        case 4: return architecture
        case 8, 12: return UInt32(truncatingIfNeeded: instruction >> (offset == 8 ? 0 : 32))
        case 16..<64 where offset % 4 == 0:
            let value = arguments[Int(offset - 16) / 8]
            return UInt32(truncatingIfNeeded: value >> (offset % 8 == 0 ? 0 : 32))
        default: return nil
        }
    }
}

extension SeccompProgram {
    /// SECCOMP_RET_* without its data.
    static let actionMask: UInt32 = 0xffff_0000
    static let refuse: UInt32 = 0x0005_0000
    static let notify: UInt32 = 0x7fc0_0000
    static let allow: UInt32 = 0x7fff_0000

    /// What the filter answers to a call, as the kernel would work it out; nil: it is of instructions that no
    /// filter of ours has.
    public func answer(to call: SystemCallData) -> UInt32? {
        let program = instructions
        var (place, accumulator) = (0, UInt32(0))
        while program.indices.contains(place) {
            let step = program[place]
            place += 1
            let holds: Bool
            switch step.code {
            case FilterInstruction.loadCode:
                guard let word = call.word(at: step.value) else { return nil }
                accumulator = word
                continue
            case 0x54:  // BPF_ALU | BPF_AND | BPF_K
                accumulator &= step.value
                continue
            case FilterInstruction.jumpCode:
                place += Int(step.value)
                continue
            case FilterInstruction.answerCode: return step.value
            case FilterInstruction.ifEqualCode: holds = accumulator == step.value
            case FilterInstruction.ifGreaterCode: holds = accumulator > step.value
            case FilterInstruction.ifAtLeastCode: holds = accumulator >= step.value
            case FilterInstruction.ifAnyBitCode: holds = accumulator & step.value != 0
            default: return nil
            }
            place += Int(holds ? step.whenTrue : step.whenFalse)
        }
        return nil
    }

    /// The error number with which a call is refused; 0: it is not refused.
    public func refusal(of call: SystemCallData) -> Int32 {
        guard let answer = answer(to: call), answer & SeccompProgram.actionMask == SeccompProgram.refuse else {
            return 0
        }
        return Int32(answer & 0xffff)
    }

    public func allows(_ call: SystemCallData) -> Bool { answer(to: call) == SeccompProgram.allow }

    /// The same filter, in which whatever it refuses with an error is told to its listener first; what ends a
    /// program still does.
    public var notifying: SeccompProgram? {
        let told = instructions.map { step in
            step.code == FilterInstruction.answerCode && step.value & SeccompProgram.actionMask == SeccompProgram.refuse
                ? FilterInstruction.answer(SeccompProgram.notify) : step
        }
        return SeccompProgram(bytes: told.flatMap(\.bytes))
    }
}

extension KernelError {
    /// "EPERM"; a number where it has no name.
    public var name: String { codex_error_name(number).map { String(cString: $0) } ?? String(number) }
}

/// The other end of a filter that tells what it refuses (seccomp_unotify(2)).
public struct SeccompListener: ~Copyable {
    public let descriptor: Descriptor
    /// The filter before it was made to tell: what it says is the answer.
    private let program: SeccompProgram

    public init(_ descriptor: consuming Descriptor, of program: SeccompProgram) {
        self.descriptor = descriptor
        self.program = program
    }

    /// The next call that was refused, and with what. Nil: the one who made it is gone already.
    public borrowing func refuseNext() throws(KernelError) -> (call: SystemCallData, error: Int32)? {
        var denial = codex_denial()
        let result = codex_notify_receive(descriptor.number, &denial)
        if result == -ENOENT || result == -EINTR { return nil }
        try KernelError.check(result, "ioctl", "the filter's listener")
        let arguments = withUnsafeBytes(of: denial.arguments) { Array($0.bindMemory(to: UInt64.self)) }
        let call = SystemCallData(
            number: denial.number, architecture: denial.architecture, instruction: denial.instruction,
            arguments: arguments)
        // What is not understood stays refused.
        let refusal = program.refusal(of: call)
        let error = refusal == 0 ? Errno.permission : refusal
        _ = codex_notify_answer(descriptor.number, denial.id, error)
        return (call, error)
    }
}
