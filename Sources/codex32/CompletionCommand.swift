internal import LinuxKernel

/// `codex32 completion SHELL`: scripts made from the tables of the verbs.
enum CompletionCommand {
    private static let shells = ["bash", "zsh", "fish"]

    static let command = Command<PlainDraft>(
        name: "completion", synopsis: "codex32 completion bash|zsh|fish",
        summary: "print a completion script for bash, zsh or fish", details: "source <(codex32 completion bash)",
        groups: [("Options", [.flag("-h", "--help", help: "print this and exit") { $0.help = true }])])

    static let verb = Verb(command) { words throws(Problem) in
        guard let (_, names) = try command.read(words, PlainDraft(), count: 1...1, what: "shell") else { return 0 }
        switch names[0] {
        case "bash": StandardStream.output.print(bash)
        case "zsh": StandardStream.output.print(zsh)
        case "fish": StandardStream.output.print(fish)
        default:
            throw Problem(
                "cannot use the shell \(names[0])", "completion knows \(shells.joined(separator: ", "))",
                hint: "codex32 completion bash")
        }
        return 0
    }

    private static let images = "template:host template:busybox template:python template:debian"

    /// What a verb's words are, beside its options.
    private enum Words {
        case images, containers, shells, nothing
    }

    private static func words(_ verb: Verb) -> Words {
        if verb.page.synopsis.holds("IMAGE") { return .images }
        if verb.page.synopsis.holds("CONTAINER") { return .containers }
        return verb.page.name == "completion" ? .shells : .nothing
    }

    private static var verbNames: String { Verbs.names.joined(separator: " ") }

    // MARK: bash

    private static var bash: String {
        var cases = ""
        for (verb, aliases) in Verbs.all {
            let names = [verb.page.name] + aliases
            cases += "    \(names.joined(separator: "|")))\n      case $before in\n"
            for option in verb.page.options where !option.choices.isEmpty {
                cases +=
                    "        \(option.names.joined(separator: "|"))) COMPREPLY=($(compgen -W '\(option.choices.joined(separator: " "))' -- \"$word\")); return;;\n"
            }
            let options = verb.page.options.flatMap(\.names).joined(separator: " ")
            cases +=
                "      esac\n      if [[ $word == -* ]]; then COMPREPLY=($(compgen -W '\(options)' -- \"$word\")); return; fi\n"
            switch words(verb) {
            case .images:
                cases += "      COMPREPLY=($(compgen -f -- \"$word\") $(compgen -W '\(images)' -- \"$word\"));;\n"
            case .containers:
                cases +=
                    "      COMPREPLY=($(compgen -W \"$(codex32 list --format '{{.Name}}' 2> /dev/null)\" -- \"$word\"));;\n"
            case .shells: cases += "      COMPREPLY=($(compgen -W 'bash zsh fish' -- \"$word\"));;\n"
            case .nothing: cases += "      ;;\n"
            }
        }
        return """
            # bash completion for codex32
            _codex32() {
              local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
              if [ "$COMP_CWORD" -eq 1 ]; then COMPREPLY=($(compgen -W '\(verbNames)' -- "$word")); return; fi
              case ${COMP_WORDS[1]} in
            \(cases)  esac
            }
            complete -o filenames -F _codex32 codex32

            """
    }

    // MARK: zsh

    private static var zsh: String {
        var cases = ""
        for (verb, _) in Verbs.all {
            var lines = ""
            for option in verb.page.options {
                for name in option.names {
                    let help = option.help.exchanging(["[": "(", "]": ")", "'": "", ":": " "])
                    let value =
                        option.value == nil
                        ? ""
                        : option.choices.isEmpty ? ":value:_files" : ":value:(\(option.choices.joined(separator: " ")))"
                    lines += "    '\(name)[\(help)]\(value)' \\\n"
                }
            }
            let rest =
                switch words(verb) {
                case .images: "'*:image or command:_files'"
                case .containers: "\"*:container:($(codex32 list --format '{{.Name}}' 2> /dev/null))\""
                case .shells: "'*:shell:(bash zsh fish)'"
                case .nothing: "'*: :'"
                }
            cases += "    \(verb.page.name)) _arguments \\\n\(lines)    \(rest);;\n"
        }
        return """
            #compdef codex32
            _codex32() {
              if (( CURRENT == 2 )); then compadd \(verbNames); return; fi
              case $words[2] in
            \(cases)  esac
            }
            _codex32 "$@"

            """
    }

    // MARK: fish

    private static var fish: String {
        var text = "# fish completion for codex32\n"
        for (verb, _) in Verbs.all {
            let summary = verb.page.summary.exchanging(["'": ""])
            text += "complete -c codex32 -n __fish_use_subcommand -f -a \(verb.page.name) -d '\(summary)'\n"
            let seen = "complete -c codex32 -n '__fish_seen_subcommand_from \(verb.page.name)'"
            switch words(verb) {
            case .containers: text += "\(seen) -f -a \"(codex32 list --format '{{.Name}}' 2> /dev/null)\"\n"
            case .shells: text += "\(seen) -f -a 'bash zsh fish'\n"
            case .images, .nothing: break
            }
            for option in verb.page.options {
                var line = seen
                for name in option.names {
                    line += name.hasPrefix("--") ? " -l \(name.dropFirst(2))" : " -s \(name.dropFirst())"
                }
                if option.value != nil {
                    line += option.choices.isEmpty ? " -r" : " -x -a '\(option.choices.joined(separator: " "))'"
                }
                text += line + " -d '\(option.help.exchanging(["'": ""]))'\n"
            }
        }
        return text
    }
}
