internal import Engine
internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// `--profile FILE`: what was learned, put under what the other options say.
///
/// Options may ask for less than the profile gives, and nobody needs to know. Where they ask for more they are followed
/// too, for a person typed them: it is told. Calls are an exception: no option gives those back.
struct ProfileOption {
    private let path: String
    private let profile: LearnedProfile
    private let digest: String
    /// Where an option goes beyond the profile.
    private(set) var words: [String] = []

    init(_ path: String) throws(Problem) {
        self.path = path
        (profile, digest) = try ProfileFile.read(path)
        guard profile.architecture == Machine.architecture else {
            throw Problem(
                "cannot use the profile \(path)",
                "it was learned on \(profile.architecture), and this machine is \(Machine.architecture)",
                hint: "learn it here too: an architecture's calls are its own")
        }
    }

    /// The level that a run with this profile has.
    /// - Parameter chosen: what an option or the environment says; nil: neither says anything.
    mutating func level(_ chosen: IsolationLevel?) throws(Problem) -> IsolationLevel {
        guard let chosen, chosen != profile.level else { return profile.level }
        let order = IsolationLevel.allCases
        guard order.firstIndex(of: chosen) ?? 0 > order.firstIndex(of: profile.level) ?? 0 else {
            throw Problem(
                "cannot use the profile \(path)",
                "it was learned at \(profile.level.rawValue), and \(chosen.rawValue) keeps less in",
                hint: "--isolation \(profile.level.rawValue), or learn it at \(chosen.rawValue)")
        }
        words.append(
            "the profile was learned at \(profile.level.rawValue): at \(chosen.rawValue) the program may need others")
        return chosen
    }

    mutating func apply(to configuration: inout RunConfiguration) throws(Problem) {
        do throws(DocumentError) {
            configuration.request.learned = try LearnedCalls(name: path, digest: digest, calls: profile.calls)
        } catch {
            throw Problem("cannot use the profile \(path)", error.description, hint: "learn it anew")
        }
        try addVolumes(&configuration)
        limit(&configuration)
    }

    // MARK: Volumes

    private mutating func addVolumes(_ configuration: inout RunConfiguration) throws(Problem) {
        let asked = configuration.request.volumes
        let taken = Set(
            asked.map(\.target) + configuration.request.temporary.map(\.target) + configuration.ownVolumes
                + (configuration.workspace.map { [$0.target] } ?? []))
        for volume in asked {
            guard let known = profile.volumes.first(where: { $0.target == volume.target }) else {
                words.append("-v \(volume.target) is not in the profile")
                continue
            }
            if known.readOnly, !volume.readOnly { words.append("-v \(volume.target) is read-only in the profile") }
            if known.source != volume.source.path {
                words.append("-v \(volume.target) is \(known.source ?? "a new volume") in the profile")
            }
            if known.noExecute, !volume.noExecute { words.append("-v \(volume.target) is noexec in the profile") }
        }
        for mount in profile.volumes where !taken.contains(mount.target) {
            if let source = mount.source {
                configuration.request.volumes.append(try MountValue.volume(source, mount))
            } else {
                configuration.ownVolumes.append(try MountValue.target(mount.target, option: "--profile"))
            }
        }
    }

    // MARK: Limits

    private mutating func limit(_ configuration: inout RunConfiguration) {
        let (limits, most) = (profile.limits, LearnedLimits.most(configuration.request.level))
        // Never above the level's own, whatever somebody wrote into the file.
        let memory = limits.memoryBytes.map { min($0, most.memoryBytes ?? $0) }
        let processes = limits.processes.map { min($0, most.processes ?? $0) }
        lower(&configuration.request.limits.memoryMax, to: memory, "-m")
        lower(&configuration.request.limits.pidsMax, to: processes, "--pids-limit")
        for (name, value) in [("nofile", limits.openFiles), ("fsize", limits.fileBytes)] {
            guard let value, let number = ResourceLimit.number(name) else { continue }
            if let asked = configuration.request.resourceLimits.last(where: { $0.resource == number }) {
                if asked.soft > value { words.append("--ulimit \(name) is \(value) in the profile") }
            } else {
                // Its caller may have less.
                let here = min(value, ResourceLimit.hardest(number) ?? value)
                configuration.request.resourceLimits.append(ResourceLimit(resource: number, soft: here, hard: here))
            }
        }
        let times = (
            limits.wallSeconds.map(ProfileOption.nanoseconds), limits.cpuSeconds.map(ProfileOption.nanoseconds)
        )
        lower(&configuration.wallTime, to: times.0, "--timeout")
        lower(&configuration.cpuTime, to: times.1, "--cpu-time")
        configuration.request.cpuSeconds = configuration.cpuTime.map { UInt64(($0 + 999_999_999) / 1_000_000_000) }
    }

    private static func nanoseconds(_ seconds: UInt64) -> Int64 { Int64(min(seconds, 1 << 32)) * 1_000_000_000 }

    private mutating func lower<Number: Comparable>(_ asked: inout Number?, to value: Number?, _ option: String) {
        guard let value else { return }
        guard let own = asked else {
            asked = value
            return
        }
        if own > value { words.append("\(option) is more than the profile gives") }
    }
}
