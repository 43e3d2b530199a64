internal import Glibc

/// A system call that failed: which, on what, and the kernel's reason.
///
/// The number is read from the C target's result, which took it from `errno` on the line after the
/// call; nothing here ever looks at ambient `errno`.
public struct KernelError: Error, Equatable, CustomStringConvertible {
    /// The system call's name as in section 2 of the manual.
    public let call: String
    /// What it was called on, where there is something to name.
    public let subject: String?
    /// A positive `errno` value (errno(3)).
    public let number: Int32

    public init(_ call: String, _ subject: String? = nil, number: Int32) {
        self.call = call
        self.subject = subject
        self.number = number
    }

    /// The kernel's reason in words, as strerror(3) puts it, without a capital.
    public var reason: String {
        guard let words = strerror(number) else { return "error \(number)" }
        let text = String(cString: words)
        return text.prefix(1).lowercased() + text.dropFirst()
    }

    public var description: String {
        if let subject { return "\(call) \(subject.quotedForTerminal): \(reason)" }
        return "\(call): \(reason)"
    }

    /// Passes a result through, or throws what a negative one stands for.
    @discardableResult
    static func check(
        _ result: Int32, _ call: String, _ subject: @autoclosure () -> String? = nil
    ) throws(KernelError) -> Int32 {
        if result < 0 { throw KernelError(call, subject(), number: -result) }
        return result
    }

    @discardableResult
    static func check(
        _ result: Int, _ call: String, _ subject: @autoclosure () -> String? = nil
    ) throws(KernelError) -> Int {
        if result < 0 { throw KernelError(call, subject(), number: Int32(truncatingIfNeeded: -result)) }
        return result
    }
}

/// The `errno` values that callers decide on.
public enum Errno {
    public static let permission = EPERM
    public static let missing = ENOENT
    public static let denied = EACCES
    public static let exists = EEXIST
    public static let notFolder = ENOTDIR
    public static let isFolder = EISDIR
    public static let invalid = EINVAL
    public static let noSpace = ENOSPC
    public static let readOnly = EROFS
    public static let loop = ELOOP
    public static let busy = EBUSY
    public static let notSupported = EOPNOTSUPP
    public static let noData = ENODATA
    public static let noSystemCall = ENOSYS
    public static let noDevice = ENODEV
    public static let tooBig = E2BIG
    public static let notExecutable = ENOEXEC
    public static let wouldBlock = EAGAIN
    public static let noProcess = ESRCH
    public static let notEmpty = ENOTEMPTY
    public static let crossDevice = EXDEV
    public static let stale = ESTALE
    public static let brokenPipe = EPIPE
    public static let connectionReset = ECONNRESET
    public static let userLimit = EUSERS
    public static let overflow = EOVERFLOW
    public static let canceled = ECANCELED
    public static let tooLong = ENAMETOOLONG
    public static let io = EIO
    public static let interrupted = EINTR
    public static let processFiles = EMFILE
    public static let machineFiles = ENFILE
    public static let timedOut = ETIMEDOUT
    public static let noMemory = ENOMEM
    public static let quota = EDQUOT
    public static let fileTooBig = EFBIG
    public static let mediumType = EMEDIUMTYPE
    /// "Structure needs cleaning": a file system that contradicts itself.
    public static let damaged = EUCLEAN
}

extension String {
    /// The text with control characters, and the bytes that begin terminal sequences, made visible:
    /// names come from hostile places and are printed on people's terminals.
    public var quotedForTerminal: String {
        if unicodeScalars.allSatisfy({ $0.value >= 0x20 && !(0x7f...0x9f).contains($0.value) && !$0.isDirectional }) {
            return self
        }
        var quoted = ""
        for scalar in unicodeScalars {
            if scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value) || scalar.isDirectional {
                quoted += "\\u{\(String(scalar.value, radix: 16))}"
            } else {
                quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted
    }
}

extension Unicode.Scalar {
    /// Marks that reorder the text around them (Unicode Bidirectional Algorithm, UAX 9).
    fileprivate var isDirectional: Bool {
        (0x202a...0x202e).contains(value) || (0x2066...0x2069).contains(value) || value == 0x200e || value == 0x200f
    }
}
