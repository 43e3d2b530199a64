internal import Engine
internal import LinuxKernel

/// One option of a command: the only definition of it. Parsing, `--help`, the man page and the shells'
/// completions all come from this table.
struct Option<Draft>: Sendable {
    /// "--memory-limit" first, then its other names.
    let names: [String]
    /// What stands for the value in help texts; nil: a flag.
    let value: String?
    let help: String
    /// Made up when it is shown: parsing has no use for it.
    var choices: [String] { listChoices() }
    private let listChoices: @Sendable () -> [String]
    let apply: @Sendable (inout Draft, String) throws(Problem) -> Void

    static func flag(
        _ names: String..., help: String, apply: @escaping @Sendable (inout Draft) throws(Problem) -> Void
    ) -> Option {
        Option(
            names: names, value: nil, help: help, listChoices: { [] },
            apply: { draft, _ throws(Problem) in try apply(&draft) })
    }

    static func option(
        _ names: String..., value: String, help: String,
        choices: @escaping @autoclosure @Sendable () -> [String] = [],
        apply: @escaping @Sendable (inout Draft, String) throws(Problem) -> Void
    ) -> Option {
        Option(names: names, value: value, help: help, listChoices: choices, apply: apply)
    }

    /// The same option of a command whose draft has this one's in it.
    func within<Whole>(_ part: any WritableKeyPath<Whole, Draft> & Sendable) -> Option<Whole> {
        let apply = apply
        return Option<Whole>(
            names: names, value: value, help: help, listChoices: listChoices,
            apply: { whole, text throws(Problem) in try apply(&whole[keyPath: part], text) })
    }
}

/// A command: its options, and what its other words are.
struct Command<Draft>: Sendable {
    let name: String
    let synopsis: String
    let summary: String
    let details: String
    /// The groups of its options by number; nil: there are no more. Not a list of them: where one option is looked for,
    /// as at every start, the runtime would make that list's types first.
    let group: @Sendable (Int) -> (title: String, options: [Option<Draft>])?

    init(
        name: String, synopsis: String, summary: String, details: String,
        group: @escaping @Sendable (Int) -> (title: String, options: [Option<Draft>])?
    ) {
        (self.name, self.synopsis, self.summary, self.details, self.group) = (name, synopsis, summary, details, group)
    }

    init(
        name: String, synopsis: String, summary: String, details: String,
        groups: [(title: String, options: [Option<Draft>])]
    ) {
        self.init(name: name, synopsis: synopsis, summary: summary, details: details) { number in
            number < groups.count ? groups[number] : nil
        }
    }

    var groups: [(title: String, options: [Option<Draft>])] {
        var all: [(title: String, options: [Option<Draft>])] = []
        while let next = group(all.count) { all.append(next) }
        return all
    }

    var options: [Option<Draft>] { groups.flatMap(\.options) }

    /// Reads the words behind the command's name. Words that are no options go to `operand`; once it
    /// answers false, all that follow are left alone and returned.
    ///
    /// Forms: `--name value`, `--name=value`, `-n value`, `-nvalue`, `-n=value`, `-it` for flags, `--` ends the options.
    func parse(
        _ words: [String], into draft: inout Draft, operand: (inout Draft, String) throws(Problem) -> Bool
    ) throws(Problem) -> [String] {
        var rest = words[...]
        while let word = rest.popFirst() {
            if word == "--" { return Array(rest) }
            if word.hasPrefix("--") {
                try long(word, &rest, &draft)
            } else if word.hasPrefix("-") && word.utf8.count > 1 {
                try short(word, &rest, &draft)
            } else if try !operand(&draft, word) {
                return Array(rest)
            }
        }
        return []
    }

    private func long(_ word: String, _ rest: inout ArraySlice<String>, _ draft: inout Draft) throws(Problem) {
        let equals = word.utf8.firstIndex(of: UInt8(ascii: "="))
        let name = equals.map { String(word[..<$0]) } ?? word
        let option = try find(name)
        try use(option, name, equals.map { String(word[word.utf8.index(after: $0)...]) }, &rest, &draft)
    }

    private func short(_ word: String, _ rest: inout ArraySlice<String>, _ draft: inout Draft) throws(Problem) {
        // By bytes, for the letters of all options are ASCII: what follows another is no option, and shown whole.
        let letters = Array(word.utf8)
        for index in 1..<letters.count {
            let isLetter = letters[index] < 0x80
            let name = "-" + String(decoding: letters[index..<(isLetter ? index + 1 : letters.count)], as: UTF8.self)
            let option = try find(name)
            if option.value == nil {
                try use(option, name, nil, &rest, &draft)
                continue
            }
            var value = letters[(index + 1)...]
            if value.isEmpty { return try use(option, name, nil, &rest, &draft) }
            if value.first == UInt8(ascii: "=") { value.removeFirst() }
            return try use(option, name, String(decoding: value, as: UTF8.self), &rest, &draft)
        }
    }

    private func find(_ name: String) throws(Problem) -> Option<Draft> {
        var number = 0
        while let (_, options) = group(number) {
            for option in options where option.names.contains(name) { return option }
            number += 1
        }
        throw unknown(name)
    }

    private func use(
        _ option: Option<Draft>, _ name: String, _ given: String?, _ rest: inout ArraySlice<String>,
        _ draft: inout Draft
    ) throws(Problem) {
        if option.value == nil {
            switch given {
            case nil, "true": return try option.apply(&draft, "")
            case "false": return
            default: throw Problem("cannot use \(name)", "it takes no value", hint: "write just \(name)")
            }
        }
        guard let value = given ?? rest.popFirst() else {
            throw Problem("cannot use \(name)", "its value is missing", hint: "\(name) \(option.value ?? "VALUE")")
        }
        try option.apply(&draft, value)
    }

    private func unknown(_ name: String) -> Problem {
        let near = options.flatMap(\.names).filter { $0.hasPrefix("--") }
            .min { Spelling.distance(name, $0) < Spelling.distance(name, $1) }
        let hint = near.flatMap {
            Spelling.distance(name, $0) <= min(3, name.utf8.count / 4) ? "did you mean \($0)?" : nil
        }
        return Problem(
            "unknown option \(name)", "codex32 \(self.name) has no such option",
            hint: hint ?? "codex32 \(self.name) --help lists them")
    }
}
