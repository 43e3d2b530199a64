/// The texts that tell how codex32 is used, made from the option tables.
enum HelpText {
    static let commands: [(name: String, summary: String)] = [
        ("run", RunOptions.command.summary), ("list", "show what runs now"),
        ("doctor", "tell what this machine offers, level by level"),
        ("version", "print the version"), ("completion", "print a completion script for bash, zsh or fish"),
        ("man", "print the manual page"),
    ]

    static var overview: String {
        var text = """
            codex32 runs programs in sandboxes, with no daemon.

            Usage: codex32 COMMAND [OPTIONS]

            Commands:

            """
        for command in commands { text += "  \(padded(command.name, 12))\(command.summary)\n" }
        return text + """

            Try:   codex32 run ./bot.py
                   sudo codex32 run --isolation strict template:busybox -- sh -c 'id; ls /'
            Help:  codex32 run --help, man codex32

            """
    }

    static func command<Draft>(_ command: Command<Draft>) -> String {
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

    static func names<Draft>(_ option: Option<Draft>) -> String {
        let sorted = option.names.sorted { $0.utf8.count < $1.utf8.count }
        return sorted.joined(separator: ", ") + (option.value.map { " \($0)" } ?? "")
    }

    static func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(1, width - text.unicodeScalars.count))
    }

    static func capitalized(_ text: String) -> String { text.prefix(1).uppercased() + text.dropFirst() }
}
