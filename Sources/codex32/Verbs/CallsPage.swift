internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// What `codex32 selftest --calls` shows: how many system calls each level lets through, beside other sandboxes, and one
/// level's groups with the reason of each.
struct CallsPage {
    private let lists: [(level: IsolationLevel, list: CallList)]
    /// Whose groups are shown.
    private let level: IsolationLevel

    init(_ level: IsolationLevel) throws(Problem) {
        guard let kernel = KernelVersion(Machine.kernelRelease) else {
            throw Problem("cannot read the kernel's version", Machine.kernelRelease)
        }
        self.level = level
        var lists: [(IsolationLevel, CallList)] = []
        for level in IsolationLevel.allCases {
            do { lists.append((level, try CallList(level, kernel: kernel))) } catch {
                throw Problem("cannot read the seccomp profile of \(level.rawValue)", error.description)
            }
        }
        self.lists = lists
    }

    private var groups: [CallList.Group] { lists.first { $0.level == level }?.list.groups ?? [] }

    var text: String {
        var rows = lists.map { ["codex32 \($0.level.rawValue)", String($0.list.allowed.count), ""] }
        rows += CallList.others.map { [$0.name, $0.calls.map { String($0) } ?? "all", $0.source] }
        var text = Table.text(["LETS THROUGH", "SYSTEM CALLS", ""], rows)
        for (isAllowed, title) in [(true, "lets these through"), (false, "refuses these with a word of its own")] {
            let shown = groups.filter { $0.isAllowed == isAllowed }
            guard !shown.isEmpty else { continue }
            text += "\n\(level.rawValue) \(title):\n"
            for group in shown {
                text += "\n\(group.why)\n"
                let calls = group.calls.joined(separator: " ")
                text += "  \(calls)\(group.isConditional ? " (with certain arguments)" : "")\n"
            }
        }
        return text
    }

    var document: JSON {
        .members([
            "schema": .integer(1), "architecture": .string(Machine.architecture),
            "levels": .object(lists.map { .init($0.level.rawValue, .number($0.list.allowed.count)) }),
            "others": .array(
                CallList.others.map {
                    .members(["name": .string($0.name), "calls": .number($0.calls), "source": .string($0.source)])
                }), "level": .string(level.rawValue),
            "groups": .array(
                groups.map {
                    .members([
                        "why": .string($0.why), "calls": .list($0.calls), "allowed": .bool($0.isAllowed),
                        "conditional": .bool($0.isConditional),
                    ])
                }),
        ])
    }
}
