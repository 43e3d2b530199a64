internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// What `update` asks for: limits, by their names in the record, and the restart policy.
struct ConfigurationChange: Sendable {
    private let limits: [JSON.Member]
    private let restart: RestartPolicy?

    static let changeable: Set<String> = [
        "memoryMax", "swapMax", "cpuQuota", "cpuWeight", "pidsMax", "cpus", "io", "ioWeight",
    ]

    init(_ json: JSON) throws(Problem) {
        do throws(DocumentError) {
            let top = try JSONObject(json, at: "change")
            try top.allow(only: ["limits", "restart"])
            var restart: RestartPolicy?
            if let text = try top.string("restart") {
                restart = RestartPolicy(text)
                if restart == nil { throw DocumentError("change.restart", "\(text) is no policy") }
            }
            self.restart = restart
            let object = try top.object("limits")
            try object?.allow(only: ConfigurationChange.changeable)
            limits = object?.others(than: []).filter { $0.value != .null } ?? []
        } catch { throw Problem("cannot update the container", error.description) }
    }

    /// The configuration with the changes in it, and the limits that this comes to.
    func applied(
        to record: ContainerRecord, storage: Storage
    ) throws(Problem) -> (configuration: JSON, limits: CgroupLimits) {
        var configuration = record.configuration
        if let restart { configuration = configuration.replacing("restart", .string(restart.text)) }
        var all = configuration["limits"] ?? .object([])
        for change in limits {
            // One device's limits leave those of the others alone, as a write to io.max does.
            let value = change.name == "io" ? (all["io"] ?? .object([])).merging(change.value) : change.value
            all = all.replacing(change.name, value)
        }
        configuration = configuration.replacing("limits", all)
        do throws(DocumentError) {
            return (configuration, try CgroupLimits(try JSONObject(all, at: "configuration.limits")))
        } catch { throw Problem("cannot update \(record.name)", error.description) }
    }
}

extension JSON {
    /// The object with one member's value exchanged, or added at the end.
    func replacing(_ name: String, _ value: JSON) -> JSON {
        guard case .object(var members) = self else { return self }
        if let index = members.firstIndex(where: { $0.name == name }) {
            members[index] = Member(name, value)
        } else {
            members.append(Member(name, value))
        }
        return .object(members)
    }

    /// The object with another's members put into it, and so on in the objects in both.
    fileprivate func merging(_ other: JSON) -> JSON {
        guard case .object = self, case .object(let members) = other else { return other }
        return members.reduce(self) { all, member in
            all.replacing(member.name, (all[member.name] ?? .null).merging(member.value))
        }
    }
}
