internal import CShims

/// A set of capabilities (capabilities(7)), one bit each.
public struct CapabilitySet: OptionSet, Hashable, Sendable {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    public init(number: Int) { rawValue = 1 << UInt64(number) }

    /// Every capability the running kernel knows.
    public static var all: CapabilitySet {
        CapabilitySet(rawValue: (1 << UInt64(codex_capability_count())) - 1)
    }

    /// This process's effective set.
    public static var effective: CapabilitySet { CapabilitySet(rawValue: codex_capabilities_effective()) }

    /// A capability by name, in any case, with or without `CAP_`; nil when there is none of that name.
    public init?(name: String) {
        var lower = name.lowercased()
        if !lower.hasPrefix("cap_") { lower = "cap_" + lower }
        let number = codex_capability_number(lower)
        guard number >= 0, number < 64 else { return nil }
        self.init(number: Int(number))
    }

    /// Names as Docker and the kernel's documentation write them, `CAP_CHOWN` first.
    public var names: [String] {
        (0..<64).compactMap { number in
            guard contains(CapabilitySet(number: number)) else { return nil }
            var bytes = [CChar](repeating: 0, count: 64)
            guard codex_capability_name(Int32(number), &bytes, UInt(bytes.count)) == 0 else { return "CAP_\(number)" }
            return String(decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self).uppercased()
        }
    }

    public static let systemAdministration = CapabilitySet(number: 21)
    public static let setuid = CapabilitySet(number: 7)
    public static let setgid = CapabilitySet(number: 6)
}
