internal import Engine
internal import LinuxKernel
internal import OCISpec

/// `codex32 port`: which ports of the machine lead into a container.
enum PortVerb {
    static let command = Command<PlainDraft>(
        name: "port", synopsis: "codex32 port [OPTIONS] CONTAINER",
        summary: "show the machine's ports that lead into a container: none yet",
        details: """
            codex32 publishes no ports yet: a container has a network of its own, which nothing outside can reach, or, with
            --network host, the machine's, where it listens as any program does. So this prints nothing, and for the
            latter says so on standard error.
            """,
        groups: [CommonOptions.group()])

    static let verb = Verb(command) { words throws(Problem) in
        guard let (draft, names) = try command.read(words, PlainDraft(), count: 1...1, what: "container") else {
            return 0
        }
        let record = try CommonOptions.containers(draft).find(names[0])
        // At minimal the network is the machine's when nothing is said.
        let mode = record.configuration["network"]
        if mode == .string("host") || (record.isolation == "minimal" && (mode ?? .null) == .null) {
            StandardStream.error.print(
                "codex32: \(record.name) has the machine's network: the ports it listens on are the machine's own\n")
        }
        return 0
    }
}
