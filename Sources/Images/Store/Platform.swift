public import LinuxKernel

/// What an image is made for, in the words of Go: `linux/amd64`, `linux/arm/v7` (image-spec, image-index.md).
public struct Platform: Hashable, Sendable, CustomStringConvertible {
    public let os: String
    public let architecture: String
    /// Nil: not said.
    public let variant: String?

    init(os: String, architecture: String, variant: String? = nil) {
        (self.os, self.architecture, self.variant) = (os, architecture, variant)
    }

    /// This machine's own.
    public static var machine: Platform {
        #if arch(x86_64)
            Platform(os: "linux", architecture: "amd64")
        #elseif arch(arm64)
            Platform(os: "linux", architecture: "arm64")
        #else
            Platform(os: "linux", architecture: "unknown")
        #endif
    }

    /// `--platform`: [OS/]ARCHITECTURE[/VARIANT], where uname(1)'s names of architectures are taken too.
    public init(asked text: String) throws(Problem) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        let isWord = { (word: String) in
            !word.isEmpty && word.utf8.count <= 32
                && word.utf8.allSatisfy { (0x61...0x7a).contains($0) || (0x30...0x39).contains($0) || $0 == 0x5f }
        }
        guard (1...3).contains(parts.count), parts.allSatisfy(isWord) else {
            throw Problem(
                "cannot use --platform \(text)", "it is no platform",
                hint: "OS/ARCHITECTURE[/VARIANT]: linux/amd64, linux/arm/v7")
        }
        let hasSystem = parts.count > 1
        os = hasSystem ? parts[0] : "linux"
        switch parts[hasSystem ? 1 : 0] {
        case "x86_64": architecture = "amd64"
        case "aarch64": architecture = "arm64"
        case let other: architecture = other
        }
        variant = parts.count == 3 ? parts[2] : nil
    }

    /// Whether something that is for the other one is what was asked for. What is not said fits.
    public func takes(_ other: Platform) -> Bool {
        os == other.os && architecture == other.architecture
            && (variant == nil || other.variant == nil || variant == other.variant)
    }

    public var description: String { "\(os)/\(architecture)" + (variant.map { "/\($0)" } ?? "") }
}
