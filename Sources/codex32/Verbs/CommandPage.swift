/// A command as it is shown to people, whatever its draft is.
struct CommandPage: Sendable {
    struct OptionLine: Sendable {
        let names: [String]
        /// What its value is called; nil: it takes none.
        let value: String?
        let help: String
        let choices: [String]
    }
    let name: String
    let synopsis: String
    let summary: String
    let details: String
    let groups: [(title: String, options: [OptionLine])]

    var options: [OptionLine] { groups.flatMap(\.options) }
}

extension Command {
    var page: CommandPage {
        CommandPage(
            name: name, synopsis: synopsis, summary: summary, details: details,
            groups: groups.map { group in
                (
                    group.title,
                    group.options.map {
                        CommandPage.OptionLine(names: $0.names, value: $0.value, help: $0.help, choices: $0.choices)
                    }
                )
            })
    }
}
