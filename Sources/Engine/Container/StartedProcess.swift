internal import LinuxKernel
internal import OCISpec

/// The process that a start has made, noted beside the supervisor's socket before it may become the program.
///
/// The record says that a program runs only when it does. In between a supervisor may be killed, and a program that
/// escaped its end (prctl(2): it can ask not to be told of its parent's death) would be known to nobody. The note is
/// as short-lived as the process: it is not synced, and gone at a reboot.
extension ContainerFolder {
    private static let noteName = "process"

    /// Called by the supervisor, while the process waits.
    func note(_ pid: Int32) throws(Problem) {
        try explaining("cannot write down the process in \(runtimePath)") { () throws(KernelError) in
            guard let identity = try ProcessIdentity.find(pid) else { return }
            try makeFolders(runtimePath).replace(
                ContainerFolder.noteName, with: identity.document.text() + "\n", durable: false)
        }
    }

    /// The process of the last start; nil: there is no note of one, or it is torn.
    func notedProcess() throws(Problem) -> ProcessIdentity? {
        guard let text = try noted(ContainerFolder.noteName, limit: 4096),
            let json = try? JSONReader.read(Array(text.utf8)), let object = try? JSONObject(json, at: "process")
        else { return nil }
        return try? ProcessIdentity.decode(object)
    }
}
