internal import LinuxKernel

/// The records of an extended header (pax(1)): each is "LENGTH KEY=VALUE\n", the length that of the whole record.
struct TarPax {
    /// Bytes of one extended header: a few attributes of 64 KiB, and no more.
    static let limit: UInt64 = 1 << 20

    private(set) var records: [(key: String, value: [UInt8])] = []

    init() {}

    init(_ bytes: [UInt8]) throws(TarError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let digits = rest.prefix { (0x30...0x39).contains($0) }
            guard (1...8).contains(digits.count), let length = Int(String(decoding: digits, as: UTF8.self)),
                length > digits.count + 3, length <= rest.count
            else { throw TarError("an extended header's record has no length") }
            let record = rest.prefix(length)
            let body = record.dropFirst(digits.count)
            guard body.first == 0x20, record.last == 0x0a, let equals = body.firstIndex(of: 0x3d),
                equals > body.startIndex + 1
            else { throw TarError("an extended header's record is not KEY=VALUE") }
            let key = String(decoding: body[(body.startIndex + 1)..<equals], as: UTF8.self)
            set(key, Array(body[(equals + 1)..<(record.endIndex - 1)]))
            rest = rest.dropFirst(length)
        }
    }

    /// A later record takes the place of an earlier one; an empty value takes it away.
    mutating func set(_ key: String, _ value: [UInt8]) {
        records.removeAll { $0.key == key }
        if !value.isEmpty || key.hasPrefix("SCHILY.xattr.") { records.append((key, value)) }
    }

    mutating func set(_ key: String, _ value: String) { set(key, Array(value.utf8)) }

    subscript(key: String) -> [UInt8]? { records.first { $0.key == key }?.value }

    func number(_ key: String) throws(TarError) -> UInt64? {
        guard let value = self[key] else { return nil }
        guard value.count <= 19, value.allSatisfy({ (0x30...0x39).contains($0) }),
            let number = UInt64(String(decoding: value, as: UTF8.self)), number <= UInt64(Int64.max)
        else { throw TarError("an extended header's \(key) is no number") }
        return number
    }

    /// "-12.345": seconds, and any number of digits behind the point.
    func time(_ key: String) throws(TarError) -> (seconds: Int64, nanoseconds: UInt32)? {
        guard let value = self[key] else { return nil }
        let isNegative = value.first == 0x2d
        let parts = value.dropFirst(isNegative ? 1 : 0).split(
            separator: 0x2e, maxSplits: 1, omittingEmptySubsequences: false)
        guard let whole = parts.first, (1...18).contains(whole.count), parts.allSatisfy({ $0.allSatisfy(isDigit) }),
            let seconds = Int64(String(decoding: whole, as: UTF8.self))
        else { throw TarError("an extended header's \(key) is no time") }
        var nanoseconds: UInt32 = 0
        let fraction = parts.count == 2 ? parts[1] : []
        for place in 0..<9 {
            let digit = place < fraction.count ? fraction[fraction.startIndex + place] - 0x30 : 0
            nanoseconds = nanoseconds * 10 + UInt32(digit)
        }
        guard isNegative else { return (seconds, nanoseconds) }
        return nanoseconds == 0 ? (-seconds, 0) : (-seconds - 1, 1_000_000_000 - nanoseconds)
    }

    private func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

    static func text(_ time: (seconds: Int64, nanoseconds: UInt32)) -> String {
        var (seconds, nanoseconds) = time
        var sign = ""
        if seconds < 0 {
            sign = "-"
            if nanoseconds > 0 { (seconds, nanoseconds) = (seconds + 1, 1_000_000_000 - nanoseconds) }
            seconds = -seconds
        }
        if nanoseconds == 0 { return sign + String(seconds) }
        let digits = String(nanoseconds)
        return "\(sign)\(seconds)." + String(repeating: "0", count: 9 - digits.utf8.count) + digits
    }

    var encoded: [UInt8] {
        var bytes: [UInt8] = []
        for (key, value) in records {
            // The length counts its own digits.
            let rest = key.utf8.count + value.count + 3
            var length = rest + 1
            while length != rest + String(length).utf8.count { length = rest + String(length).utf8.count }
            bytes += Array(String(length).utf8) + [0x20] + Array(key.utf8) + [0x3d] + value + [0x0a]
        }
        return bytes
    }
}
