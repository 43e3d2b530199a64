internal import LinuxKernel
public import OCISpec

/// The last checks of a container's health, as `inspect` shows them: `health.json` in its folder, of the present
/// or the last run.
struct HealthReport {
    /// As many as Docker keeps, and as much of what each wrote.
    static let checks = 5
    static let outputBytes = 4096
    static let name = "health.json"

    struct Entry {
        /// Nanoseconds since 1970.
        let start: Int64
        let end: Int64
        let exitStatus: Int32
        let output: String

        var document: JSON {
            .members([
                "start": .string(Timestamp.text(start)), "end": .string(Timestamp.text(end)),
                "exitStatus": .number(exitStatus), "output": .string(output),
            ])
        }
    }
    private(set) var entries: [Entry] = []

    mutating func add(_ entry: Entry) {
        entries.append(entry)
        if entries.count > HealthReport.checks { entries.removeFirst() }
    }

    func document(_ state: HealthState) -> JSON {
        .members([
            "status": .string(state.status.rawValue), "failingStreak": .number(state.failures),
            "log": .array(entries.map(\.document)),
        ])
    }
}

extension ContainerFolder {
    /// The last health checks; nil: none was made.
    public func healthReport() -> JSON? {
        guard let text = try? folder.contents(of: HealthReport.name, limit: 1 << 18) else { return nil }
        return try? JSONReader.read(Array(text.utf8))
    }
}
