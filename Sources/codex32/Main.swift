internal import Attacks
internal import Engine
internal import LinuxKernel

/// The program: which command, and how its failure is told.
@main
enum Main {
    static func main() {
        StandardStream.fillGaps()
        // What codex32 starts gets each signal's default again.
        Machine.ignoreFileSizeSignal()
        var words = Machine.arguments
        let own = words.isEmpty ? "" : words.removeFirst()
        if isName("codex32-oci", of: own) || isName("runc", of: own) {
            // A `run` of that name is another verb's: the child that was made for ours would wait as long as it.
            Child.endEarly()
            Machine.exit(RuntimeVerb.run(words))
        }
        let verb = words.isEmpty ? "" : words.removeFirst()
        do {
            let status = try dispatch(verb, words)
            // An OCI runtime has said so itself, and with a status of its own.
            if verb != "oci" { try StandardStream.output.checkTaken() }
            Machine.exit(status)
        } catch {
            StandardStream.error.print("codex32: \(error)\n")
            Machine.exit(error.status)
        }
    }

    private static func isName(_ name: String, of path: String) -> Bool {
        path == name || path.hasSuffix("/" + name)
    }

    private static func dispatch(_ verb: String, _ words: [String]) throws(Problem) -> Int32 {
        switch verb {
        case "run": return try RunVerb.run(words)
        case "oci": return RuntimeVerb.run(words)
        case "exec": return try ExecVerb.run(words)
        case ExecKeeper.verb: return try ExecVerb.runKept(words)
        case SupervisorProcess.verb: return SupervisorProcess.main(words)
        case HealthProcess.verb: return HealthProcess.main(words)
        case InsideProcess.verb: return InsideProcess.main(words)
        case AttackProgram.verb: return AttackProgram.main()
        case "ls", "ps": return try ListVerb.run(words, showsAll: false)
        case "man": return print(ManPage.text)
        case "--version", "-V": return try VersionCommand.run(words)
        case "help", "--help", "-h": return print(try help(words.first))
        case "":
            StandardStream.error.print(HelpText.overview)
            return 125
        default:
            if let found = Verbs.named(verb) { return try found.run(words) }
            let near = Verbs.names.min { Spelling.distance($0, verb) < Spelling.distance($1, verb) }
            let hint = near.flatMap { Spelling.distance($0, verb) <= 2 ? "did you mean codex32 \($0)?" : nil }
            throw Problem(
                "unknown command \(verb)", "codex32 has no such command", hint: hint ?? "codex32 --help lists them")
        }
    }

    private static func help(_ name: String?) throws(Problem) -> String {
        guard let name else { return HelpText.overview }
        guard let verb = Verbs.named(name) else {
            throw Problem("no help for \(name)", "codex32 has no such command", hint: "codex32 --help lists them")
        }
        return HelpText.page(verb.page)
    }

    private static func print(_ text: String) -> Int32 {
        StandardStream.output.print(text)
        return 0
    }
}
