internal import Engine
internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// The program: which command, and how its failure is told.
@main
enum Main {
    static let version = "0.1.0"

    static func main() {
        StandardStream.fillGaps()
        var words = Array(CommandLine.arguments.dropFirst())
        let verb = words.isEmpty ? "" : words.removeFirst()
        do { Machine.exit(try dispatch(verb, words)) } catch {
            StandardStream.error.print("codex32: \(error)\n")
            Machine.exit(error.status)
        }
    }

    private static func dispatch(_ verb: String, _ words: [String]) throws(Problem) -> Int32 {
        switch verb {
        case "run": return try run(words)
        case "list", "ls", "ps": return try ListCommand.run(words)
        case "doctor": return try DoctorCommand.run(words)
        case "version", "--version", "-V": return try VersionCommand.run(words)
        case "completion": return try CompletionCommand.run(words)
        case "man": return try print(ManPage.text)
        case "help", "--help", "-h":
            return try print(words.first == "run" ? HelpText.command(RunOptions.command) : HelpText.overview)
        case "":
            StandardStream.error.print(HelpText.overview)
            return 125
        default:
            let near = HelpText.commands.map(\.name).min { distance($0, verb) < distance($1, verb) }
            let hint = near.flatMap { distance($0, verb) <= 2 ? "did you mean codex32 \($0)?" : nil }
            throw Problem(
                "unknown command \(verb)", "codex32 has no such command", hint: hint ?? "codex32 --help lists them")
        }
    }

    private static func print(_ text: String) throws(Problem) -> Int32 {
        StandardStream.output.print(text)
        return 0
    }

    private static func run(_ words: [String]) throws(Problem) -> Int32 {
        var draft = RunDraft()
        // The first word that is no option is the image, unless --image named it: then it begins the
        // command. What follows belongs to the program, options or not.
        var command: [String] = []
        let rest = try RunOptions.command.parse(words, into: &draft) { draft, word throws(Problem) in
            if draft.image == nil { draft.image = word } else { command = [word] }
            return false
        }
        if draft.help {
            StandardStream.output.print(HelpText.command(RunOptions.command))
            return 0
        }
        command += rest
        if command.first == "--" { command.removeFirst() }
        let configuration = try draft.configuration(arguments: command)
        if draft.dryRun {
            let plan = try Run.plan(configuration)
            StandardStream.output.print(
                draft.format == "json" ? plan.document.text(pretty: true) + "\n" : PlanPage.text(plan))
            return 0
        }
        return try Run.run(configuration) {
            StandardStream.error.print("codex32: \($0)\n".replacing("codex32: hint:", with: "hint:"))
        }
    }
}
