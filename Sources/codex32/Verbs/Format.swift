internal import LinuxKernel
internal import OCISpec

/// `--format`: a table, JSON, or a template in Go's way, as Docker's users write it.
enum Format: Sendable {
    case table
    case json
    case template(Template)

    static let choices = ["table", "json"]
    static let help = "table, json, or a template such as '{{.ID}} {{.State}}'"

    init(_ text: String) throws(Problem) {
        switch text {
        case "table": self = .table
        case "json": self = .json
        default:
            guard text.holds("{{") else {
                throw Problem(
                    "cannot use --format \(text)", "it is neither table nor json nor a template",
                    hint: "--format '{{.Name}}'")
            }
            self = .template(try Template(text))
        }
    }
}

/// A text with fields in it: `{{.Name}}`, `{{.State.Status}}`, `{{json .}}`. Names count whatever their case.
struct Template: Sendable {
    private enum Piece: Sendable {
        case text(String)
        case field(path: [String], json: Bool)
    }
    private let pieces: [Piece]

    init(_ text: String) throws(Problem) {
        var pieces: [Piece] = []
        var rest = Substring(text)
        if rest.hasPrefix("table ") { rest = rest.dropFirst(6) }
        while let (before, behind) = Template.cut(rest, at: "{") {
            if !before.isEmpty { pieces.append(.text(Template.unescape(before))) }
            guard let (inside, after) = Template.cut(behind, at: "}") else {
                throw Template.wrong(text, "a }} is missing")
            }
            var words = inside.split(separator: " ").map(String.init)
            let isJSON = words.first == "json"
            if isJSON { words.removeFirst() }
            guard words.count == 1, words[0].hasPrefix(".") else {
                throw Template.wrong(text, "only {{.Field}} and {{json .Field}} are known")
            }
            pieces.append(.field(path: words[0].split(separator: ".").map(String.init), json: isJSON))
            rest = after
        }
        if !rest.isEmpty { pieces.append(.text(Template.unescape(rest))) }
        self.pieces = pieces
    }

    /// What stands before and behind the first place where a character stands twice.
    private static func cut(_ text: Substring, at mark: Character) -> (Substring, Substring)? {
        var index = text.startIndex
        while let found = text[index...].firstIndex(of: mark) {
            let next = text.index(after: found)
            if next < text.endIndex, text[next] == mark { return (text[..<found], text[text.index(after: next)...]) }
            index = next
        }
        return nil
    }

    /// A shell's single quotes leave \t and \n as two characters.
    private static func unescape(_ text: Substring) -> String {
        var result = ""
        var isEscaped = false
        for character in text {
            switch (isEscaped, character) {
            case (false, "\\"): isEscaped = true
            case (false, _): result.append(character)
            case (true, "t"): (result, isEscaped) = (result + "\t", false)
            case (true, "n"): (result, isEscaped) = (result + "\n", false)
            case (true, _): (result, isEscaped) = (result + "\\" + String(character), false)
            }
        }
        return isEscaped ? result + "\\" : result
    }

    private static func wrong(_ text: String, _ why: String) -> Problem {
        Problem("cannot use --format \(text)", why, hint: "--format '{{.Name}}: {{.State}}'")
    }

    /// The text for one document. A field that is not there is an error that names those that are.
    func text(_ document: JSON) throws(Problem) -> String {
        var text = ""
        for piece in pieces {
            switch piece {
            case .text(let part): text += part
            case .field(let path, let json):
                var value = document
                for name in path { value = try Template.member(value, name) }
                text += json ? value.text() : Template.plain(value)
            }
        }
        return text
    }

    private static func member(_ value: JSON, _ name: String) throws(Problem) -> JSON {
        guard case .object(let members) = value else {
            throw Problem("no field \(name)", "what stands before it has none", hint: "--format '{{json .}}' shows all")
        }
        let lower = name.lowercased()
        if let found = members.first(where: { $0.name.lowercased() == lower }) { return found.value }
        throw Problem(
            "no field \(name)", "there are \(members.map(\.name).joined(separator: ", "))",
            hint: "--format '{{json .}}' shows all")
    }

    /// Made harmless for terminals: names and commands come from anybody.
    private static func plain(_ value: JSON) -> String {
        switch value {
        case .string(let text): text.quotedForTerminal
        case .null: ""
        default: value.text()
        }
    }
}
