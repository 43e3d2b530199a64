internal import CShims
internal import Glibc

/// A call that a program is about to make, and that waits for ``CallObserver/letGo(_:)``.
public struct ObservedCall: Sendable {
    fileprivate let id: UInt64
    /// Of the thread that makes it, as this process sees it.
    public let pid: Int32
    public let data: SystemCallData
}

/// The other end of a filter that tells of every call (seccomp_unotify(2)): see, and let go.
///
/// It decides nothing. A program may do what the filters loaded above this one let through, and the kernel asks them
/// whatever is answered here.
public struct CallObserver: ~Copyable {
    /// The filter itself, and what tells the message that hands its listener over from the program's own calls.
    public struct Filter: Hashable, Sendable {
        let program: SeccompProgram
        let token: UInt64

        /// - Parameters:
        ///   - token: nobody's guess, and new for every launch.
        ///   - numbers: calls of this machine's architecture that are not told of.
        public init(token: UInt64, passing numbers: Set<Int32> = []) {
            self.token = token
            program = Filter.make(token, numbers)
        }

        /// A filter with a token of its own.
        public static func random(passing numbers: Set<Int32>) -> Filter {
            var token: UInt64 = 0
            precondition(codex_random(&token, 8) == 0, "getrandom(2) never fails for so few bytes")
            return Filter(token: token, passing: numbers)
        }

        /// Beside those calls, one sendmsg(2) is not told of, whose sixth argument, which the kernel does not look at,
        /// is the token.
        private static func make(_ token: UInt64, _ numbers: Set<Int32>) -> SeccompProgram {
            let tell = FilterInstruction.answer(SeccompProgram.notify)
            let pass = FilterInstruction.answer(SeccompProgram.allow)
            let (low, high) = (UInt32(truncatingIfNeeded: token), UInt32(truncatingIfNeeded: token >> 32))
            // libseccomp's number for an architecture is the kernel's. struct seccomp_data: nr at 0, arch at 4, the
            // sixth argument at 56, its higher half at 60.
            var instructions: [FilterInstruction] = [
                .load(4), .ifEqual(codex_seccomp_native_architecture(), then: 1), tell, .load(0),
            ]
            for range in SeccompProgram.ranges(numbers) {
                instructions += [
                    .ifAtLeast(range.upperBound, then: 2), .ifAtLeast(range.lowerBound, then: 0, otherwise: 1), pass,
                ]
            }
            instructions += [
                .ifEqual(UInt32(bitPattern: codex_seccomp_number("sendmsg")), then: 1), tell, .load(56),
                .ifEqual(low, then: 1), tell, .load(60), .ifEqual(high, then: 1), tell, pass,
            ]
            guard let program = SeccompProgram(bytes: instructions.flatMap(\.bytes)) else {
                preconditionFailure("a few hundred whole instructions are a program")
            }
            return program
        }
    }

    public let descriptor: Descriptor

    public init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }

    /// The next call that waits. Nil: the one who made it is gone already, or a signal came.
    public borrowing func next() throws(KernelError) -> ObservedCall? {
        var observed = codex_observed()
        let result = codex_observe_next(descriptor.number, &observed)
        if result == -ENOENT || result == -EINTR { return nil }
        try KernelError.check(result, "ioctl", "the observing filter's listener")
        let arguments = withUnsafeBytes(of: observed.arguments) { Array($0.bindMemory(to: UInt64.self)) }
        return ObservedCall(
            id: observed.id, pid: observed.pid,
            data: SystemCallData(
                number: observed.number, architecture: observed.architecture, arguments: arguments))
    }

    /// Lets a call go on; one whose caller is gone needs no answer.
    public borrowing func letGo(_ call: ObservedCall) { _ = codex_observe_continue(descriptor.number, call.id) }
}

/// What is to be seen of a process that waits in a call: it may be anybody's, and end at any moment.
public enum ObservedProcess {
    /// A text in its memory, at most PATH_MAX bytes; nil: there is none, or it cannot be read.
    public static func text(_ pid: Int32, at address: UInt64) -> String? {
        guard address != 0 else { return nil }
        return withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 8) { buffer in
            let count = codex_observe_read(pid, address, buffer.baseAddress, buffer.count)
            guard count > 0, let end = buffer[..<count].firstIndex(of: 0) else { return nil }
            return String(decoding: buffer[..<end], as: UTF8.self)
        }
    }

    /// Bytes of its memory; fewer where there are no more, or where a page of it ends behind a byte of 0.
    public static func bytes(_ pid: Int32, at address: UInt64, count: Int) -> [UInt8] {
        guard address != 0 else { return [] }
        return [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            filled = max(0, codex_observe_read(pid, address, buffer.baseAddress, count))
        }
    }

    /// Whether a thread of this number is there.
    public static func isThere(_ pid: Int32) -> Bool { (try? Descriptor.exists("/proc/\(pid)")) != false }
}

extension Descriptor {
    /// The number of the mount that this file is on, as ``MountRecord/id`` has it (statx(2), Linux 5.8).
    public borrowing func mountID() throws(KernelError) -> UInt64 {
        var mount: UInt64 = 0
        try KernelError.check(codex_observe_mount(number, &mount), "statx")
        return mount
    }
}
