/// One message of rtnetlink(7), as bytes: a header of the kernel's, one of its kind, and attributes.
struct RouteMessage: Equatable {
    enum Kind {
        static let error: UInt16 = 2
        static let done: UInt16 = 3
        static let newLink: UInt16 = 16
        static let getLink: UInt16 = 18
        static let setLink: UInt16 = 19
        static let newAddress: UInt16 = 20
        static let getAddress: UInt16 = 22
    }

    enum Flag {
        static let request: UInt16 = 1
        static let acknowledged: UInt16 = 4
        /// All that there are (NLM_F_ROOT and NLM_F_MATCH).
        static let dump: UInt16 = 0x300
        static let exclusive: UInt16 = 0x200
        static let create: UInt16 = 0x400
    }

    let kind: UInt16
    let flags: UInt16
    /// All behind the kernel's own header.
    private(set) var body: [UInt8]

    init(_ kind: UInt16, _ flags: UInt16, body: [UInt8] = []) {
        (self.kind, self.flags, self.body) = (kind, flags, body)
    }

    /// About a device (struct ifinfomsg).
    /// - Parameter up: sets it up, where true.
    static func link(_ kind: UInt16, index: Int32 = 0, up: Bool = false) -> RouteMessage {
        var message = RouteMessage(kind, Flag.request | Flag.acknowledged)
        message.add(UInt32(0))
        message.add(UInt32(bitPattern: index))
        message.add(UInt32(up ? 1 : 0))  // IFF_UP, and that it alone is meant
        message.add(UInt32(up ? 1 : 0))
        return message
    }

    private mutating func add(_ number: UInt32) { withUnsafeBytes(of: number) { body += $0 } }

    mutating func attribute(_ type: UInt16, _ bytes: [UInt8]) {
        withUnsafeBytes(of: UInt16(bytes.count + 4)) { body += $0 }
        withUnsafeBytes(of: type) { body += $0 }
        body += bytes
        while body.count % 4 != 0 { body.append(0) }
    }

    mutating func attribute(_ type: UInt16, _ number: UInt32) {
        attribute(type, withUnsafeBytes(of: number) { Array($0) })
    }

    /// As the kernel takes it (struct nlmsghdr).
    func bytes(sequence: UInt32) -> [UInt8] {
        var bytes: [UInt8] = []
        withUnsafeBytes(of: UInt32(body.count + 16)) { bytes += $0 }
        withUnsafeBytes(of: kind) { bytes += $0 }
        withUnsafeBytes(of: flags) { bytes += $0 }
        withUnsafeBytes(of: sequence) { bytes += $0 }
        withUnsafeBytes(of: UInt32(0)) { bytes += $0 }
        return bytes + body
    }

    /// Those of one packet that answer a request; nil: it is not made of messages.
    static func list(_ packet: [UInt8], sequence: UInt32) -> [RouteMessage]? {
        var list: [RouteMessage] = []
        var at = 0
        while at < packet.count {
            guard let size = number32(packet, at), size >= 16, Int(size) <= packet.count - at,
                let answers = number32(packet, at + 8)
            else { return nil }
            let (kind, flags) = (number16(packet, at + 4), number16(packet, at + 6))
            if answers == sequence {
                list.append(RouteMessage(kind, flags, body: Array(packet[at + 16..<at + Int(size)])))
            }
            at += (Int(size) + 3) & ~3
        }
        return list
    }

    /// The number at a place of the body; nil: it is shorter.
    func number(at place: Int) -> UInt32? { RouteMessage.number32(body, place) }

    /// The attributes behind so many bytes; one that does not fit ends them.
    func attributes(behind header: Int) -> [(type: UInt16, bytes: [UInt8])] {
        var list: [(type: UInt16, bytes: [UInt8])] = []
        var at = header
        while at + 4 <= body.count {
            let size = Int(RouteMessage.number16(body, at))
            guard size >= 4, at + size <= body.count else { break }
            // The two highest bits say how it is written (NLA_F_NESTED, NLA_F_NET_BYTEORDER).
            list.append((RouteMessage.number16(body, at + 2) & 0x3fff, Array(body[at + 4..<at + size])))
            at += (size + 3) & ~3
        }
        return list
    }

    private static func number16(_ bytes: [UInt8], _ at: Int) -> UInt16 {
        UInt16(bytes[at]) | UInt16(bytes[at + 1]) << 8
    }

    private static func number32(_ bytes: [UInt8], _ at: Int) -> UInt32? {
        guard at >= 0, at + 4 <= bytes.count else { return nil }
        return UInt32(number16(bytes, at)) | UInt32(number16(bytes, at + 2)) << 16
    }
}

/// An address of a network device, in the kernel's words (struct ifaddrmsg).
struct DeviceAddress: Equatable {
    private let header: [UInt8]
    private let attributes: [RouteAttribute]

    private struct RouteAttribute: Equatable {
        let type: UInt16
        let bytes: [UInt8]
    }

    /// Nil: it is another device's, comes and goes by itself, or is not meant for others (RFC 3549, section 2.3.3.2).
    init?(_ message: RouteMessage, of device: Int32) {
        guard message.kind == RouteMessage.Kind.newAddress, message.body.count >= 8,
            message.number(at: 4) == UInt32(bitPattern: device), message.body[3] == 0  // RT_SCOPE_UNIVERSE
        else { return nil }
        let given = message.attributes(behind: 8)
        // IFA_FLAGS, of 32 bits, where the 8 of the header are not enough.
        var flags = UInt32(message.body[2])
        if let long = given.first(where: { $0.type == 8 }), long.bytes.count == 4 {
            flags = RouteMessage(0, 0, body: long.bytes).number(at: 0) ?? flags
        }
        guard flags & 0x80 != 0 else { return nil }  // IFA_F_PERMANENT
        // The family and the length of the prefix. What the kernel says of the address's state is not told back.
        header = [message.body[0], message.body[1], 0, 0]
        let kept: Set<UInt16> = [1, 2, 4, 9]  // IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_RT_PRIORITY
        // IFA_F_NODAD, IFA_F_HOMEADDRESS, IFA_F_MANAGETEMPADDR, IFA_F_NOPREFIXROUTE, IFA_F_MCAUTOJOIN
        let asked = flags & (0x02 | 0x10 | 0x100 | 0x200 | 0x400)
        attributes =
            given.filter { kept.contains($0.type) }.map { RouteAttribute(type: $0.type, bytes: $0.bytes) }
            + [RouteAttribute(type: 8, bytes: withUnsafeBytes(of: asked) { Array($0) })]
    }

    /// Gives it to a device.
    func request(for device: Int32) -> RouteMessage {
        let number = withUnsafeBytes(of: device) { Array($0) }
        let flags = RouteMessage.Flag.request | RouteMessage.Flag.acknowledged | RouteMessage.Flag.create
        var message = RouteMessage(
            RouteMessage.Kind.newAddress, flags | RouteMessage.Flag.exclusive, body: header + number)
        for attribute in attributes { message.attribute(attribute.type, attribute.bytes) }
        return message
    }
}
