internal import Engine
internal import LinuxKernel
internal import OCISpec
internal import Sandbox

extension RunDraft: VerbDraft {}

/// `codex32 update`: other limits, another restart policy. Its options are those of `run` and `create`.
enum UpdateVerb {
    private static let limits: Set<String> = [
        "-m", "--memory-swap", "--cpu-limit", "--cpus", "--cpu-weight", "--cpuset", "--pids-limit", "--io-limit",
        "--io-weight",
    ]

    static let command = Command<RunDraft>(
        name: "update", synopsis: "codex32 update [OPTIONS] CONTAINER...",
        summary: "change limits and the restart policy of containers, while they run too",
        details: """
            What is not given stays as it is; none takes a limit away: -m none. Each container gets all of the changes, or, when one cannot be made, none.
            Of a running one the kernel's files are read back: --format json prints them.
            """,
        groups: [
            (
                "Limits",
                RunOptions.command.options.filter { !limits.isDisjoint(with: $0.names) }
            ),
            (
                "Options",
                LifecycleOptions.all.filter { $0.names.contains("--restart") } + [
                    .option("--format", value: "FORMAT", help: "table or json", choices: Format.choices) {
                        draft, text throws(Problem) in
                        draft.format = text
                        draft.formatWasChosen = true
                    }
                ]
            ), CommonOptions.group(),
        ])

    static let verb = Verb(command) { words throws(Problem) in
        guard let (draft, names) = try command.read(words, RunDraft(), count: 1...Int.max, what: "container") else {
            return 0
        }
        let format = draft.formatWasChosen ? try Format(draft.format) : .table
        if draft.request.limits == CgroupLimits(), draft.memorySwap == nil, draft.life.restart == nil {
            throw Problem("nothing to update", "no limit and no policy is given", hint: "codex32 update --help")
        }
        let containers = try CommonOptions.containers(draft)
        var documents: [JSON] = []
        let status = forEach(names) { name throws(Problem) in
            let record = try containers.find(name)
            let inForce = try containers.update(record.id, try draft.change(of: record))
            let after = try containers.find(record.id)
            documents.append(
                .members([
                    "id": .string(after.id), "name": .string(after.name), "state": .string(after.state.kind.rawValue),
                    "limits": after.configuration["limits"] ?? .null,
                    "restart": after.configuration["restart"] ?? .null, "inForce": inForce,
                ]))
            if case .table = format { StandardStream.output.print(name + "\n") }
        }
        switch format {
        case .table: break
        case .json: StandardStream.output.print(JSON.array(documents).text(pretty: true) + "\n")
        case .template(let template):
            for document in documents { StandardStream.output.print(try template.text(document) + "\n") }
        }
        return status
    }
}

extension RunDraft {
    /// What was given, as the engine takes it. Memory and swap together are counted from the container's own memory
    /// limit, where no other is given.
    fileprivate func change(of record: ContainerRecord) throws(Problem) -> JSON {
        var request = request
        if request.limits.memoryMax == nil {
            let now: UInt64? =
                switch record.configuration["limits"]?["memoryMax"] {
                case .integer(let bytes)?: UInt64(exactly: bytes)
                case .unsigned(let bytes)?: bytes
                default: nil
                }
            request.limits.memoryMax = now
            try applySwap(&request)
            request.limits.memoryMax = nil
        } else {
            try applySwap(&request)
        }
        var members: [JSON.Member] = []
        if request.limits != CgroupLimits() {
            guard case .object(let all) = request.limits.document else { return .null }
            let given = all.filter { $0.value != .null && $0.value != .object([]) }
            members.append(.init("limits", .object(given)))
        }
        if let restart = life.restart { members.append(.init("restart", .string(restart.text))) }
        return .object(members)
    }
}
