internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// What is written down of a container while it runs (schema 1).
struct Record {
    let id: String
    let name: String?
    let image: String
    let isolation: String
    let started: Int64
    private(set) var command: [String] = []
    private(set) var cgroupParent: String?
    private(set) var waived: [String] = []
    var pid: Int32?

    init(id: String, configuration: RunConfiguration, image: String, started: Int64) {
        self.id = id
        self.image = image
        self.started = started
        name = configuration.name
        isolation = configuration.request.level.rawValue
    }

    /// Adds what the plan says.
    mutating func describe(_ plan: LaunchPlan) {
        command = plan.arguments
        cgroupParent = plan.cgroup?.place.path
        waived = plan.notices.filter(\.waived).map(\.item.name)
    }

    /// Not `joined`: see ``IdentityMap``.
    private var commandLine: String {
        var text = ""
        for (index, word) in command.enumerated() { text += index == 0 ? word : " " + word }
        return text
    }

    var document: JSON {
        .members([
            "schema": .integer(1), "id": .string(id), "name": .text(name), "image": .string(image),
            "command": .string(commandLine), "isolation": .string(isolation),
            "startedAt": .string(Timestamp.text(started)), "pid": .number(pid), "owner": .number(Machine.pid),
            "cgroupParent": .text(cgroupParent), "waived": .list(waived),
        ])
    }
}
