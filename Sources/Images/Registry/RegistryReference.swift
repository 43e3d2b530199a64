public import LinuxKernel

/// An image at a registry: HOST[:PORT]/PATH[:TAG][@DIGEST]. A name without a host is nobody's: codex32 never guesses
/// one, for whoever guesses differently gets another's image.
public struct RegistryReference: Equatable, Sendable, CustomStringConvertible {
    /// HOST[:PORT].
    public let registry: String
    /// The image's path there: `tools/bot`.
    public let repository: String
    /// What it is called in the store.
    public let name: ImageName
    /// Which one it must be; nil: the one that the tag means.
    public let digest: Digest?

    /// - Parameter verb: for messages: "pull", "push".
    public init(_ text: String, to verb: String) throws(Problem) {
        let what = "cannot \(verb) \(text)"
        var (plain, digest): (Substring, Digest?) = (Substring(text), nil)
        if let at = text.firstIndex(of: "@") {
            plain = text[..<at]
            digest = Digest(text[text.index(after: at)...])
            guard digest != nil else {
                throw Problem(what, "what follows the @ is no sha256 digest", hint: "HOST/NAME@sha256:...")
            }
        }
        guard let name = ImageName(String(plain)) else {
            throw Problem(
                what, "it is no name of an image", hint: "HOST[:PORT]/PATH[:TAG], in lower-case letters and digits")
        }
        let parts = name.repository.split(separator: "/", maxSplits: 1).map(String.init)
        guard parts.count == 2, RegistryReference.isHost(parts[0]) else {
            throw Problem(
                what, "it does not say from which registry",
                hint: "codex32 guesses none: docker.io/library/\(name) is Docker Hub's, for one")
        }
        (registry, repository, self.name, self.digest) = (parts[0], parts[1], name, digest)
    }

    /// Whether a name says at which registry it is.
    public static func names(_ text: String) -> Bool {
        (try? RegistryReference(text, to: "find")) != nil
    }

    /// As Docker tells a host from a path: by a dot, a port, or "localhost".
    private static func isHost(_ word: String) -> Bool {
        word == "localhost" || word.utf8.contains(0x2e) || word.utf8.contains(0x3a)
    }

    /// A registry by itself, as `login` takes it.
    public static func host(_ text: String) throws(Problem) -> String {
        guard !text.utf8.contains(0x2f), isHost(text), ImageName("\(text)/x") != nil else {
            throw Problem("cannot use the registry \(text)", "it is no host", hint: "HOST[:PORT], such as docker.io")
        }
        return text
    }

    /// How the registry is asked for it.
    var asked: String { digest?.description ?? name.tag }

    public var description: String { "\(name)" + (digest.map { "@\($0)" } ?? "") }
}
