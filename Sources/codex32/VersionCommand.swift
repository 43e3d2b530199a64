internal import LinuxKernel
internal import OCISpec

/// `codex32 version`.
enum VersionCommand {
    static let version = "0.1.0"

    struct Draft: VerbDraft {
        var format = "text"
        var help = false
        var storage: String?
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

    static let verb = Verb(command) { words throws(Problem) in try run(words) }

    static func run(_ words: [String]) throws(Problem) -> Int32 {
        guard let (draft, _) = try command.read(words, Draft(), count: 0...0, what: "word") else { return 0 }
        let library = SeccompBuilder.libraryVersion
        let seccomp = "\(library >> 16).\(library >> 8 & 0xff).\(library & 0xff)"
        let text =
            draft.format == "json"
            ? JSON.members([
                "version": .string(version), "kernel": .string(Machine.kernelRelease),
                "architecture": .string(Machine.architecture), "libseccomp": .string(seccomp),
            ]).text(pretty: true) + "\n"
            : "codex32 \(version) (libseccomp \(seccomp), Linux \(Machine.kernelRelease), \(Machine.architecture))\n"
        StandardStream.output.print(text)
        return 0
    }
}
