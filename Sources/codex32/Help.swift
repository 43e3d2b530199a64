/// The texts that tell how codex32 is used, made from the option tables.
enum HelpText {
    static var overview: String {
        var text = """
            codex32 runs programs in sandboxes, with no daemon.

            Usage: codex32 COMMAND [OPTIONS]

            Commands:

            """
        for (verb, _) in Verbs.all { text += "  \(padded(verb.page.name, 12))\(verb.page.summary)\n" }
        text += "  \(padded("man", 12))print the manual page\n"
        return text + """

            Try:   codex32 run ./bot.py
                   sudo codex32 run --isolation strict template:busybox -- sh -c 'id; ls /'
                   codex32 create --name my-bot --image ./bot.py && codex32 start my-bot && codex32 logs -f my-bot
            Help:  codex32 COMMAND --help, man codex32

            """
    }

    static func command<Draft>(_ command: Command<Draft>) -> String { page(command.page) }

    static func page(_ command: CommandPage) -> String {
        var text = "Usage: \(command.synopsis)\n\n\(capitalized(command.summary)).\n"
        if !command.details.isEmpty { text += "\n\(command.details)\n" }
        for group in command.groups {
            text += "\n\(group.title):\n"
            for option in group.options {
                let left = names(option)
                text +=
                    left.utf8.count < 34
                    ? "  \(padded(left, 34))\(option.help)\n" : "  \(left)\n  \(padded("", 34))\(option.help)\n"
            }
        }
        return text
    }

    static func names(_ option: CommandPage.OptionLine) -> String {
        let sorted = option.names.sorted { $0.utf8.count < $1.utf8.count }
        return sorted.joined(separator: ", ") + (option.value.map { " \($0)" } ?? "")
    }

    static func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(1, width - text.unicodeScalars.count))
    }

    static func capitalized(_ text: String) -> String { text.prefix(1).uppercased() + text.dropFirst() }
}

extension String {
    /// The text with single characters exchanged. The standard library's `replacing` brings its regular expressions.
    func exchanging(_ table: [Character: String]) -> String {
        var text = ""
        for character in self { text += table[character] ?? String(character) }
        return text
    }
}
