internal import CShims

/// A network device of this process's network namespace that is to be in another one (runtime-spec, config-linux.md,
/// "Network Devices").
public struct NetworkDevice: Equatable, Sendable {
    public let name: String
    /// What it is called there; with %d at its end the kernel finds a number that is free.
    public let target: String

    public init(_ name: String, target: String) { (self.name, self.target) = (name, target) }

    private static let what = "cannot move a network device"
    private static let hint =
        "it takes CAP_NET_ADMIN over both network namespaces: as root, or as rootless Podman's root"

    /// Moves devices, with their addresses that are permanent and of global scope, and sets them up.
    ///
    /// All of them are looked at before one is moved; where one cannot be moved after all, those that were are put back.
    ///
    /// - Parameter namespace: of the other network namespace (namespaces(7)).
    /// - Throws: by the device's name: it is not there or belongs to its namespace (the loopback device), its new name is
    ///   taken, or this process has no CAP_NET_ADMIN over both.
    public static func move(_ devices: [NetworkDevice], to namespace: borrowing Descriptor) throws(Problem) {
        let (own, other) = try explaining(what) { () throws(KernelError) -> (FileStatus, FileStatus) in
            (try Descriptor.status(ofPath: "/proc/self/ns/net"), try namespace.status())
        }
        guard own.inode != other.inode || own.device != other.device else {
            throw Problem(what, "the container's network namespace is the one that codex32 itself is in")
        }
        let here = try Descriptor.open("/proc/self/ns/net", [.read], for: what)
        let from = try explaining(what) { () throws(KernelError) in try RouteSocket() }
        let number = namespace.number
        let to = try explaining(what, hint: hint) { () throws(KernelError) in
            try Machine.lending([(number, .network)]) { () throws(KernelError) in try RouteSocket() }
        }
        var moves: [RouteSocket.Move] = []
        for device in devices { moves.append(try device.look(from, to)) }
        for (number, device) in devices.enumerated() {
            do throws(KernelError) {
                try from.send(&moves[number], to, namespace.number, as: device.target)
                try to.settle(moves[number])
            } catch {
                var lost: [String] = []
                for (device, move) in zip(devices, moves).reversed() where move.isThere {
                    do throws(KernelError) {
                        try to.rename(move.to, here.number, device.name, move.from)
                        if move.wasUp { try from.settle(move.back) }
                    } catch { lost.append(device.name) }
                }
                throw Problem(
                    "cannot move the network device \(device.name)", error,
                    hint: !lost.isEmpty
                        ? "\(lost.joined(separator: ", ")) could not be put back"
                        : error.number == Errno.permission
                            ? hint : nil)
            }
        }
    }

    /// Whether it can be moved, as far as that can be seen.
    private func look(
        _ from: borrowing RouteSocket, _ to: borrowing RouteSocket
    ) throws(Problem) -> RouteSocket.Move {
        let what = "cannot move the network device \(name)"
        return try explaining(what) { () throws(KernelError) -> Result<RouteSocket.Move, Problem> in
            guard let link = try from.link(named: name) else {
                return .failure(Problem(what, "there is none of that name here", hint: "ip link"))
            }
            guard !link.isLoopback else {
                return .failure(Problem(what, "a loopback device cannot leave its network namespace"))
            }
            if !target.hasSuffix("%d"), try to.link(named: target) != nil {
                return .failure(
                    Problem(
                        what, "the container has a network device \(target) already",
                        hint: "another name, or one that ends in %d, which the kernel puts a number in"))
            }
            return .success(RouteSocket.Move(link, try from.addresses(of: link)))
        }.get()
    }
}

extension Descriptor {
    fileprivate static func open(
        _ path: String, _ flags: OpenFlags, for what: String
    ) throws(Problem) -> Descriptor {
        try explaining(what) { () throws(KernelError) in try Descriptor.open(path, flags) }
    }
}

/// A conversation with the kernel about the devices of one network namespace (rtnetlink(7)).
struct RouteSocket: ~Copyable {
    struct Link {
        let index: Int32
        /// IFF_* (netdevice(7)).
        let flags: UInt32
        var isLoopback: Bool { flags & 8 != 0 }
    }

    /// A device on its way, with what it had.
    struct Move {
        let from: Int32
        let wasUp: Bool
        let addresses: [DeviceAddress]
        /// Its number in the other namespace.
        var to: Int32
        var isThere = false

