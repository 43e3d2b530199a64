/// What `/proc/PID/status` says of a process (proc_pid_status(5)), by its own names.
public struct ProcessStatus: Sendable {
    private let fields: [String: String]

    public init(pid: Int32) throws(KernelError) {
        self.init(text: try Descriptor.contents(of: "/proc/\(pid)/status"))
    }

    public init(text: String) {
        var fields: [String: String] = [:]
        for line in text.split(separator: "\n") {
            guard let colon = line.firstIndex(of: ":") else { continue }
            let value = line[line.index(after: colon)...].drop { $0 == "\t" || $0 == " " }
            fields[String(line[..<colon])] = String(value)
        }
        self.fields = fields
    }

    public subscript(name: String) -> String? { fields[name] }

    /// A field of hexadecimal digits: signal masks and capability sets.
    public func mask(_ name: String) -> UInt64? { fields[name].flatMap { UInt64($0, radix: 16) } }

    public func number(_ name: String) -> Int? { fields[name].flatMap { Int($0) } }

    /// Whether a signal would do to this process what it does to any that did not ask for it. Pid 1
    /// of a namespace is special: the kernel drops such a signal (pid_namespaces(7)).
    public func leavesToDefault(_ signal: Int32) -> Bool {
        let bit: UInt64 = 1 << UInt64(signal - 1)
        guard let caught = mask("SigCgt"), let ignored = mask("SigIgn"), let blocked = mask("SigBlk") else {
            return false
        }
        return (caught | ignored | blocked) & bit == 0
    }
}

extension ProcessStatus {
    /// Whether the process is the first of a pid namespace below the reader's, as every container's program, or the
    /// reaper in front of it, is. Readable for everybody, whatever the process hides.
    public var isFirstOfNamespace: Bool {
        let numbers = self["NSpid"]?.split(separator: "\t") ?? []
        return numbers.count > 1 && numbers.last == "1"
    }
}

extension ProcessIdentity {
    /// Whether it runs, and is the first of its pid namespace: see ``ProcessStatus/isFirstOfNamespace``.
    ///
    /// - Throws: what kept it from being looked at.
    public func isFirstOfNamespace() throws(KernelError) -> Bool {
        guard try ProcessIdentity.find(pid) == self else { return false }
        do { return try ProcessStatus(pid: pid).isFirstOfNamespace } catch {
            // Gone since.
            if try ProcessIdentity.find(pid) != self { return false }
            throw error
        }
    }
}
