public import LinuxKernel
public import OCISpec

/// What a level's profile says of system calls, for a person: which, and why.
public struct CallList: Sendable {
    /// Calls with one reason. The texts are the profile's own comments.
    public struct Group: Equatable, Sendable {
        public let why: String
        /// Those that this architecture has.
        public let calls: [String]
        /// Let through; else refused.
        public let isAllowed: Bool
        /// Only with certain arguments.
        public let isConditional: Bool
    }

    public let groups: [Group]
    /// All calls that are let through, some of them only with certain arguments.
    public let allowed: Set<String>

    /// What a level lets through with the capabilities that it usually gives; minimal's are its caller's, and none count.
    ///
    /// - Throws: what is wrong with the profile.
    public init(_ level: IsolationLevel, kernel: KernelVersion) throws(DocumentError) {
        let document = try JSONReader.read(level.seccompProfile)
        let profile = try SeccompProfile(document)
        let capabilities = level == .minimal ? [] : level.usualCapabilities
        let there = SeccompCompiler.Circumstances(
            capabilities: capabilities, architecture: Machine.architecture, kernel: kernel)
        var comments: [String] = []
        if case .array(let entries)? = document["syscalls"] {
            comments = entries.map { if case .string(let text)? = $0["comment"] { text } else { "" } }
        }
        var groups: [Group] = []
        var allowed: Set<String> = profile.defaultAction == .allow ? CallList.known : []
        for (index, rule) in profile.rules.enumerated() where try SeccompCompiler.applies(rule, there) {
            let calls = rule.names.filter { (SystemCallNumber(name: $0)?.number ?? -1) >= 0 }
            guard !calls.isEmpty else { continue }
            let isAllowed = rule.action == .allow
            groups.append(
                Group(
                    why: comments.indices.contains(index) ? comments[index] : "", calls: calls, isAllowed: isAllowed,
                    isConditional: !rule.arguments.isEmpty))
            if isAllowed { allowed.formUnion(calls) } else if rule.arguments.isEmpty { allowed.subtract(calls) }
        }
        self.groups = groups
        self.allowed = allowed
    }

    /// Every call of this architecture that has a name here.
    public static var known: Set<String> {
        Set(
            (0...SystemCallNumber.highestKnown).compactMap { number in
                let name = SystemCallData(
                    number: number, architecture: SeccompBuilder.nativeArchitecture, arguments: []
                ).name
                return name.hasPrefix("call ") ? nil : name
            })
    }

    /// What other sandboxes let through on x86-64, counted in their own sources.
    public static let others: [(name: String, calls: Int?, source: String)] = [
        ("Docker's default profile", 309, "moby/profiles, seccomp 0.2.3 of 2026-06, with Docker's usual capabilities"),
        ("bubblewrap", nil, "it brings no filter of its own"),
        (
            "gVisor, on the host", 96,
            "runsc of 2026-08 with systrap and directfs: its kernel's own calls, the program's never reach the host"
        ),
    ]
}
