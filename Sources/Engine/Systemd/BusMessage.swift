internal import LinuxKernel

/// Writes values in D-Bus's way (D-Bus Specification, "Marshaling"), little-endian: each is aligned to its size,
/// counted from the beginning of the message or of its body.
struct BusWriter {
    private(set) var bytes: [UInt8] = []

    mutating func align(_ size: Int) { while bytes.count % size != 0 { bytes.append(0) } }

    mutating func byte(_ value: UInt8) { bytes.append(value) }

    mutating func number(_ value: UInt32) {
        align(4)
        for shift in stride(from: UInt32(0), to: 32, by: 8) { bytes.append(UInt8(truncatingIfNeeded: value >> shift)) }
    }

    mutating func long(_ value: UInt64) {
        align(8)
        for shift in stride(from: UInt64(0), to: 64, by: 8) { bytes.append(UInt8(truncatingIfNeeded: value >> shift)) }
    }

    /// A string, or a path of an object.
    mutating func text(_ value: String) {
        number(UInt32(value.utf8.count))
        bytes += value.utf8
        bytes.append(0)
    }

    mutating func signature(_ value: String) {
        bytes.append(UInt8(value.utf8.count))
        bytes += value.utf8
        bytes.append(0)
    }

    /// An array whose elements are aligned to `size`; its length does not count the padding before the first.
    mutating func array(alignment size: Int, _ elements: (inout BusWriter) -> Void) {
        number(0)
        let place = bytes.count - 4
        align(size)
        let start = bytes.count
        elements(&self)
        let length = UInt32(bytes.count - start)
        for index in 0..<4 { bytes[place + index] = UInt8(truncatingIfNeeded: length >> (8 * UInt32(index))) }
    }

    mutating func append(_ more: [UInt8]) { bytes += more }
}

/// A value of a unit's property, as a variant.
enum BusValue: Equatable {
    case text(String)
    case flag(Bool)
    case long(UInt64)
    case numbers([UInt32])
    case bytes([UInt8])

    func write(to writer: inout BusWriter) {
        switch self {
        case .text(let value):
            writer.signature("s")
            writer.text(value)
        case .flag(let value):
            writer.signature("b")
            writer.number(value ? 1 : 0)
        case .long(let value):
            writer.signature("t")
            writer.long(value)
        case .numbers(let values):
            writer.signature("au")
            writer.array(alignment: 4) { writer in for value in values { writer.number(value) } }
        case .bytes(let values):
            writer.signature("ay")
            writer.array(alignment: 1) { writer in for value in values { writer.byte(value) } }
        }
    }
}

/// Reads values that another process wrote; what runs over the end is an error.
struct BusReader {
    private let bytes: [UInt8]
    private(set) var at = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var isAtEnd: Bool { at >= bytes.count }

    mutating func align(_ size: Int) { at = (at + size - 1) / size * size }

    mutating func byte() throws(KernelError) -> UInt8 {
        guard at < bytes.count else { throw BusReader.malformed }
        at += 1
        return bytes[at - 1]
    }

    mutating func number() throws(KernelError) -> UInt32 {
        align(4)
        var value: UInt32 = 0
        for shift in stride(from: UInt32(0), to: 32, by: 8) { value |= UInt32(try byte()) << shift }
        return value
    }

    mutating func text() throws(KernelError) -> String { try characters(Int(try number())) }

    mutating func signature() throws(KernelError) -> String { try characters(Int(try byte())) }

    private mutating func characters(_ count: Int) throws(KernelError) -> String {
        guard count < bytes.count - at else { throw BusReader.malformed }
        let text = String(decoding: bytes[at..<at + count], as: UTF8.self)
        at += count + 1
        return text
    }

    static let malformed = KernelError("recv", "a message of D-Bus", number: Errno.invalid)
}

/// A message of D-Bus ("Message Protocol").
struct BusMessage {
    enum Kind: UInt8 {
        case call = 1
        case answer = 2
        case error = 3
        case signal = 4
    }

    var kind = Kind.call
    var path = ""
    var interface = ""
    var member = ""
    var errorName = ""
    var destination = ""
    var signature = ""
    /// Which call this answers.
    var replySerial: UInt32 = 0
    var body: [UInt8] = []

    /// The whole of it, under a number that is this connection's own.
    func bytes(serial: UInt32) -> [UInt8] {
        var writer = BusWriter()
        writer.append([UInt8(ascii: "l"), kind.rawValue, 0, 1])
        writer.number(UInt32(body.count))
        writer.number(serial)
        writer.array(alignment: 8) { writer in
            let fields: [(code: UInt8, type: String, value: String)] = [
                (1, "o", path), (2, "s", interface), (3, "s", member), (6, "s", destination),
            ]
            for field in fields where !field.value.isEmpty {
                writer.align(8)
                writer.byte(field.code)
                writer.signature(field.type)
                writer.text(field.value)
            }
            if !signature.isEmpty {
                writer.align(8)
                writer.byte(8)
                writer.signature("g")
                writer.signature(signature)
            }
        }
        writer.align(8)
        writer.append(body)
        return writer.bytes
    }

    /// Bytes of the part that says how long the rest is.
    static let prefix = 16
    /// The specification allows 128 MiB; what is read here is short.
    private static let longest = 1 << 20

    /// How many bytes follow the first 16.
    static func rest(_ prefix: [UInt8]) throws(KernelError) -> Int {
        guard prefix.count == BusMessage.prefix, prefix[0] == UInt8(ascii: "l"), prefix[3] == 1 else {
            throw BusReader.malformed
        }
        var reader = BusReader(prefix)
        _ = try reader.number()
        let body = Int(try reader.number())
        _ = try reader.number()
        let fields = Int(try reader.number())
        guard body <= longest, fields <= longest else { throw BusReader.malformed }
        return (fields + 7) / 8 * 8 + body
    }

    init(path: String = "", interface: String = "", member: String = "") {
        (self.path, self.interface, self.member) = (path, interface, member)
    }

    init(_ bytes: [UInt8]) throws(KernelError) {
        guard bytes.count >= BusMessage.prefix, let kind = Kind(rawValue: bytes[1]) else { throw BusReader.malformed }
        self.kind = kind
        var reader = BusReader(bytes)
        _ = try reader.number()
        let length = Int(try reader.number())
        _ = try reader.number()
        let end = Int(try reader.number()) + BusMessage.prefix
        while reader.at < end {
            reader.align(8)
            let code = try reader.byte()
            switch (code, try reader.signature()) {
            case (1, "o"): path = try reader.text()
            case (2, "s"): interface = try reader.text()
            case (3, "s"): member = try reader.text()
            case (4, "s"): errorName = try reader.text()
            case (5, "u"): replySerial = try reader.number()
            case (8, "g"): signature = try reader.signature()
            case (_, "s"), (_, "o"): _ = try reader.text()
            case (_, "g"): _ = try reader.signature()
            case (_, "u"): _ = try reader.number()
            default: throw BusReader.malformed
            }
        }
        reader.align(8)
        guard bytes.count - reader.at == length else { throw BusReader.malformed }
        body = Array(bytes[reader.at...])
    }
}
