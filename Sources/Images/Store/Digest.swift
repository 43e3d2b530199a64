/// What a blob is known by: the SHA-256 of its bytes (image-spec, descriptor.md, "Digests").
public struct Digest: Hashable, Sendable, CustomStringConvertible {
    /// 64 lower-case digits: safe as a file's name.
    public let hex: String

    /// Nil: no digest, or one of another algorithm.
    public init?(_ text: some StringProtocol) {
        guard text.hasPrefix("sha256:") else { return nil }
        self.init(hex: String(text.dropFirst(7)))
    }

    public init?(hex: String) {
        guard hex.utf8.count == 64, Digest.isHex(hex) else { return nil }
        self.hex = hex
    }

    static func isHex(_ text: String) -> Bool {
        text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }

    public var description: String { "sha256:\(hex)" }

    /// As lists show it.
    public var short: String { String(hex.prefix(12)) }
}
