internal import Images
internal import LinuxKernel
internal import Sandbox

/// Everything that `create` was asked for: a run, and how it is looked after.
public struct ContainerConfiguration: Sendable {
    public var run: RunConfiguration
    /// In the order in which they were given; a key stands once.
    public var labels: [(key: String, value: String)] = []
    public var restart = RestartPolicy.no
    public var log = LogPolicy()
    public var health: HealthCheck?
    public var orphan = OrphanPolicy.end
    /// Removed as soon as it has ended (`--rm`).
    public var removesItself = false

    public init(run: RunConfiguration) { self.run = run }
}

/// When a container that has ended is started again.
public enum RestartPolicy: Equatable, Sendable {
    case no
    /// After a failure, at most so many times; nil: without end.
    case onFailure(most: UInt64?)
    case always
    /// As ``always``, but a container that was stopped by a person stays so after a reboot.
    case unlessStopped

    /// Docker's words: "no", "on-failure", "on-failure:3", "always", "unless-stopped"; nil for anything else.
    public init?(_ text: String) {
        switch text {
        case "no": self = .no
        case "on-failure": self = .onFailure(most: nil)
        case "always": self = .always
        case "unless-stopped": self = .unlessStopped
        default:
            guard text.hasPrefix("on-failure:"), let most = UInt64(text.dropFirst(11)), most > 0, most < 1 << 31 else {
                return nil
            }
            self = .onFailure(most: most)
        }
    }

    public var text: String {
        switch self {
        case .no: "no"
        case .onFailure(nil): "on-failure"
        case .onFailure(let most?): "on-failure:\(most)"
        case .always: "always"
        case .unlessStopped: "unless-stopped"
        }
    }

    /// Whether a run that ended with this status is followed by another.
    func restarts(status: Int32, soFar far: UInt64, stopped: Bool) -> Bool {
        if stopped { return false }
        switch self {
        case .no: return false
        case .onFailure(let most): return status != 0 && (most.map { far < $0 } ?? true)
        case .always, .unlessStopped: return true
        }
    }

    /// Nanoseconds to wait before the next start: 100 ms, doubled each time, at most a minute; a run of
    /// ten seconds begins anew, as with Docker.
    static func delay(after failures: UInt64) -> Int64 {
        min(100_000_000 << Int64(min(failures, 10)), longestDelay)
    }

    static let longestDelay: Int64 = 60_000_000_000
}

/// What is kept of a program's output.
public struct LogPolicy: Equatable, Sendable {
    public enum Format: String, CaseIterable, Sendable {
        /// Docker's json-file: one object a line.
        case json
        /// The bytes as they come, without time or stream.
        case raw
        case none
    }
    public var format = Format.json
    /// Bytes of one file.
    public var fileSize: UInt64 = 10 << 20
    public var files: UInt64 = 3
    public init() {}
}

/// A command that is run inside now and then to see whether the program is well.
public struct HealthCheck: Equatable, Sendable {
    public var command: [String]
    /// Nanoseconds, as the other times here.
    public var interval: Int64 = 30_000_000_000
    public var timeout: Int64 = 30_000_000_000
    /// During this time after the start a failure does not count.
    public var startPeriod: Int64 = 0
    /// So many failures in a row make it unhealthy.
    public var retries: UInt64 = 3
    public init(command: [String]) { self.command = command }
}

extension RunConfiguration {
    /// Makes what was meant from here hold from anywhere: a supervisor has another working folder.
    public mutating func settle() {
        // Minimal shows the host's tree unless the image is a folder, and there a program begins in the caller's.
        if request.level == .minimal, workingFolder == nil,
            case .assembled? = try? image.resolve(store: storage.data, progress: { _ in }).root
        {
            workingFolder = Machine.workingFolder
        }
        image = image.settled
        if let (path, target) = workspace { workspace = (Preparation.absolute(path), target) }
    }
}
