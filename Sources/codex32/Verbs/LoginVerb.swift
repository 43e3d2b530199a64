internal import Images
internal import LinuxKernel

/// `codex32 login` and `logout`.
enum LoginVerb {
    struct Draft: VerbDraft {
        var help = false
        var storage: String?
        var user: String?
        var passwordFromInput = false
        var settings = RegistrySettings()
    }

    private static let help: Option<Draft> = .flag("-h", "--help", help: "print this and exit") { $0.help = true }

    private static let loginCommand = Command<Draft>(
        name: "login", synopsis: "codex32 login [OPTIONS] REGISTRY", summary: "log in at a registry",
        details: """
            The registry is asked first; then the login is kept where Docker keeps it: by its credential helper, or in
            $DOCKER_CONFIG/config.json (~/.docker), not encrypted, for its owner alone. A password is typed, or comes by
            --password-stdin: on a command line everybody on the machine could read it.
            """,
        groups: [
            (
                "Options",
                [
                    .option("-u", "--username", value: "USER", help: "who; asked for on a terminal otherwise") {
                        $0.user = $1
                    },
                    .flag("--password-stdin", help: "read the password from standard input") {
                        $0.passwordFromInput = true
                    },
                    .option("-p", "--password", value: "PASSWORD", help: "refused: use --password-stdin") {
                        _, _ throws(Problem) in
                        throw Problem(
                            "cannot use --password", "everybody on this machine can read command lines",
                            hint: "--password-stdin, and the password in a pipe")
                    },
                    .option("--insecure", value: "REGISTRY", help: "plain HTTP or unverified TLS will do for this one")
                    {
                        draft, text throws(Problem) in draft.settings.insecure.insert(try RegistryReference.host(text))
                    },
                    .option("--tls-ca", value: "FILE", help: "trust these certificates (PEM) beside the machine's") {
                        draft, path throws(Problem) in draft.settings.authority = try ImagePullVerb.authority(path)
                    },
                    .option("--idle-timeout", value: "TIME", help: "no answer for so long is none (default 30s)") {
                        draft, text throws(Problem) in draft.settings.idle = try ImagePullVerb.idle(text)
                    },
                    help,
                ]
            )
        ])

    static let login = Verb(loginCommand) { words throws(Problem) in
        guard let (draft, names) = try loginCommand.read(words, Draft(), count: 1...1, what: "registry") else {
            return 0
        }
        let registry = try RegistryReference.host(names[0])
        guard draft.passwordFromInput || StandardStream.input.isTerminal else {
            throw Problem(
                "cannot ask for the password", "there is no terminal to ask on", hint: "--password-stdin reads it")
        }
        var user = draft.user ?? ""
        if user.isEmpty, !draft.passwordFromInput { user = try ask("user: ", shown: true) }
        guard !user.isEmpty else { throw Problem("cannot log in at \(registry)", "no user is given", hint: "-u USER") }
        guard !user.utf8.contains(0x3a) else {
            throw Problem("cannot use the user \(user)", "a user's name has no colon in it", hint: "-u USER")
        }
        let password = draft.passwordFromInput ? try read() : try ask("password: ", shown: false)
        guard !password.isEmpty else {
            throw Problem("cannot log in at \(registry)", "the password is empty", hint: "type it, or pipe it in")
        }
        let kept = try RegistryLogin.logIn(registry, user: user, password: password, draft.settings)
        StandardStream.output.print("logged in at \(registry); the login is \(kept)\n")
        return 0
    }

    private static let logoutCommand = Command<Draft>(
        name: "logout", synopsis: "codex32 logout REGISTRY", summary: "forget the login at a registry",
        details: "From where Docker keeps it; the registry itself is not asked.", groups: [("Options", [help])])

    static let logout = Verb(logoutCommand) { words throws(Problem) in
        guard let (_, names) = try logoutCommand.read(words, Draft(), count: 1...1, what: "registry") else { return 0 }
        let registry = try RegistryReference.host(names[0])
        guard try RegistryLogin.logOut(registry) else {
            throw Problem("cannot log out at \(registry)", "there is no login for it")
        }
        StandardStream.output.print("logged out at \(registry)\n")
        return 0
    }

    /// All of the standard input, without the line's end.
    private static func read() throws(Problem) -> String {
        var bytes: [UInt8] = []
        while let piece = StandardStream.input.readSome(4096), !piece.isEmpty {
            bytes += piece
            guard bytes.count <= 65536 else {
                throw Problem(
                    "cannot read the password", "it is longer than 65536 bytes", hint: "is it the right file?")
            }
        }
        while let last = bytes.last, last == 10 || last == 13 { bytes.removeLast() }
        return try text(bytes)
    }

    private static func ask(_ question: String, shown: Bool) throws(Problem) -> String {
        StandardStream.error.print(question)
        if shown {
            var bytes = StandardStream.input.readSome(1024) ?? []
            while let last = bytes.last, last == 10 || last == 13 { bytes.removeLast() }
            return try text(bytes)
        }
        let answer = try unseen()
        StandardStream.error.print("\n")
        return answer
    }

    private static func unseen() throws(Problem) -> String {
        let raw = RawTerminal(.input)
        var bytes: [UInt8] = []
        while let byte = StandardStream.input.readSome(1)?.first, byte != 10, byte != 13 {
            switch byte {
            case 3, 4: throw Problem("cannot log in", "the question was not answered", status: 130)
            case 8, 127: _ = bytes.popLast()
            default: if bytes.count < 65536 { bytes.append(byte) }
            }
        }
        _ = consume raw
        return try text(bytes)
    }

    private static func text(_ bytes: [UInt8]) throws(Problem) -> String {
        guard let text = String(validating: bytes, as: UTF8.self), !text.utf8.contains(where: { $0 < 0x20 }) else {
            throw Problem("cannot use this answer", "there are control characters in it", hint: "one line of text")
        }
        return text
    }
}
