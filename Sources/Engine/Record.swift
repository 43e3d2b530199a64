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
    /// What it was asked for, as a container's record has it; null: that is too much to keep here.
    private var configuration = JSON.null

    init(id: String, configuration: RunConfiguration, image: String, started: Int64) {
        self.id = id
        self.image = image
        self.started = started
        name = configuration.name
        isolation = configuration.request.level.rawValue
    }

    /// With what the plan says.
    func described(_ plan: LaunchPlan) -> Record {
        var record = self
        record.command = plan.arguments
        record.cgroupParent = plan.cgroup?.place.path
        record.waived = plan.notices.filter(\.waived).map(\.item.name)
        return record
    }

    /// Not `joined`: see ``IdentityMap``.
    private var commandLine: String {
        var text = ""
        for (index, word) in command.enumerated() { text += index == 0 ? word : " " + word }
        return text
    }

    /// Bytes of texts of any length that a configuration may have: other commands read a record up to 1 MiB.
    private static let most = 1 << 17

    /// Adds what `exec` needs, while the child is busy: it takes a moment.
    mutating func keep(_ asked: RunConfiguration) {
        let texts = asked.request.environment + asked.arguments + (asked.entrypoint ?? [])
        let length = texts.reduce(asked.request.seccompProfile?.bytes.count ?? 0) { $0 + $1.utf8.count }
        guard length < Record.most else { return }
        var asked = asked
        asked.settle()
        // They are among the others by now.
        asked.ownVolumes = []
        asked.workspace = nil
        // To a second program the workspace is a volume like any other.
        if let mount = asked.request.workspace {
            asked.request.volumes.append(Volume(source: mount.source, target: mount.target))
        }
        configuration = ContainerConfiguration(run: asked).document
    }

    var document: JSON {
        .members([
            "schema": .integer(1), "id": .string(id), "name": .text(name), "image": .string(image),
            "command": .string(commandLine), "isolation": .string(isolation),
            "startedAt": .string(Timestamp.text(started)), "pid": .number(pid), "owner": .number(Machine.pid),
            "cgroupParent": .text(cgroupParent), "waived": .list(waived),
            "configuration": configuration,
        ])
    }
}