        init(_ link: Link, _ addresses: [DeviceAddress]) {
            (from, to, wasUp, self.addresses) = (link.index, link.index, link.flags & 1 != 0, addresses)
        }

        /// As it is once it was put back.
        var back: Move {
            var move = self
            move.to = from
            return move
        }
    }

    private let connection: SocketConnection

    /// In the network namespace that this process is in now.
    init() throws(KernelError) {
        connection = SocketConnection(owning: try KernelError.check(codex_route_open(), "socket", "rtnetlink"))
    }

    /// Nil: there is none of that name, or number.
    borrowing func link(named name: String? = nil, index: Int32 = 0) throws(KernelError) -> Link? {
        var request = RouteMessage.link(RouteMessage.Kind.getLink, index: index)
        if let name { request.attribute(3, Array(name.utf8) + [0]) }  // IFLA_IFNAME
        do throws(KernelError) {
            for answer in try ask(request, about: name) where answer.kind == RouteMessage.Kind.newLink {
                guard let index = answer.number(at: 4), let flags = answer.number(at: 8) else { continue }
                return Link(index: Int32(bitPattern: index), flags: flags)
            }
            throw KernelError("rtnetlink", name, number: Errno.io)
        } catch {
            guard error.number == Errno.noDevice else { throw error }
            return nil
        }
    }

    /// Those that go with a device.
    borrowing func addresses(of link: Link) throws(KernelError) -> [DeviceAddress] {
        let request = RouteMessage(
            RouteMessage.Kind.getAddress, RouteMessage.Flag.request | RouteMessage.Flag.dump,
            body: [0, 0, 0, 0] + withUnsafeBytes(of: link.index) { Array($0) })
        return try ask(request, about: nil).compactMap { DeviceAddress($0, of: link.index) }
    }

    /// Moves a device to the namespace of another conversation.
    /// - Parameter namespace: the other's.
    borrowing func send(
        _ move: inout Move, _ other: borrowing RouteSocket, _ namespace: Int32, as name: String
    ) throws(KernelError) {
        // The kernel would choose another number where this one is taken, and not tell which (IFLA_NEW_IFINDEX, Linux
        // 5.13).
        var index = move.from
        while try other.link(index: index) != nil { index += 1 }
        try rename(move.from, namespace, name, index)
        move.to = index
        move.isThere = true
    }

    /// Sets up what has come into this namespace, with the addresses that it had.
    borrowing func settle(_ move: Move) throws(KernelError) {
        _ = try ask(.link(RouteMessage.Kind.setLink, index: move.to, up: true), about: nil)
        for address in move.addresses { _ = try ask(address.request(for: move.to), about: nil) }
    }

    /// Moves a device to another namespace, with another name and number.
    borrowing func rename(
        _ index: Int32, _ namespace: Int32, _ name: String, _ new: Int32
    ) throws(KernelError) {
        var request = RouteMessage.link(RouteMessage.Kind.setLink, index: index)
        request.attribute(3, Array(name.utf8) + [0])  // IFLA_IFNAME
        request.attribute(28, UInt32(bitPattern: namespace))  // IFLA_NET_NS_FD
        request.attribute(49, UInt32(bitPattern: new))  // IFLA_NEW_IFINDEX
        _ = try ask(request, about: name)
    }

    /// What the kernel answers, up to its word that this is all, or its error.
    private borrowing func ask(_ request: RouteMessage, about name: String?) throws(KernelError) -> [RouteMessage] {
        // A socket of its own for each conversation: whatever has another number was answered before.
        let sequence = UInt32(truncatingIfNeeded: Clock.monotonic) | 1
        try connection.send(request.bytes(sequence: sequence))
        var answers: [RouteMessage] = []
        while true {
            let packet = try connection.receive()
            guard !packet.isEmpty, let list = RouteMessage.list(packet, sequence: sequence) else {
                throw KernelError("rtnetlink", name, number: Errno.io)
            }
            for answer in list {
                switch answer.kind {
                case RouteMessage.Kind.done: return answers
                case RouteMessage.Kind.error:
                    let result = Int32(bitPattern: answer.number(at: 0) ?? 0)
                    guard result == 0 else { throw KernelError("rtnetlink", name, number: -result) }
                    return answers
                default: answers.append(answer)
                }
            }
        }
    }
}
