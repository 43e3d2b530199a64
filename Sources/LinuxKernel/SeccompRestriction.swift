/// A filter made narrower: what a program was seen to call, out of what it may.
extension SeccompProgram {
    /// The same filter, in which of all that it lets through only these calls are left.
    ///
    /// To every other call, and to those of other architectures, it answers as before where that was a refusal, with the
    /// same error number, and with EPERM where it was not. So no call is ever let through that was refused.
    ///
    /// - Parameters:
    ///   - numbers: calls of the architecture.
    ///   - architecture: AUDIT_ARCH_*.
    /// - Returns: nil where the result would be longer than the kernel takes (BPF_MAXINSNS).
    public func restricted(to numbers: Set<Int32>, on architecture: UInt32) -> SeccompProgram? {
        let own = instructions
        let closed = own.map { step in
            // Of actions that let a call through there are more than SECCOMP_RET_ALLOW: all are above a refusal, and
            // below it is only what ends the program.
            step.code == FilterInstruction.answerCode && (SeccompProgram.notify...0x7fff_ffff).contains(step.value)
                ? FilterInstruction.answer(SeccompProgram.refuse | UInt32(Errno.permission)) : step
        }
        let ranges = SeccompProgram.ranges(numbers)
        // A head, then the closed filter, then the open one; a jump counts from the instruction behind it.
        let head = 4 + 3 * ranges.count
        // The call's architecture is at 4 of struct seccomp_data, its number at 0.
        var program: [FilterInstruction] = [.load(4), .ifEqual(architecture, then: 1), .jump(head - 3), .load(0)]
        for range in ranges {
            let here = program.count
            program += [
                .ifAtLeast(range.upperBound, then: 2),
                .ifAtLeast(range.lowerBound, then: 0, otherwise: 1),
                .jump(head + closed.count - (here + 3)),
            ]
        }
        return SeccompProgram(bytes: (program + closed + own).flatMap(\.bytes))?.byRanges
    }

    /// Neighbours together, in their order, each without its upper bound.
    static func ranges(_ numbers: Set<Int32>) -> [Range<UInt32>] {
        var ranges: [Range<UInt32>] = []
        for number in numbers.sorted() where number >= 0 {
            let first = UInt32(number)
            if let last = ranges.last, last.upperBound == first {
                ranges[ranges.count - 1] = last.lowerBound..<(first + 1)
            } else {
                ranges.append(first..<(first + 1))
            }
        }
        return ranges
    }
}
