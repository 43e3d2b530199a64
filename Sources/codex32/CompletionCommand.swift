internal import LinuxKernel

/// `codex32 completion SHELL`: scripts made from the option tables.
enum CompletionCommand {
    private static let shells = ["bash", "zsh", "fish"]

    static func run(_ words: [String]) throws(Problem) -> Int32 {
        switch words.first {
        case "bash": StandardStream.output.print(bash)
        case "zsh": StandardStream.output.print(zsh)
        case "fish": StandardStream.output.print(fish)
        case "--help", "-h":
            StandardStream.output.print(
                "Usage: codex32 completion bash|zsh|fish\n\nPrint a completion script: source <(codex32 completion bash)\n"
            )
        default:
            let what = words.first.map { "cannot use the shell \($0)" } ?? "no shell"
            throw Problem(what, "completion knows \(shells.joined(separator: ", "))", hint: "codex32 completion bash")
        }
        return 0
    }

    private static var verbs: String { HelpText.commands.map(\.name).joined(separator: " ") }

    /// One case for each option that has a choice of values, files for the rest.
    private static var bash: String {
        var cases = ""
        for option in RunOptions.command.options where !option.choices.isEmpty {
            cases +=
                "    \(option.names.joined(separator: "|"))) COMPREPLY=($(compgen -W '\(option.choices.joined(separator: " "))' -- \"$word\")); return;;\n"
        }
        let options = RunOptions.command.options.flatMap(\.names).joined(separator: " ")
        return """
            # bash completion for codex32
            _codex32() {
              local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
              if [ "$COMP_CWORD" -eq 1 ]; then COMPREPLY=($(compgen -W '\(verbs)' -- "$word")); return; fi
              [ "${COMP_WORDS[1]}" = run ] || { [ "${COMP_WORDS[1]}" = completion ] && COMPREPLY=($(compgen -W 'bash zsh fish' -- "$word")); return; }
              case $before in
            \(cases)  esac
              if [[ $word == -* ]]; then COMPREPLY=($(compgen -W '\(options)' -- "$word")); return; fi
              COMPREPLY=($(compgen -f -- "$word") $(compgen -W 'template:host template:busybox template:python template:debian' -- "$word"))
            }
            complete -o filenames -F _codex32 codex32

            """
    }

    private static var zsh: String {
        var lines = ""
        for option in RunOptions.command.options {
            for name in option.names {
                let help = option.help.replacing("[", with: "(").replacing("]", with: ")").replacing("'", with: "")
                    .replacing(":", with: " ")
                let value =
                    option.value == nil
                    ? ""
                    : option.choices.isEmpty ? ":value:_files" : ":value:(\(option.choices.joined(separator: " ")))"
                lines += "    '\(name)[\(help)]\(value)' \\\n"
            }
        }
        return """
            #compdef codex32
            _codex32() {
              if (( CURRENT == 2 )); then compadd \(verbs); return; fi
              case $words[2] in
                completion) compadd bash zsh fish;;
                run) _arguments \\
            \(lines)    '*:image or command:_files';;
              esac
            }
            _codex32 "$@"

            """
    }

    private static var fish: String {
        var text = "# fish completion for codex32\n"
        for command in HelpText.commands {
            text += "complete -c codex32 -n __fish_use_subcommand -f -a \(command.name) -d '\(command.summary)'\n"
        }
        text += "complete -c codex32 -n '__fish_seen_subcommand_from completion' -f -a 'bash zsh fish'\n"
        for option in RunOptions.command.options {
            var line = "complete -c codex32 -n '__fish_seen_subcommand_from run'"
            for name in option.names {
                line += name.hasPrefix("--") ? " -l \(name.dropFirst(2))" : " -s \(name.dropFirst())"
            }
            if option.value != nil {
                line += option.choices.isEmpty ? " -r" : " -x -a '\(option.choices.joined(separator: " "))'"
            }
            text += line + " -d '\(option.help.replacing("'", with: ""))'\n"
        }
        return text
    }
}
