internal import Engine
internal import LinuxKernel
internal import Sandbox

/// What only `learn` takes.
struct LearnDraft: Sendable {
    var output: String?
    var append: String?
    var headroom: UInt64 = 50
}

/// `codex32 learn`: a run that is looked at, and the profile of what it needed.
enum LearnVerb {
    static let command = Command<RunDraft>(
        name: "learn",
        synopsis:
            "codex32 learn [OPTIONS] IMAGE [COMMAND...]\n       codex32 learn [OPTIONS] -- COMMAND...    (on template:host)",
        summary: "run a program, and write down what it needed for run --profile",
        details: """
            Runs it as codex32 run would, at the same level and with the level's own filter, but slower: every system call is
            looked at before it is let go on. What the program called, which volumes it used and how, and how much it took
            become a profile: a JSON file that run and create take with --profile. Its calls and limits only ever take away
            from the level. Its volumes are mounted as with -v: look at those of a file that somebody else wrote.
            What the level itself refuses is not in it, and no profile gives it: codex32 run --explain tells of that.
            Paths that a program may take at another time are not seen: learn from those too, with --append.

            A profile (all but codex32Profile, architecture, isolation and systemCalls may be left out; others are refused):
              codex32Profile   1, the form of the file
              architecture     where it was learned, and where alone it is taken: x86_64 or aarch64
              isolation        the level that it was learned at, and that --profile chooses; a weaker one is refused
              image, runs      what was run, and how often; for people
              headroomPercent  how far a limit is above what was seen, before it is rounded up
              systemCalls      names of the calls that are left, with those that every profile has; a start's own are let through too
              volumes          source (null: a new one), target, readOnly, noExecute, mapOwners
              limits           memoryBytes, processes, openFiles, fileBytes, wallSeconds, cpuSeconds; null: the level's
              observed         the same, as it was seen
              missing          paths that it looked for in vain; nothing gives them by itself
            """
    ) { number in
        switch number - RunOptions.sandboxGroupCount {
        case ..<0: RunOptions.sandboxGroup(number)
        case 0: ("The profile", profile)
        case 1: ("Results", RunOptions.resultFiles)
        case 2: RunOptions.planGroup
        default: nil
        }
    }

    private static let profile: [Option<RunDraft>] = [
        .option(
            "-o", "--output", value: "FILE", help: "a new file; -: standard output (default: NAME.codex32-profile.json)"
        ) {
            draft, text throws(Problem) in
            guard !text.isEmpty else { throw Value.wrong("--output", text, "a file, or -") }
            draft.learn.output = text
        },
        .option("--append", "--merge", value: "FILE", help: "widen this profile by what the program needs now") {
            draft, text throws(Problem) in
            guard !text.isEmpty, text != "-" else { throw Value.wrong("--append", text, "a file") }
            draft.learn.append = text
        },
        .option("--headroom", value: "PERCENT", help: "limits are so far above what was seen (default 50)") {
            draft, text throws(Problem) in
            let number = text.utf8.last == UInt8(ascii: "%") ? String(text.dropLast()) : text
            draft.learn.headroom = try Value.whole(number, option: "--headroom", 0...LearnedProfile.mostHeadroom)
        },
    ]

    static let verb = Verb(command) { words throws(Problem) in
        guard let (draft, arguments) = try RunDraft.read(command, words, otherwise: "template:host") else { return 0 }
        if draft.profile != nil {
            throw Problem(
                "cannot use --profile here", "a program does nothing under it that it could be learned from",
                hint: "--append FILE widens a profile")
        }
        let wishes = try wishes(draft, arguments)
        let configuration = try draft.configuration(arguments: arguments)
        if draft.dryRun { return try PlanPage.print(configuration, draft.format) }
        return try Learn.run(configuration, wishes) {
            StandardStream.error.print($0.hasPrefix("hint:") ? "\($0)\n" : "codex32: \($0)\n")
        }
    }

    private static func wishes(_ draft: RunDraft, _ arguments: [String]) throws(Problem) -> Learn.Wishes {
        var wishes = Learn.Wishes()
        wishes.headroom = draft.learn.headroom
        if let append = draft.learn.append {
            guard draft.learn.output == nil else {
                throw Problem(
                    "cannot use --output with --append", "the profile that is widened stays where it is",
                    hint: "copy it first, and leave --output out")
            }
            (wishes.output, wishes.widens) = (append, true)
            return wishes
        }
        guard draft.learn.output != "-" else { return wishes }
        wishes.output = draft.learn.output ?? "\(name(draft, arguments)).codex32-profile.json"
        return wishes
    }

    /// What a person would call it: its name, the script's, or the command's.
    private static func name(_ draft: RunDraft, _ arguments: [String]) -> String {
        if let name = draft.name { return name }
        let image = draft.image ?? ""
        let text = image.hasPrefix("template:") ? arguments.first ?? String(image.dropFirst(9)) : image
        let last = text.utf8.split(separator: UInt8(ascii: "/")).last.map { Array($0) } ?? []
        let stem = last.lastIndex(of: UInt8(ascii: ".")).map { $0 > 0 ? Array(last[..<$0]) : last } ?? last
        let plain = stem.prefix(64).map { byte -> UInt8 in
            let isPlain =
                (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
                || byte == 0x5f || byte == 0x2d || byte == 0x2e
            return isPlain ? byte : UInt8(ascii: "-")
        }
        return plain.isEmpty ? "program" : String(decoding: plain, as: UTF8.self)
    }
}
