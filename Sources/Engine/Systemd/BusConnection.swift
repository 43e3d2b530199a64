internal import LinuxKernel

/// A conversation with a systemd manager over D-Bus: its own socket, to which it answers without a bus between, or a
/// bus. One call at a time, and nothing waits for longer than ``patience``.
struct BusConnection: ~Copyable {
    /// Whose systemd: the machine's, or the ordinary user's own.
    enum Manager: String, Sendable { case system, user }

    private let socket: Descriptor
    private var serial: UInt32 = 0
    /// What was told while an answer was waited for.
    private var signals: [BusMessage] = []

    /// Milliseconds for one message. systemd is slow where the machine has much to do.
    private static let patience = 30_000
    private static let manager = "org.freedesktop.systemd1"

    /// Makes itself known at the other end.
    init(_ socket: consuming Descriptor, isBus: Bool) throws(KernelError) {
        self.socket = socket
        try authenticate()
        if isBus { try greet() }
    }

    /// - Throws: where there is no such systemd, or it is not the caller's or root's.
    static func open(_ manager: Manager) throws(Problem) -> BusConnection {
        var last = KernelError("connect", number: Errno.missing)
        for (path, isBus) in places(manager) {
            do throws(KernelError) {
                return try BusConnection(try Descriptor.connectStream(path), isBus: isBus)
            } catch { last = error }
        }
        throw Problem(
            "cannot reach the \(manager == .system ? "machine's" : "user's") systemd", last,
            hint: "--systemd-cgroup needs one that runs; without it the cgroupfs driver is used")
    }

    private static func places(_ manager: Manager) -> [(path: String, isBus: Bool)] {
        let bus = { (name: String) -> String? in
            guard let text = Machine.environment(name), text.hasPrefix("unix:path=") else { return nil }
            return String(text.dropFirst(10).prefix { $0 != "," && $0 != ";" })
        }
        switch manager {
        case .system:
            return [
                ("/run/systemd/private", false),
                (bus("DBUS_SYSTEM_BUS_ADDRESS") ?? "/run/dbus/system_bus_socket", true),
            ]
        case .user:
            let own = Machine.environment("XDG_RUNTIME_DIR") ?? "/run/user/\(Machine.uid)"
            return [("\(own)/systemd/private", false), (bus("DBUS_SESSION_BUS_ADDRESS") ?? "\(own)/bus", true)]
        }
    }

    /// "Authentication Protocol": the kernel tells who this is (EXTERNAL). No user is named, for in a user namespace
    /// the other side knows another number for the same one.
    ///
    /// All of it goes in one write, BEGIN too, as sd-bus's own clients do it. systemd's end of its own socket reads
    /// what is there up to the BEGIN, and for whatever came with that BEGIN it waits until more is sent (seen with
    /// 252): a call sent right behind a BEGIN of its own is read with it every now and then, and never answered. This
    /// way the BEGIN has been read before its answer, OK, is written, and a call is sent only after that.
    private borrowing func authenticate() throws(KernelError) {
        try socket.write("\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")
        // What is the user's name? DATA. That is answered by the second line, which is empty.
        guard try line() == "DATA", try line().hasPrefix("OK ") else {
            throw KernelError("authenticate", number: Errno.denied)
        }
    }

    private borrowing func line() throws(KernelError) -> String {
        var line: [UInt8] = []
        while line.suffix(2) != [0x0d, 0x0a] {
            guard line.count < 512 else { throw BusReader.malformed }
            line += try receive(1)
        }
        return String(decoding: line.dropLast(2), as: UTF8.self)
    }

    /// A bus has to know its guest, and tells only what it was asked for.
    private mutating func greet() throws(KernelError) {
        let bus = "org.freedesktop.DBus"
        var hello = BusMessage(path: "/org/freedesktop/DBus", interface: bus, member: "Hello")
        hello.destination = bus
        _ = try exchange(hello)
        var match = BusMessage(path: "/org/freedesktop/DBus", interface: bus, member: "AddMatch")
        match.destination = bus
        match.signature = "s"
        var body = BusWriter()
        body.text("type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager'")
        match.body = body.bytes
        _ = try exchange(match)
    }

    private borrowing func receive(_ count: Int) throws(KernelError) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            guard socket.waitReadable(milliseconds: BusConnection.patience) else {
                throw KernelError("recv", "systemd's answer", number: Errno.timedOut)
            }
            let more = try socket.readPrefix(count - bytes.count)
            if more.isEmpty { throw KernelError("recv", "systemd's answer", number: Errno.connectionReset) }
            bytes += more
        }
        return bytes
    }

    private borrowing func receive() throws(KernelError) -> BusMessage {
        let prefix = try receive(BusMessage.prefix)
        return try BusMessage(prefix + (try receive(try BusMessage.rest(prefix))))
    }

    /// Sends a call and waits for its answer, which may be an error.
    private mutating func exchange(_ message: BusMessage) throws(KernelError) -> BusMessage {
        serial += 1
        try socket.write(bytes: message.bytes(serial: serial))
        while true {
            let answer = try receive()
            if answer.kind == .signal { signals.append(answer) }
            if answer.kind == .answer || answer.kind == .error, answer.replySerial == serial { return answer }
        }
    }

    /// Calls a method of the manager. An error of systemd's is returned as its name and words.
    mutating func call(
        _ member: String, _ signature: String = "", _ arguments: (inout BusWriter) -> Void = { _ in }
    ) throws(KernelError) -> Result<[UInt8], BusError> {
        var message = BusMessage(
            path: "/org/freedesktop/systemd1", interface: "org.freedesktop.systemd1.Manager", member: member)
        message.destination = BusConnection.manager
        message.signature = signature
        var body = BusWriter()
        arguments(&body)
        message.body = body.bytes
        let answer = try exchange(message)
        guard answer.kind == .error else { return .success(answer.body) }
        var reader = BusReader(answer.body)
        let words = answer.signature.hasPrefix("s") ? try reader.text() : ""
        return .failure(BusError(name: answer.errorName, words: words))
    }

    /// Waits until a job that was queued is over, and returns how it ended: "done", or why not.
    mutating func wait(for job: String) throws(KernelError) -> String {
        while true {
            while let signal = signals.popLast() {
                guard signal.member == "JobRemoved", signal.signature == "uoss" else { continue }
                var reader = BusReader(signal.body)
                _ = try reader.number()
                guard try reader.text() == job else { continue }
                _ = try reader.text()
                return try reader.text()
            }
            let message = try receive()
            if message.kind == .signal { signals.append(message) }
        }
    }
}

/// What systemd would not do.
struct BusError: Error, Equatable {
    /// As in "org.freedesktop.systemd1.NoSuchUnit".
    let name: String
    let words: String
}
