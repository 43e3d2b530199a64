internal import Images
internal import LinuxKernel
internal import Sandbox

/// From what was seen of a run to a profile, and what a person is told about it.
struct Lessons {
    private let observer: RunObserver
    private let configuration: RunConfiguration
    private(set) var words: [String] = []

    init(_ observer: RunObserver, _ configuration: RunConfiguration) {
        (self.observer, self.configuration) = (observer, configuration)
    }

    mutating func profile(headroom: UInt64) -> LearnedProfile {
        let level = configuration.request.level
        let profile = LearnedProfile(
            architecture: Machine.architecture, level: level, image: configuration.image.text, headroom: headroom,
            calls: calls(), volumes: volumes(), observed: figures(), missing: observer.volumes.missing)
        for path in profile.missing {
            words.append("looked for \(path), which is not there: -v would give it a folder")
        }
        let (observed, limits) = (profile.observed, profile.limits)
        if let memory = observed.memoryBytes, limits.memoryBytes == nil {
            words.append(
                "it used \(memory >> 20) MiB, which is more than \(level.rawValue) gives: say -m with the profile")
        }
        if let count = observed.processes, limits.processes == nil {
            words.append("it had \(count) processes, which is more than \(level.rawValue) gives: say --pids-limit too")
        }
        return profile
    }

    /// By name. Of one that the level lets through with some arguments alone the others are refused as before.
    private mutating func calls() -> Set<String> {
        let architecture = SeccompBuilder.nativeArchitecture
        let data = { (number: Int32) in
            SystemCallData(number: number, architecture: architecture, arguments: [0, 0, 0, 0, 0, 0])
        }
        var names: Set<String> = []
        for number in observer.numbers {
            let name = data(number).name
            // One without a name is none that a profile could have: the kernel, or the filter, has refused it.
            if SystemCallNumber(name: name)?.number == number { names.insert(name) }
        }
        words.append("it made \(names.count) different system calls beside those of every program")
        // With those that are not told of, where the level lets them through.
        for name in LearnedCalls.plain {
            guard let known = SystemCallNumber(name: name), known.number >= 0 else { continue }
            if observer.filtered?.allows(data(known.number)) == true { names.insert(name) }
        }
        return names
    }

    private mutating func volumes() -> [LearnedProfile.Mount] {
        var mounts: [LearnedProfile.Mount] = []
        for volume in configuration.request.volumes {
            guard let readOnly = access(volume.target, asked: volume.readOnly) else { continue }
            mounts.append(
                .init(
                    source: Lessons.plain(volume.source.path), target: volume.target, readOnly: readOnly,
                    noExecute: volume.noExecute, mapOwners: volume.mapOwners))
        }
        for target in configuration.ownVolumes where access(target, asked: false) != nil {
            mounts.append(.init(source: nil, target: target, readOnly: false, noExecute: false, mapOwners: nil))
        }
        return mounts
    }

    /// Without what says nothing: the same folder has the same path each time.
    private static func plain(_ path: String) -> String {
        "/" + path.split(separator: "/").filter { $0 != "." }.joined(separator: "/")
    }

    /// Whether a volume is to be read-only; nil: it is left out.
    private mutating func access(_ target: String, asked: Bool) -> Bool? {
        if observer.isBlind {
            words.append("the volume \(target) stays as it was given: the program has ways to files that are not seen")
            return asked
        }
        switch observer.volumes.use(of: target) {
        case .none:
            words.append("the volume \(target) was not used: the profile is without it")
            return nil
        case .read:
            if !asked { words.append("the volume \(target) was only read: it is read-only in the profile") }
            return true
        case .written: return asked
        }
    }

    /// What the program took; nil where it ended before it had taken all that it would.
    private mutating func figures() -> LearnedLimits {
        var seen = LearnedLimits()
        let (processes, verdict) = (observer.processes, observer.verdict)
        seen.processes = max(processes.mostThreads, verdict?.peakPids ?? 0) + (configuration.request.reaper ? 1 : 0)
        if processes.mostDescriptors > 0 { seen.openFiles = processes.mostDescriptors }
        seen.fileBytes = processes.largestFile(opened: observer.volumes.largestOpened).map { max($0, 1) }
        if let peak = verdict?.peakMemoryBytes, peak > 0 {
            // Without a count of all together it is the largest one's, and at most so many of that size at once.
            let (together, isHuge) = peak.multipliedReportingOverflow(
                by: observer.countsTogether ? 1 : processes.mostProcesses)
            if !isHuge { seen.memoryBytes = together }
        }
        guard let verdict, verdict.reason == .exited, !observer.wasAskedToEnd else {
            words.append("it did not end by itself: the profile has no limits of time")
            return seen
        }
        seen.wallSeconds = Lessons.whole(verdict.wallSeconds)
        if let user = verdict.cpuUserSeconds, let system = verdict.cpuSystemSeconds {
            seen.cpuSeconds = Lessons.whole(user + system)
        }
        if verdict.exitCode != 0 {
            words.append(
                "it ended with status \(verdict.status): what it did until then is in the profile, and no more")
        }
        return seen
    }

    private static func whole(_ seconds: Double?) -> UInt64? {
        seconds.flatMap { $0 >= 0 && $0 < 1e12 ? UInt64($0.rounded(.up)) : nil }.map { max($0, 1) }
    }
}
