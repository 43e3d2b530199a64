internal import Engine
internal import LinuxKernel
internal import Sandbox

/// What the drafts of all verbs have: help was asked for, and where the store is.
protocol VerbDraft: Sendable {
    var help: Bool { get set }
    var storage: String? { get set }
}

/// The draft of a verb with no options of its own.
struct PlainDraft: VerbDraft {
    var help = false
    var storage: String?
}

extension Command where Draft: VerbDraft {
    /// Reads a verb's words: its options, and between them what they are about.
    ///
    /// - Parameters:
    ///   - count: how many such words it takes.
    ///   - what: what such a word is, for the message when there are too few or too many.
    /// - Returns: nil when help was asked for, and printed.
    func read(
        _ words: [String], _ draft: Draft, count: ClosedRange<Int>, what: String
    ) throws(Problem) -> (draft: Draft, operands: [String])? {
        var draft = draft
        var operands: [String] = []
        let rest = try parse(words, into: &draft) { _, word throws(Problem) in
            operands.append(word)
            return true
        }
        operands += rest
        if draft.help {
            StandardStream.output.print(HelpText.command(self))
            return nil
        }
        if operands.count < count.lowerBound {
            throw Problem("no \(what)", "\(name) needs one", hint: "codex32 \(name) --help")
        }
        if operands.count > count.upperBound {
            throw Problem(
                "cannot use \(operands[count.upperBound])", "\(name) takes no more words",
                hint: "codex32 \(name) --help")
        }
        return (draft, operands)
    }
}

/// The options that every verb has.
enum CommonOptions {
    static func group<Draft: VerbDraft>() -> (title: String, options: [Option<Draft>]) {
        (
            "Common",
            [
                .option("--root", value: "FOLDER", help: "the storage folder") { $0.storage = $1 },
                .flag("-h", "--help", help: "print this and exit") { $0.help = true },
            ]
        )
    }

    static func containers(_ draft: some VerbDraft) throws(Problem) -> Containers {
        Containers(try Storage.current(option: draft.storage))
    }
}

/// A verb as `codex32 NAME ...` reaches it, and as help, man page and completions show it.
struct Verb: Sendable {
    let page: CommandPage
    let run: @Sendable ([String]) throws(Problem) -> Int32

    init<Draft>(
        _ command: Command<Draft>, run: @escaping @Sendable ([String]) throws(Problem) -> Int32
    ) {
        page = command.page
        self.run = run
    }
}

/// Does something to each of several containers. One that fails is told and does not keep the others; the status
/// is then that of the last failure.
func forEach(_ names: [String], _ body: (String) throws(Problem) -> Void) -> Int32 {
    var status: Int32 = 0
    for name in names {
        do throws(Problem) { try body(name) } catch {
            StandardStream.error.print("codex32: \(error)\n")
            status = error.status
        }
    }
    return status
}

/// Prints a warning about what is not in force, as `run` does.
func warn(_ notice: Notice) {
    StandardStream.error.print("codex32: warning: not in force: \(notice.item.name): \(notice.why)\n")
}
