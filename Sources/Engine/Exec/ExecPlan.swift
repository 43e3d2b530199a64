internal import Images
internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// From a container's record and what `exec` was asked for to the plan of a second program.
enum ExecPlan {
    /// The container's own request, with this program in the place of its first one.
    ///
    /// Nothing of the host's files is looked at but the image's name: the container runs whatever became of them.
    static func request(_ record: ContainerRecord, storage: Storage) throws(Problem) -> SandboxRequest {
        let configuration: ContainerConfiguration
        do throws(DocumentError) {
            configuration = try ContainerConfiguration(
                withoutSources(record.configuration), name: record.name, labels: [], storage: storage)
        } catch {
            throw Problem(
                "cannot enter \(record.name)", error.description,
                hint: "codex32 inspect \(record.name) shows its record")
        }
        var request = configuration.run.request
        let isScript = isScript(configuration.run.image)
        request.root =
            switch (isScript, request.level) {
            case (true, .minimal): .host
            case (true, _): .assembled([])
            case (false, _): .folder(HostPath("/", try root()), present: [])
            }
        // The wall around the root has doors to them, as it has for the container's own program.
        request.volumes += try OwnVolumes.planned(configuration.run)
        if let (path, target) = configuration.run.workspace {
            request.volumes.append(Volume(source: HostPath(path, try root()), target: target))
        }
        request.readOnly = configuration.run.readOnly ?? (request.level == .strict)
        let usual: String
        switch configuration.run.image {
        case .path where isScript: usual = ScriptImage.folder
        case .stored(let image) where image.isScript: usual = ScriptImage.folder
        default: usual = "/"
        }
        request.workingFolder = configuration.run.workingFolder ?? usual
        request.reaper = false
        request.hold = false
        // What is told belongs to the verdict, and this program has none.
        request.explains = false
        return request
    }

    private static func root() throws(Problem) -> FileStatus {
        try explaining("cannot look at the root") { () throws(KernelError) in try Descriptor.status(ofPath: "/") }
    }

    /// An image that is put together from the machine's files. One that is gone counts as a folder: the wall
    /// around that is the higher one.
    private static func isScript(_ image: ImageReference) -> Bool {
        switch image {
        case .stored: return false
        case .path(let path):
            guard let kind = try? Descriptor.status(ofPath: path).kind else { return false }
            return kind != .folder
        case .template(let name):
            if case .assembled? = try? Template.named(name).kind { return true }
            return false
        }
    }

    /// The configuration with the container's mounts, but not with where they came from.
    private static func withoutSources(_ configuration: JSON) -> JSON {
        var result = configuration.replacing("devices", .array([]))
        if case .array(let volumes)? = configuration["volumes"] {
            result = result.replacing("volumes", .array(volumes.map { $0.replacing("source", .string("/")) }))
        }
        return result
    }

    /// The cgroup as the container's own planning had it: with the controllers that its limits could use.
    static func place(
        _ cgroup: borrowing Descriptor?, _ record: ContainerRecord
    ) -> Result<CgroupPlace, CgroupPlace.Missing> {
        switch cgroup {
        case .some(let folder):
            let controllers = (try? folder.contents(of: "cgroup.controllers")) ?? ""
            return .success(CgroupPlace(path: record.cgroup ?? "", controllers: CaseSet(words: controllers)))
        case .none: return .failure(CgroupPlace.Missing("the container has none", hint: ""))
        }
    }

    /// Puts this program into the request.
    static func apply(
        _ configuration: ExecConfiguration, to request: inout SandboxRequest, _ process: borrowing ContainerProcess
    ) throws(Problem) {
        request.command = configuration.command
        request.terminal = configuration.terminal
        if let folder = configuration.workingFolder { request.workingFolder = folder }
        if let text = configuration.user {
            let root = try explaining("cannot use -u \(text)") { () throws(KernelError) in
                try process.folder.open("root", [.pathOnly, .folder])
            }
            request.user = try ExecUser(root: root).resolve(text)
            set("HOME", request.user.home, in: &request)
        }
        if configuration.terminal, !request.environment.contains(where: { $0.hasPrefix("TERM=") }) {
            set("TERM", Machine.environment("TERM") ?? "xterm", in: &request)
        }
        for variable in configuration.environment { set(variable.name, variable.value, in: &request) }
    }

    private static func set(_ name: String, _ value: String, in request: inout SandboxRequest) {
        request.environment.removeAll { $0.hasPrefix(name + "=") }
        request.environment.append("\(name)=\(value)")
    }
}
