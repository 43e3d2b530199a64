internal import CShims
internal import Glibc

/// The sets of capabilities(7) that a program begins with, each as given.
public struct CapabilitySets: Hashable, Sendable {
    public var permitted: CapabilitySet
    public var effective: CapabilitySet
    public var inheritable: CapabilitySet
    public var ambient: CapabilitySet

    public init(
        permitted: CapabilitySet, effective: CapabilitySet, inheritable: CapabilitySet, ambient: CapabilitySet
    ) {
        (self.permitted, self.effective, self.inheritable, self.ambient) = (permitted, effective, inheritable, ambient)
    }

    var bytes: [UInt8] {
        [permitted, effective, inheritable, ambient].flatMap { set in withUnsafeBytes(of: set.rawValue) { Array($0) } }
    }
}

extension Descriptor {
    /// Makes a pipe with a name (mkfifo(3)) in this folder, for its owner only.
    public borrowing func makePipe(_ name: String) throws(KernelError) {
        let folder = number
        let result = mkfifoat(folder, name, 0o600) == 0 ? 0 : -errno
        try KernelError.check(result, "mkfifo", name)
    }

    /// Sends a pty's master to the stream socket `name` in this folder: the runtimes' console socket.
    public borrowing func sendConsole(_ master: borrowing Descriptor, to name: String) throws(KernelError) {
        try KernelError.check(codex_console_send(number, name, master.number), "connect", name)
    }
}
