internal import LinuxKernel
internal import OCISpec

/// What a start is about to make, written down beside the supervisor's socket before any of it is there.
///
/// The record says that a program runs only when it does; a supervisor that is killed before leaves this note, and by
/// it the next command finds the cgroup that nobody owns. It is not synced: it is about things that do not outlive the
/// kernel they are in. After a power loss it may be there, torn or not at all, and each of them means that there is
/// nothing to clear away. So a start syncs its record once, when the program runs.
struct StartNote {
    /// Its cgroup's folder on the host; nil: it has none.
    let cgroup: String?
    let supervisor: ProcessIdentity

    /// Whether the one who wrote it was a process of this boot: a cgroup of that path is the container's only then.
    var isOfThisBoot: Bool { supervisor.boot == ProcessIdentity.currentBoot }
}

extension ContainerFolder {
    private static let startNoteName = "start"

    /// Called by the supervisor, before it makes the cgroup.
    func note(_ start: StartNote) throws(Problem) {
        let json = JSON.members(["cgroup": .text(start.cgroup), "supervisor": start.supervisor.document])
        try explaining("cannot write down the start in \(runtimePath)") { () throws(KernelError) in
            try makeFolders(runtimePath).replace(
                ContainerFolder.startNoteName, with: json.text() + "\n", durable: false)
        }
    }

    /// A file beside the supervisor's socket; nil: there is none.
    ///
    /// - Throws: what kept it from being read: it may tell of something that nobody owns.
    func noted(_ name: String, limit: Int) throws(Problem) -> String? {
        try explaining("cannot read what is noted in \(runtimePath)") { () throws(KernelError) in
            try unlessMissing { () throws(KernelError) -> String in
                try Descriptor.open(runtimePath, [.read, .folder, .noFollow]).contents(of: name, limit: limit)
            }
        }
    }

    /// The note of the last start whose runtime folder was not cleared away; nil: there is none, or it is torn.
    func startNote() throws(Problem) -> StartNote? {
        guard let text = try noted(ContainerFolder.startNoteName, limit: 16384),
            let json = try? JSONReader.read(Array(text.utf8)), let object = try? JSONObject(json, at: "start"),
            let supervisor = try? object.object("supervisor").map(ProcessIdentity.decode)
        else { return nil }
        return StartNote(cgroup: (try? object.string("cgroup")) ?? nil, supervisor: supervisor)
    }
}
