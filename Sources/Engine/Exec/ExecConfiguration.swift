internal import LinuxKernel

/// What `exec` was asked for: a second program in a container that runs.
public struct ExecConfiguration: Sendable {
    /// The program and its arguments.
    public var command: [String]
    /// As on the command line, "NAME=VALUE"; in front of the container's own environment.
    public var environment: [(name: String, value: String)] = []
    /// `-u` as given: looked up in the container's own files. Nil: the container's user.
    public var user: String?
    /// Nil: the container's.
    public var workingFolder: String?
    /// The caller's input goes to the program.
    public var interactive = false
    public var terminal = false
    /// It goes on when this command ends, and has no streams.
    public var detach = false
    /// Keys that end this command and leave the program alone; empty: none do.
    public var detachKeys: [UInt8] = []
    /// Nanoseconds until its process group is killed; nil: none.
    var timeLimit: Int64?

    public init(command: [String]) { self.command = command }
}
