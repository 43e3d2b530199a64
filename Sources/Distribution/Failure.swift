public import OCISpec

/// What could not be done at a registry, in words for codex32 to pass on.
public struct Failure: Error, Equatable {
    public let why: String
    public var hint: String?
    /// The same again may go well: a connection that broke, a server that is busy.
    public var isPassing = false
    /// Seconds that the server asked for before the next try.
    public var wait: Double?

    public init(_ why: String, hint: String? = nil, isPassing: Bool = false, wait: Double? = nil) {
        (self.why, self.hint, self.isPassing, self.wait) = (why, hint, isPassing, wait)
    }

    /// Scalars of a word of others' that are passed on: codex32 takes no long lines, and a person reads none.
    static let longest = 2000

    /// For codex32. Registries, logins' files and helpers chose parts of the words.
    public var document: JSON {
        .members([
            "error": .members([
                "why": .string(Failure.cut(why, Failure.longest)),
                "hint": .text(hint.map { Failure.cut($0, Failure.longest) }),
            ])
        ])
    }

    /// By scalars: a character of Swift's may have any number of them.
    static func cut(_ text: String, _ most: Int) -> String {
        var output = String.UnicodeScalarView()
        output.append(contentsOf: text.unicodeScalars.prefix(most))
        return String(output)
    }
}
