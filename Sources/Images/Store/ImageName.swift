public import LinuxKernel

/// An image's name in the store: a path of lower-case words and a tag, as OCI distribution-spec has them. Nothing is
/// put in front of it: `busybox` is `busybox:latest` and no registry's.
public struct ImageName: Hashable, Sendable, CustomStringConvertible {
    public let repository: String
    public let tag: String

    /// Nil: it is no such name.
    public init?(_ text: String) {
        guard text.utf8.count <= 200, !text.isEmpty else { return nil }
        var repository = Substring(text)
        var tag = Substring("latest")
        // A colon before the last slash is a registry's port.
        if let colon = text.lastIndex(of: ":"), !text[colon...].contains("/") {
            (repository, tag) = (text[..<colon], text[text.index(after: colon)...])
        }
        let parts = repository.split(separator: "/", omittingEmptySubsequences: false)
        for (index, part) in parts.enumerated() {
            var word = part
            if index == 0, parts.count > 1, let colon = part.lastIndex(of: ":") {
                let port = part[part.index(after: colon)...]
                guard !port.isEmpty, port.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
                word = part[..<colon]
            }
            guard ImageName.isWord(word) else { return nil }
        }
        // With its tag, as it is written down: what was taken once must be read back.
        guard repository.utf8.count + 1 + tag.utf8.count <= 200 else { return nil }
        guard let first = tag.utf8.first, tag.utf8.count <= 128, first != 0x2e, first != 0x2d,
            tag.utf8.allSatisfy({ ImageName.isLetter($0) || (0x41...0x5a).contains($0) || ImageName.isSign($0) })
        else { return nil }
        self.repository = String(repository)
        self.tag = String(tag)
    }

    public init(asked text: String) throws(Problem) {
        guard let name = ImageName(text) else {
            throw Problem(
                "cannot use the image name \(text)", "it is no name of an image",
                hint: "lower-case letters and digits with . _ - between them, and a tag: tools/my-bot:1.2")
        }
        self = name
    }

    public var description: String { "\(repository):\(tag)" }

    /// One name in one folder: "%" stands in no image's name.
    var fileName: String { String(description.map { $0 == "/" ? "%" : $0 }) }

    init?(fileName: String) { self.init(String(fileName.map { $0 == "%" ? "/" : $0 })) }

    private static func isLetter(_ byte: UInt8) -> Bool {
        (0x61...0x7a).contains(byte) || (0x30...0x39).contains(byte)
    }

    private static func isSign(_ byte: UInt8) -> Bool { byte == 0x2e || byte == 0x5f || byte == 0x2d }

    private static func isWord(_ word: Substring) -> Bool {
        guard let first = word.utf8.first, let last = word.utf8.last, isLetter(first), isLetter(last) else {
            return false
        }
        return word.utf8.allSatisfy { isLetter($0) || isSign($0) }
    }
}
