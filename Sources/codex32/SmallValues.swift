internal import LinuxKernel

/// `-e` and `--env-file`.
enum EnvironmentValue {
    static func set(_ text: String, in draft: inout RunDraft) throws(Problem) {
        // By bytes: an "=" with a combining sign behind it is one Character, and no "=".
        let equals = text.utf8.firstIndex(of: UInt8(ascii: "="))
        let name = equals.map { String(text[..<$0]) } ?? text
        guard !name.isEmpty, !text.utf8.contains(0) else { throw Value.wrong("-e", text, "NAME=VALUE or NAME") }
        if let equals {
            draft.setEnvironment(name, String(text[text.utf8.index(after: equals)...]))
        } else if let value = Machine.environment(name) {
            draft.setEnvironment(name, value)
        }
    }

    /// Lines as Docker reads them: blank ones and those that begin with # are passed over.
    static func read(_ path: String, into draft: inout RunDraft) throws(Problem) {
        let text = try explaining("cannot read --env-file \(path)", hint: "name a file of lines NAME=VALUE") {
            () throws(KernelError) in
            try Descriptor.contents(of: path, limit: 1 << 20)
        }
        for line in text.split(separator: "\n") {
            let trimmed = line.drop { $0 == " " || $0 == "\t" }
            if trimmed.isEmpty || trimmed.first == "#" { continue }
            try set(String(trimmed), in: &draft)
        }
    }
}

/// `--ulimit NAME=SOFT[:HARD]`.
enum UlimitValue {
    static func parse(_ text: String) throws(Problem) -> ResourceLimit {
        let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
        guard parts.count == 2, let number = ResourceLimit.number(parts[0]) else {
            let names = ResourceLimit.known.map(\.name).joined(separator: ", ")
            throw Problem("cannot use --ulimit \(text)", "it must be NAME=SOFT[:HARD]", hint: "the names are \(names)")
        }
        var values: [UInt64] = []
        for part in parts[1].split(separator: ":", omittingEmptySubsequences: false) {
            if part == "unlimited" || part == "-1" {
                values.append(ResourceLimit.unlimited)
            } else {
                values.append(try Value.whole(String(part), option: "--ulimit \(parts[0])", 0...UInt64(Int64.max)))
            }
        }
        guard values.count <= 2, let soft = values.first, let hard = values.last, soft <= hard else {
            throw Value.wrong("--ulimit", text, "SOFT or SOFT:HARD, and the soft limit no higher than the hard one")
        }
        return ResourceLimit(resource: number, soft: soft, hard: hard)
    }
}

/// `--sysctl NAME=VALUE`: only those that belong to the sandbox's own namespaces.
enum SysctlValue {
    static func parse(_ text: String) throws(Problem) -> (name: String, value: String) {
        let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
        guard parts.count == 2 else { throw Value.wrong("--sysctl", text, "NAME=VALUE") }
        let own = ["net.", "kernel.shm", "kernel.msg", "fs.mqueue."]
        guard parts[0] == "kernel.sem" || own.contains(where: { parts[0].hasPrefix($0) }),
            !parts[0].contains("/"),
            !parts[0].split(separator: ".", omittingEmptySubsequences: false).contains(where: \.isEmpty)
        else {
            throw Problem(
                "cannot use --sysctl \(text)", "it would change the machine, not only the sandbox",
                hint: "net.*, kernel.shm*, kernel.msg*, kernel.sem and fs.mqueue.* can be set")
        }
        return (parts[0], parts[1])
    }
}
