internal import CShims
internal import Glibc

/// The running kernel's version.
public struct KernelVersion: Comparable, Sendable, CustomStringConvertible {
    public let major: Int
    public let minor: Int
    public let text: String

    /// Reads the two first numbers of a release such as "6.1.0-18-amd64".
    public init?(_ release: String) {
        // By bytes: whether a Character is a number is looked up in the tables of Unicode.
        var numbers: (major: Int?, minor: Int?) = (nil, nil)
        for byte in release.utf8 {
            if byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") {
                let number = (numbers.minor ?? 0) * 10 + Int(byte - UInt8(ascii: "0"))
                guard number < 1_000_000 else { return nil }
                numbers.minor = number
            } else if numbers.minor != nil {
                if numbers.major != nil { break }
                numbers = (numbers.minor, nil)
            }
        }
        guard let major = numbers.major, let minor = numbers.minor else { return nil }
        self.init(major, minor, text: release)
    }

    public init(_ major: Int, _ minor: Int, text: String? = nil) {
        self.major = major
        self.minor = minor
        self.text = text ?? "\(major).\(minor)"
    }

    public static func < (a: KernelVersion, b: KernelVersion) -> Bool { (a.major, a.minor) < (b.major, b.minor) }
    public static func == (a: KernelVersion, b: KernelVersion) -> Bool { (a.major, a.minor) == (b.major, b.minor) }
    public var description: String { text }
}

/// Facts about this machine and this process.
public enum Machine {
    public static var kernelRelease: String {
        text { codex_kernel_release($0, $1) }
    }

    /// "x86_64" or "aarch64" (uname(2)).
    public static var architecture: String {
        text { codex_machine($0, $1) }
    }

    /// What a C function writes into a short buffer.
    private static func text(_ write: (UnsafeMutablePointer<CChar>, Int) -> Int32) -> String {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 128) { buffer in
            buffer.initialize(repeating: 0)
            _ = write(buffer.baseAddress!, buffer.count)
            return String(cString: buffer.baseAddress!)
        }
    }

    /// The Landlock ABI, or nil where the kernel has none (landlock_create_ruleset(2)).
    public static var landlockABI: Int? {
        let version = codex_landlock_abi()
        return version > 0 ? Int(version) : nil
    }

    /// Whether a file system type is built in or loaded.
    public static func supports(fileSystem type: String) -> Bool { codex_fs_supported(type) == 1 }

    /// Whether `/proc/filesystems` has a type: what an ordinary user can know of it.
    public static func lists(fileSystem type: String) -> Bool {
        guard let text = try? Descriptor.contents(of: "/proc/filesystems") else { return false }
        return text.split(separator: "\n").contains { $0.split(separator: "\t").last.map { $0 == type } ?? false }
    }

    /// Whether the kernel takes filters, and knows to end a process by one (seccomp(2), Linux 4.14).
    public static var hasSeccompFilters: Bool { codex_seccomp_action_available(0x8000_0000) == 1 }

    public static var uid: UInt32 { geteuid() }
    public static var gid: UInt32 { getegid() }
    public static var pid: Int32 { getpid() }
    public static var isRoot: Bool { geteuid() == 0 }

    /// The bits that new files and folders do not get. To read it is to set it for a moment (umask(2)): for a process
    /// with one thread.
    public static var fileMask: UInt32 {
        let mask = umask(0o077)
        umask(mask)
        return UInt32(mask)
    }

    /// Whether this process is root of a user namespace that is not the machine's own: it lacks most ids, and
    /// the rights over what belongs to the machine (user_namespaces(7)).
    public static var isRootOfNamespace: Bool {
        guard isRoot, let map = try? Descriptor.contents(of: "/proc/self/uid_map") else { return false }
        return map.split(whereSeparator: { $0 == " " || $0 == "\n" }) != ["0", "0", "4294967295"]
    }

    /// Gives back what has been touched of codex32's own code so far, some megabytes, when most of it is not needed any
    /// more (madvise(2)).
    public static func forgetProgram() { codex_forget_program() }

    public static func setDumpable(_ on: Bool) { _ = codex_set_dumpable(on ? 1 : 0) }

    /// Runs codex32 again from a detached, read-only mount of its own file, which no container can
    /// change, not even one of root's in no user namespace (CVE-2019-5736).
    public static func runFromReadOnlyMount() throws(KernelError) {
        try KernelError.check(codex_run_from_read_only_mount(codex_arguments()), "execveat", "/proc/self/exe")
    }

    /// Runs codex32 again from a sealed copy in memory, which nobody can write to, its owner neither. It
    /// costs a copy of the program, and needs no right.
    public static func runFromSealedCopy() throws(KernelError) {
        try KernelError.check(codex_run_from_sealed_copy(codex_arguments()), "memfd_create", "/proc/self/exe")
    }

    /// What codex32 was called with, its own name first. The standard library would read /proc/self/cmdline for it.
    public static var arguments: [String] {
        var list: [String] = []
        guard var at = codex_arguments() else { return list }
        while let text = at.pointee {
            list.append(String(cString: text))
            at += 1
        }
        return list
    }

    /// All of it, as "NAME=VALUE".
    public static var environment: [String] {
        var list: [String] = []
        var at = environ
        while let text = at.pointee {
            list.append(String(cString: text))
            at += 1
        }
        return list
    }

    public static func environment(_ name: String) -> String? {
        guard let value = getenv(name) else { return nil }
        let text = String(cString: value)
        return text.isEmpty ? nil : text
    }

    /// Random bytes as lower-case hexadecimal digits.
    public static func randomHex(bytes count: Int) -> String {
        var bytes = [UInt8](repeating: 0, count: count)
        precondition(codex_random(&bytes, count) == 0, "getrandom(2) never fails for so few bytes")
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    /// The working folder's path.
    public static var workingFolder: String {
        guard let path = getcwd(nil, 0) else { return "/" }
        defer { free(path) }
        return String(cString: path)
    }

    public static func mayExecute(_ path: String) -> Bool { codex_faccessat(AT_FDCWD, path, X_OK, 0) == 0 }
    public static func mayRead(_ path: String) -> Bool { codex_faccessat(AT_FDCWD, path, R_OK, 0) == 0 }

    public static func exit(_ status: Int32) -> Never {
        Child.endEarly()
        Glibc.exit(status)
    }
}

