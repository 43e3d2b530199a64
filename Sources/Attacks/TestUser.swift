public import LinuxKernel

/// An ordinary user of this machine, and a selftest of his own.
public struct TestUser: Sendable {
    public let uid: UInt32
    private let gid: UInt32
    private let home: String

    /// By /etc/passwd (passwd(5)); nil: it has none of this name with a home.
    public init?(_ name: String) {
        guard let text = try? Descriptor.contents(of: "/etc/passwd") else { return nil }
        for line in text.split(separator: "\n") {
            let fields = line.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
            guard fields.count > 5, fields[0] == name, let uid = UInt32(fields[2]), let gid = UInt32(fields[3]),
                fields[5].hasPrefix("/")
            else { continue }
            (self.uid, self.gid, home) = (uid, gid, fields[5])
            return
        }
        return nil
    }

    /// Runs this codex32 as him, and returns what it wrote.
    public func selftest(_ words: [String]) throws(Problem) -> (output: String, errors: String, status: Int32) {
        // A copy where he can go: this file may lie where he cannot.
        let name = "codex32-\(Machine.randomHex(bytes: 8))"
        let place = try explaining("cannot copy codex32 for the user") { () throws(KernelError) in
            try Descriptor.open("/tmp", [.read, .folder])
        }
        let bytes = try explaining("cannot read codex32's own file") { () throws(KernelError) in
            try Descriptor.open("/proc/self/exe", [.read]).readAll(limit: 256 << 20)
        }
        defer { try? place.remove(name) }
        try explaining("cannot copy codex32 for the user") { () throws(KernelError) in
            let file = try place.open(name, [.write, .create, .exclusive], mode: 0o700)
            try file.write(bytes: bytes)
            try file.setMode(0o755)
        }
        let own = "/tmp/\(name)"
        let done = try OutsideProcess.run(
            own, ["codex32", AttackProgram.verb, "as", String(uid), String(gid), own, "selftest"] + words,
            environment: [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=\(home)", "LANG=C.UTF-8",
            ],
            seconds: 3600)
        return (done.output, done.errors, done.status ?? 125)
    }
}
