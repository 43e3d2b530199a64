internal import Attacks
internal import Engine
internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// `codex32 selftest`: whether the levels work here, and with `--attack` whether they hold.
enum SelftestVerb {
    struct Draft: VerbDraft {
        var attack = false
        var list = false
        var calls = false
        var levels: [IsolationLevel] = []
        var only: [String] = []
        var waived: [String] = []
        var profile: String?
        var user: String?
        var tool: String?
        var format = "table"
        var help = false
        var storage: String?
    }

    static let command = Command<Draft>(
        name: "selftest", synopsis: "codex32 selftest [--attack] [OPTIONS]",
        summary: "show that every level works here, and that it holds",
        details: """
            Without --attack: a program, volumes, a time limit and the life of a container, at each level.
            With it: escapes, leaks and exhaustion are tried from inside, and each of them also where it must succeed
            (outside, or in a weakened sandbox), so that an attack that is dead is noticed. None of them harms the machine.
            The exit status is 0 when every level keeps what it promises, and 1 when one does not.
            """,
        groups: [
            (
                "Options",
                [
                    .flag("--attack", help: "try the attacks") { $0.attack = true },
                    .flag("--list", help: "print the attacks, what they stand for and what success would mean") {
                        $0.list = true
                    },
                    .flag(
                        "--calls",
                        help: "print how many system calls each level lets through, beside others; and which, with why"
                    ) { $0.calls = true },
                    .option("--only", value: "NAME,...", help: "only these attacks", choices: Corpus.all.map(\.name)) {
                        draft, text throws(Problem) in draft.only += try names(text)
                    },
                    .option(
                        "--level", value: "LEVEL,...", help: "only these levels",
                        choices: IsolationLevel.allCases.map(\.rawValue)
                    ) {
                        draft, text throws(Problem) in
                        for word in text.split(separator: ",") {
                            draft.levels.append(try RunDraft.level(String(word), option: "--level"))
                        }
                    },
                    .option(
                        "--waive", value: "ITEM,...", help: "strict starts without these, as with run",
                        choices: Item.waivable.map(\.name).sorted()
                    ) {
                        draft, text throws(Problem) in draft.waived += try waivers(text)
                    },
                    .option(
                        "--profile", value: "FILE",
                        help:
                            "with --attack: the sandboxes are under what codex32 learn wrote, at its level or a stricter one"
                    ) { $0.profile = $1 },
                    .option("--user", value: "NAME", help: "then the same as this ordinary user (root only)") {
                        $0.user = $1
                    },
                    .option(
                        "--tool", value: "PROGRAM",
                        help:
                            "in another sandbox: PROGRAM FOLDER WORDS... (Tests/Bench); with --only, attacks with options too"
                    ) { $0.tool = $1 },
                    .option("--format", value: "FORMAT", help: "table or json", choices: ["table", "json"]) {
                        draft, text throws(Problem) in
                        guard ["table", "json"].contains(text) else {
                            throw Value.wrong("--format", text, "table or json")
                        }
                        draft.format = text
                    },
                ]
            ), CommonOptions.group(),
        ])

    static let verb = Verb(command) { words throws(Problem) in try run(words) }

    private static func names(_ text: String) throws(Problem) -> [String] {
        var found: [String] = []
        for word in text.split(separator: ",").map(String.init) {
            guard Corpus.named(word) != nil else {
                let all = Corpus.all.map(\.name)
                let near =
                    all.first { $0.hasPrefix(word) }
                    ?? all.min { Spelling.distance($0, word) < Spelling.distance($1, word) }
                throw Problem(
                    "cannot use --only \(word)", "there is no such attack",
                    hint: near.map { "did you mean \($0)? codex32 selftest --list prints them all" })
            }
            found.append(word)
        }
        guard !found.isEmpty else {
            throw Problem("cannot use --only", "it names no attack", hint: "codex32 selftest --list prints them")
        }
        return found
    }

    private static func waivers(_ text: String) throws(Problem) -> [String] {
        try text.split(separator: ",").map { word throws(Problem) in
            guard let item = Item(name: String(word)), Item.waivable.contains(item) else {
                throw Problem(
                    "cannot use --waive \(word)", "there is no such item that can be waived",
                    hint: "the items are \(Item.waivable.map(\.name).sorted().joined(separator: ", "))")
            }
            return item.name
        }
    }

