internal import Attacks
internal import LinuxKernel
internal import OCISpec

/// The user as whom `selftest --user` goes on: his own codex32, in his own storage folder.
struct OrdinaryUser {
    private let user: TestUser
    private let name: String

    init(_ name: String) throws(Problem) {
        guard Machine.isRoot else {
            throw Problem(
                "cannot use --user \(name)", "only root can become another user", hint: "leave it out, or use sudo")
        }
        guard let user = TestUser(name), user.uid != 0 else {
            throw Problem(
                "cannot use --user \(name)", "/etc/passwd has no such ordinary user", hint: "name one who can log in")
        }
        self.user = user
        self.name = name
    }

    /// - Parameter words: those of the selftest that was asked for.
    /// - Returns: its text, or its documents, and its exit status.
    func selftest(
        _ words: [String], json: Bool
    ) throws(Problem) -> (text: String, documents: [JSON], status: Int32) {
        let done = try user.selftest(OrdinaryUser.without(["--user", "--root"], words))
        guard done.status == 0 || done.status == 1 else {
            throw Problem("cannot run the selftest as \(name)", done.errors)
        }
        if !done.errors.isEmpty { StandardStream.error.print(done.errors) }
        guard json else { return (done.output, [], done.status) }
        guard let document = try? JSONReader.read(Array(done.output.utf8)),
            case .array(let callers)? = document["callers"]
        else { throw Problem("cannot run the selftest as \(name)", "its answer is no document") }
        return ("", callers, done.status)
    }

    /// The words without some options and their values.
    static func without(_ options: [String], _ words: [String]) -> [String] {
        var kept: [String] = []
        var rest = words[...]
        while let word = rest.popFirst() {
            if options.contains(word) {
                _ = rest.popFirst()
            } else if !options.contains(where: { word.hasPrefix("\($0)=") }) {
                kept.append(word)
            }
        }
        return kept
    }
}
