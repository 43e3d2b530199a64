internal import Engine
internal import LinuxKernel
internal import OCISpec

/// `codex32 list`: what runs now.
enum ListCommand {
    struct Draft: Sendable {
        var format = "table"
        var storage: String?
        var quiet = false
        var help = false
    }

    static let command = Command<Draft>(
        name: "list", synopsis: "codex32 list [OPTIONS]", summary: "show what runs now", details: "",
        groups: [
            (
                "Options",
                [
                    .option("--format", value: "FORMAT", help: "table or json", choices: ["table", "json"]) {
                        draft, text throws(Problem) in
                        guard ["table", "json"].contains(text) else {
                            throw Value.wrong("--format", text, "table or json")
                        }
                        draft.format = text
                    },
                    .flag("-q", "--quiet", help: "ids only") { $0.quiet = true },
                    .option("--root", value: "FOLDER", help: "the storage folder") { $0.storage = $1 },
                    .flag("-h", "--help", help: "print this and exit") { $0.help = true },
                ]
            )
        ])

    static func run(_ words: [String]) throws(Problem) -> Int32 {
        var draft = Draft()
        _ = try command.parse(words, into: &draft) { _, word throws(Problem) in
            throw Problem("cannot use \(word)", "list takes no names", hint: "codex32 list --help")
        }
        if draft.help {
            StandardStream.output.print(HelpText.command(command))
            return 0
        }
        let all = try RunningContainer.all(Storage.current(option: draft.storage))
        StandardStream.output.print(
            draft.quiet ? all.map { $0.id + "\n" }.joined() : draft.format == "json" ? json(all) : table(all))
        return 0
    }

    private static func json(_ all: [RunningContainer]) -> String {
        JSON.array(
            all.map {
                .members([
                    "id": .string($0.id), "name": .text($0.name), "image": .string($0.image),
                    "isolation": .string($0.isolation),
                    "pid": .number($0.pid), "startedAt": .string($0.startedAt), "command": .string($0.command),
                ])
            }
        ).text(pretty: true) + "\n"
    }

    private static func table(_ all: [RunningContainer]) -> String {
        Table.text(
            ["ID", "NAME", "IMAGE", "ISOLATION", "PID", "STARTED", "COMMAND"],
            all.map {
                [
                    $0.id, $0.name ?? "", $0.image, $0.isolation, $0.pid.map(String.init) ?? "", $0.startedAt,
                    String($0.command.prefix(40)),
                ]
            })
    }
}

/// Columns of text. Whatever comes from a container is made harmless for terminals.
enum Table {
    static func text(_ titles: [String], _ rows: [[String]]) -> String {
        let all = [titles] + rows.map { $0.map(\.quotedForTerminal) }
        let widths = titles.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
        return all.map { row in
            var line = ""
            for (column, cell) in row.enumerated() {
                line +=
                    column == row.count - 1
                    ? cell : cell + String(repeating: " ", count: widths[column] - cell.count + 2)
            }
            return line + "\n"
        }.joined()
    }
}
