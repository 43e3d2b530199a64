/// codex32(1), in man(7)'s macros, from the same tables as `--help`.
enum ManPage {
    static var text: String {
        var text = """
            .TH CODEX32 1 "" "codex32 \(VersionCommand.version)" "User Commands"
            .SH NAME
            codex32 \\- run programs in sandboxes, with no daemon
            .SH SYNOPSIS
            .B codex32
            \\fICOMMAND\\fR [\\fIOPTIONS\\fR] ...
            .SH DESCRIPTION
            codex32 runs a program in namespaces, a cgroup, behind seccomp and Landlock, at one of three levels of
            isolation: minimal, standard, strict. What was asked for is read back from the kernel.

            """
        for (verb, aliases) in Verbs.all { text += page(verb.page, aliases) }
        return text + """
            .SH ENVIRONMENT
            .TP
            .B CODEX32_ISOLATION_LEVEL, CONTAINER_ISOLATION_LEVEL
            The level when \\-\\-isolation is not given.
            .TP
            .B CODEX32_STORAGE_DIR, CONTAINER_STORAGE_DIR
            The storage folder when \\-\\-root is not given.
            .SH FILES
            .TP
            .I /var/lib/codex32, /run/codex32
            Root's storage. A user's is in \\fI$XDG_DATA_HOME/codex32\\fR and \\fI$XDG_RUNTIME_DIR/codex32\\fR.
            .SH SEE ALSO
            .BR namespaces (7),
            .BR cgroups (7),
            .BR seccomp (2),
            .BR landlock (7)

            """
    }

    private static func page(_ page: CommandPage, _ aliases: [String]) -> String {
        var text = ".SH \(page.name.uppercased())\n.nf\n\(escaped(page.synopsis))\n.fi\n.PP\n"
        text += escaped(HelpText.capitalized(page.summary)) + ".\n"
        if !aliases.isEmpty { text += "Also called \(aliases.joined(separator: ", ")).\n" }
        if !page.details.isEmpty { text += ".PP\n.nf\n\(escaped(page.details))\n.fi\n" }
        for group in page.groups {
            text += ".SS \(page.name): \(group.title.lowercased())\n"
            for option in group.options {
                text += ".TP\n.B \(escaped(HelpText.names(option)))\n\(escaped(option.help))\n"
            }
        }
        return text
    }

    /// A dash that is one, and no line that begins like a macro.
    private static func escaped(_ text: String) -> String {
        text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
            line.map { $0 == "\\" ? "\\e" : $0 == "-" ? "\\-" : String($0) }.joined()
        }
        .map { $0.hasPrefix(".") || $0.hasPrefix("'") ? "\\&" + $0 : String($0) }.joined(separator: "\n")
    }
}