    private static func run(_ words: [String]) throws(Problem) -> Int32 {
        guard let (draft, _) = try command.read(words, Draft(), count: 0...0, what: "word") else { return 0 }
        if draft.list {
            StandardStream.output.print(SelftestPage.list(json: draft.format == "json"))
            return 0
        }
        if draft.calls {
            guard draft.levels.count <= 1 else {
                throw Problem(
                    "cannot use --calls with several levels", "it shows the groups of one", hint: "--level strict")
            }
            let page = try CallsPage(draft.levels.first ?? .strict)
            StandardStream.output.print(draft.format == "json" ? page.document.text(pretty: true) + "\n" : page.text)
            return 0
        }
        guard draft.only.isEmpty || draft.attack else {
            throw Problem("cannot use --only", "it chooses attacks, and none is asked for", hint: "add --attack")
        }
        guard draft.tool == nil || draft.attack else {
            throw Problem("cannot use --tool", "it runs attacks, and none is asked for", hint: "add --attack")
        }
        guard draft.profile == nil || draft.attack && draft.tool == nil else {
            throw Problem("cannot use --profile", "it is for attacks on codex32 itself", hint: "add --attack")
        }
        let other = try draft.user.map { name throws(Problem) in try OrdinaryUser(name) }
        let folder = try Storage.current(option: draft.storage).data
        let own = try draft.attack ? attack(draft, folder) : check(draft, folder)
        guard let other else {
            StandardStream.output.print(own.text(draft.format, documents: [own.document]))
            return own.status
        }
        let users = try other.selftest(words, json: draft.format == "json")
        if draft.format == "json" {
            StandardStream.output.print(own.text("json", documents: [own.document] + users.documents))
        } else {
            StandardStream.output.print(own.text("table", documents: []) + "\n" + users.text)
        }
        return max(own.status, users.status)
    }

    /// What one caller's selftest found.
    struct Result {
        let page: String
        let document: JSON
        let status: Int32

        func text(_ format: String, documents: [JSON]) -> String {
            guard format == "json" else { return page }
            return JSON.members(["schema": .integer(1), "callers": .array(documents)]).text(pretty: true) + "\n"
        }
    }

    private static func attack(_ draft: Draft, _ folder: String) throws(Problem) -> Result {
        var trial = Trial(folder: folder)
        if !draft.levels.isEmpty { trial.levels = IsolationLevel.allCases.filter { draft.levels.contains($0) } }
        if !draft.only.isEmpty { trial.attacks = Corpus.all.filter { draft.only.contains($0.name) } }
        trial.waived = draft.waived
        if let profile = draft.profile {
            // Told here, and not as a level that does not start.
            _ = try ProfileFile.read(profile)
            trial.profile = profile.hasPrefix("/") ? profile : "\(Machine.workingFolder)/\(profile)"
        }
        if let tool = draft.tool {
            guard Machine.mayExecute(tool) else {
                throw Problem("cannot use --tool \(tool)", "it is no program", hint: "name one by its whole path")
            }
            trial.tool = tool
            trial.isChosen = !draft.only.isEmpty
        }
        var bar = SelftestProgress()
        let matrix = try trial.run { attack, index, count in bar.show(attack.name, index, count) }
        bar.clear()
        return Result(page: SelftestPage.text(matrix), document: matrix.document, status: matrix.isKept ? 0 : 1)
    }

    private static func check(_ draft: Draft, _ folder: String) throws(Problem) -> Result {
        let levels = draft.levels.isEmpty ? IsolationLevel.allCases : draft.levels
        let results = try Check.run(folder: folder, levels: levels, waived: draft.waived)
        let isGood = results.allSatisfy { $0.checks.allSatisfy { $0.problem == nil } }
        return Result(
            page: SelftestPage.text(results), document: SelftestPage.document(results), status: isGood ? 0 : 1)
    }
}

/// A line on a terminal that says how far the attacks are.
struct SelftestProgress {
    private let isLive = StandardStream.error.isTerminal && Machine.environment("TERM") != "dumb"

    mutating func show(_ name: String, _ index: Int, _ count: Int) {
        if isLive { StandardStream.error.print("\r\u{1b}[K\(index + 1)/\(count) \(name)") }
    }

    mutating func clear() { if isLive { StandardStream.error.print("\r\u{1b}[K") } }
}
