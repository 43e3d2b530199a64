internal import LinuxKernel
internal import OCISpec

/// `codex32 version`.
enum VersionCommand {
    struct Draft: Sendable {
        var format = "text"
        var help = false
    }

    static let command = Command<Draft>(
        name: "version", synopsis: "codex32 version [--format text|json]", summary: "print the version", details: "",
        groups: [
            (
                "Options",
                [
                    .option("--format", value: "FORMAT", help: "text or json", choices: ["text", "json"]) {
                        draft, text throws(Problem) in
                        guard ["text", "json"].contains(text) else {
                            throw Value.wrong("--format", text, "text or json")
                        }
                        draft.format = text
                    },
                    .flag("-h", "--help", help: "print this and exit") { $0.help = true },
                ]
            )
        ])

    static func run(_ words: [String]) throws(Problem) -> Int32 {
        var draft = Draft()
        _ = try command.parse(words, into: &draft) { _, word throws(Problem) in
            throw Problem("cannot use \(word)", "version takes no words", hint: "codex32 version --help")
        }
        if draft.help {
            StandardStream.output.print(HelpText.command(command))
            return 0
        }
        let library = SeccompBuilder.libraryVersion
        let seccomp = "\(library >> 16).\(library >> 8 & 0xff).\(library & 0xff)"
        let text =
            draft.format == "json"
            ? JSON.members([
                "version": .string(Main.version), "kernel": .string(Machine.kernelRelease),
                "architecture": .string(Machine.architecture), "libseccomp": .string(seccomp),
            ]).text(pretty: true) + "\n"
            : "codex32 \(Main.version) (libseccomp \(seccomp), Linux \(Machine.kernelRelease), \(Machine.architecture))\n"
        StandardStream.output.print(text)
        return 0
    }
}
