public import Images
internal import LinuxKernel
public import Sandbox

/// Everything that `run` was asked for.
public struct RunConfiguration: Sendable {
    public var image: ImageReference
    public var arguments: [String] = []
    /// Instead of the image's own (`--entrypoint`); empty: none. Nil: the image's.
    public var entrypoint: [String]?
    /// All but what the image decides: its root, command and folders.
    public var request = SandboxRequest()
    /// Where inside the container has volumes of its own, in the order in which they were asked for.
    public var ownVolumes: [String] = []
    /// A folder of the host whose changes are kept beside it, and where the program sees it.
    public var workspace: (path: String, target: String)?
    public var name: String?
    public var workingFolder: String?
    public var readOnly: Bool?
    public var storage: Storage
    /// Nanoseconds.
    public var wallTime: Int64?
    /// Nanoseconds for all processes together.
    public var cpuTime: Int64?
    /// Bytes of standard output and error together.
    public var outputLimit: UInt64?
    public var stopSignal = Signal.terminate
    /// Nanoseconds between the stop signal and SIGKILL.
    public var stopTimeout: Int64 = 10_000_000_000
    public var interactive = false
    public var resultFile: String?
    public var receiptFile: String?
    public var quiet = false
    public var output = ProgramOutput.own

    public init(image: ImageReference, storage: Storage) {
        self.image = image
        self.storage = storage
    }
}

/// Where a program's standard output goes.
public enum ProgramOutput: Sendable {
    /// To codex32's.
    case own
    /// To codex32's standard error: its output has another use.
    case error
    case none
}
