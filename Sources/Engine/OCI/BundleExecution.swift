internal import LinuxKernel
internal import OCISpec

/// What `oci exec` is asked for.
public struct BundleExecution: Sendable {
    /// A file with a whole process (config.md, "Process"); nil: the container's own, with what is said below.
    public var processFile: String?
    public var arguments: [String] = []
    public var folder: String?
    public var environment: [String] = []
    public var user: (uid: UInt32, gid: UInt32?)?
    public var groups: [UInt32] = []
    public var capabilities: [String] = []
    public var terminal = false
    public var noNewPrivileges = false
    public var detach = false
    public var consoleSocket: String?
    public var pidFile: String?
    /// `--preserve-fds`.
    public var preserved = 0
    public var ignoresPause = false

    public init() {}

    /// - Parameter container: the process of the container's configuration.
    func process(_ container: SpecProcess) throws(Problem) -> SpecProcess {
        var process = container
        if let processFile {
            let bytes = try explaining("cannot read \(processFile)") { () throws(KernelError) in
                // Whatever the caller has there, a pipe too: it is the caller that waits.
                try Descriptor.open(processFile, [.read]).readAll(limit: 16 << 20)
            }
            do throws(DocumentError) {
                process = try SpecProcess(try JSONObject(try JSONReader.read(bytes), at: "process"))
            } catch { throw Problem("cannot use \(processFile)", error.description) }
        } else {
            process.terminal = false
        }
        if !arguments.isEmpty { process.arguments = arguments }
        if let folder { process.folder = folder }
        for variable in environment {
            let name = variable.prefix { $0 != "=" } + "="
            process.environment.removeAll { $0.hasPrefix(name) }
            process.environment.append(variable)
        }
        if let user {
            process.uid = user.uid
            if let gid = user.gid { process.gid = gid }
        }
        for group in groups where !process.groups.contains(group) { process.groups.append(group) }
        // Not inheritable, nor ambient: they would outlast any program that the first one runs (CVE-2022-29162).
        for set in capabilities.isEmpty ? [] : ["bounding", "effective", "permitted"] {
            process.capabilities[set, default: []] += capabilities
        }
        if terminal { process.terminal = true }
        if noNewPrivileges { process.noNewPrivileges = true }
        return process
    }
}