/// Signals by name and number (signal(7)).
public enum Signal {
    public static let hangUp = SIGHUP
    public static let interrupt = SIGINT
    public static let quit = SIGQUIT
    public static let kill = SIGKILL
    public static let terminate = SIGTERM
    /// What was stopped goes on.
    public static let resume = SIGCONT
    public static let windowChanged = SIGWINCH
    public static let child = SIGCHLD
    public static let pipe = SIGPIPE
    public static let cpuTime = SIGXCPU
    public static let user1 = SIGUSR1
    public static let user2 = SIGUSR2
    public static let alarm = SIGALRM
    public static let ttyOutput = SIGTTOU
    public static let ttyInput = SIGTTIN
    /// Ctrl-Z.
    public static let ttyStop = SIGTSTP

    private static let names: [String: Int32] = [
        "HUP": SIGHUP, "INT": SIGINT, "QUIT": SIGQUIT, "ILL": SIGILL, "TRAP": SIGTRAP, "ABRT": SIGABRT, "BUS": SIGBUS,
        "FPE": SIGFPE, "KILL": SIGKILL, "USR1": SIGUSR1, "SEGV": SIGSEGV, "USR2": SIGUSR2, "PIPE": SIGPIPE,
        "ALRM": SIGALRM, "TERM": SIGTERM, "STKFLT": 16, "CHLD": SIGCHLD, "CONT": SIGCONT, "STOP": SIGSTOP,
        "TSTP": SIGTSTP, "TTIN": SIGTTIN, "TTOU": SIGTTOU, "URG": SIGURG, "XCPU": SIGXCPU, "XFSZ": SIGXFSZ,
        "VTALRM": SIGVTALRM, "PROF": SIGPROF, "WINCH": SIGWINCH, "IO": SIGIO, "PWR": SIGPWR, "SYS": SIGSYS,
    ]

    /// "15", "TERM", "SIGTERM", "RTMIN+3"; nil for anything else.
    public static func number(_ text: String) -> Int32? {
        if let number = Int32(text) { return (1...64).contains(number) ? number : nil }
        var name = text.uppercased()
        if name.hasPrefix("SIG") { name.removeFirst(3) }
        if let number = names[name] { return number }
        if name.hasPrefix("RTMIN+"), let offset = Int32(name.dropFirst(6)), (0...30).contains(offset) {
            return 34 + offset
        }
        if name == "RTMIN" { return 34 }
        if name == "RTMAX" { return 64 }
        return nil
    }

    /// Whether the default action of a signal ends the process (signal(7)).
    public static func endsByDefault(_ number: Int32) -> Bool {
        ![SIGCHLD, SIGCONT, SIGURG, SIGWINCH, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU].contains(number)
    }

    /// Every signal that a caller may mean for the program: all but those that are about codex32 itself.
    public static var forwarded: [Int32] {
        var list: [Int32] = []
        list.reserveCapacity(64)
        for number: Int32 in 1...64 {
            switch number {
            case SIGKILL, SIGSTOP, SIGCHLD, SIGWINCH, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGPIPE, SIGTSTP,
                SIGTTIN, SIGTTOU, SIGSYS, 32, 33:
                continue
            default: list.append(number)
            }
        }
        return list
    }
}

/// setrlimit(2) resources.
public struct ResourceLimit: Equatable, Sendable {
    public let resource: Int32
    public let soft: UInt64
    public let hard: UInt64
    public static let unlimited = UInt64.max

    public init(resource: Int32, soft: UInt64, hard: UInt64) {
        self.resource = resource
        self.soft = soft
        self.hard = hard
    }

    /// Docker's names, each with its number and its title in `/proc/PID/limits`.
    public static let known: [(name: String, number: Int32, title: String)] = [
        ("cpu", 0, "Max cpu time"), ("fsize", 1, "Max file size"), ("data", 2, "Max data size"),
        ("stack", 3, "Max stack size"), ("core", 4, "Max core file size"), ("rss", 5, "Max resident set"),
        ("nproc", 6, "Max processes"), ("nofile", 7, "Max open files"), ("memlock", 8, "Max locked memory"),
        ("as", 9, "Max address space"), ("locks", 10, "Max file locks"), ("sigpending", 11, "Max pending signals"),
        ("msgqueue", 12, "Max msgqueue size"), ("nice", 13, "Max nice priority"),
        ("rtprio", 14, "Max realtime priority"),
        ("rttime", 15, "Max realtime timeout"),
    ]

    public static func name(_ number: Int32) -> String { known.first { $0.number == number }?.name ?? String(number) }
    public static func number(_ name: String) -> Int32? { known.first { $0.name == name }?.number }

    /// This process's own hard limit (`/proc/PID/limits`); nil: it has none, or it cannot be read.
    public static func hardest(_ number: Int32) -> UInt64? {
        guard let title = known.first(where: { $0.number == number })?.title,
            let text = try? Descriptor.contents(of: "/proc/self/limits"),
            let line = text.split(separator: "\n").first(where: { $0.hasPrefix(title) })
        else { return nil }
        let words = line.dropFirst(title.count).split(separator: " ")
        return words.count >= 2 ? UInt64(words[1]) : nil
    }
}
