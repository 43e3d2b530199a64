public import LinuxKernel
internal import OCISpec
internal import Sandbox

/// `codex32 learn`: a run in the foreground whose every call is seen, and what it needed, as a profile.
public enum Learn {
    /// Where the profile goes, and how it is made.
    public struct Wishes: Sendable {
        /// The file; nil: standard output.
        public var output: String?
        /// The file is there, and is widened.
        public var widens = false
        /// Percent above what was seen.
        public var headroom: UInt64 = 50

        public init() {}
    }

    /// Runs the program, writes the profile, and returns the program's own exit status.
    ///
    /// - Throws: what kept it from starting, or the profile from being written.
    public static func run(
        _ configuration: RunConfiguration, _ wishes: Wishes, report: (String) -> Void
    ) throws(Problem) -> Int32 {
        let destination = try ProfileDestination(wishes)
        // What cannot be widened is said before the program runs, and not after.
        let before = try destination.read()
        if let before, before.level != configuration.request.level || before.architecture != Machine.architecture {
            throw Problem(
                "cannot widen \(wishes.output ?? "")",
                "it is of \(before.level.rawValue) on \(before.architecture), and this run is not",
                hint: "--isolation \(before.level.rawValue), or --output for a new one")
        }
        let observer = RunObserver(
            targets: configuration.request.volumes.map(\.target) + configuration.ownVolumes)
        let status = try Run.run(configuration, observer: observer, report: report)
        guard observer.foreignCalls == 0 else {
            throw Problem(
                "cannot write a profile", "the program made calls of another architecture than this machine's own",
                hint: "32-bit and x32 programs cannot be learned; codex32 run needs no profile")
        }
        var lessons = Lessons(observer, configuration)
        let profile = lessons.profile(headroom: wishes.headroom)
        let written = try destination.write(profile)
        if configuration.quiet { return status }
        for line in lessons.words { report(line.quotedForTerminal) }
        if let output = wishes.output {
            let runs = written.runs == 1 ? "" : " of \(written.runs) runs"
            report("the profile\(runs) is \(output): codex32 run --profile \(output)".quotedForTerminal)
        }
        return status
    }
}

/// Where a profile is written: its folder is opened before anything starts.
struct ProfileDestination: ~Copyable {
    private let path: String?
    private let name: String
    private let folder: Descriptor?
    private let widens: Bool

    init(_ wishes: Learn.Wishes) throws(Problem) {
        let opened = try ProfileDestination.open(wishes)
        (path, widens) = (wishes.output, wishes.widens)
        name = wishes.output.map { ProfileDestination.parts($0).name } ?? ""
        folder = opened
    }

    private static func parts(_ path: String) -> (place: String, name: String) {
        guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return (".", path) }
        let name = String(path[path.utf8.index(after: slash)...])
        return (slash == path.startIndex ? "/" : String(path[..<slash]), name)
    }

    private static func open(_ wishes: Learn.Wishes) throws(Problem) -> Descriptor? {
        guard let path = wishes.output else { return nil }
        let (place, name) = parts(path)
        guard !name.isEmpty, name != ".", name != ".." else {
            throw Problem("cannot write the profile \(path)", "it names a folder", hint: "--output FILE")
        }
        let folder = try explaining(
            "cannot write the profile \(path)", hint: "its folder must exist and be writable"
        ) { () throws(KernelError) in
            let folder = try Descriptor.open(place, [.read, .folder])
            // Shows now, and not after the run, that the folder takes files.
            try folder.tryPut(name)
            return folder
        }
        if !wishes.widens, (try? folder.status(of: name)) != nil {
            throw Problem(
                "cannot write the profile \(path)", "it is there already",
                hint: "--append \(path) widens it, and --output names another")
        }
        return folder
    }

    /// The profile that is to be widened; nil: a new one is made.
    borrowing func read() throws(Problem) -> LearnedProfile? {
        guard widens, let path else { return nil }
        return try ProfileFile.read(path).profile
    }

    /// Writes the profile whole, or widens the one that is there by then: several runs may be learned from at once.
    borrowing func write(_ profile: LearnedProfile) throws(Problem) -> LearnedProfile {
        let what = "cannot write the profile \(path ?? "")"
        switch folder {
        case .some(let folder):
            return try locked(folder, what) { () throws(Problem) in
                var written = profile
                if let before = try read() {
                    written = before
                    do throws(DocumentError) { try written.widen(by: profile) } catch {
                        throw Problem(what, error.description, hint: "--output FILE makes a new one")
                    }
                }
                let text = written.document.text(pretty: true) + "\n"
                guard text.utf8.count <= LearnedProfile.largest else {
                    throw Problem(what, "it has more than \(LearnedProfile.largest >> 10) KiB", hint: "learn from less")
                }
                try explaining(what, hint: "free some space there, or name a file elsewhere") {
                    () throws(KernelError) in
                    try folder.put(name, with: text, mode: 0o644, durable: true)
                }
                return written
            }
        case .none:
            StandardStream.output.print(profile.document.text(pretty: true) + "\n")
            return profile
        }
    }

    /// The lock is the folder's own: the file is another one after each change.
    private borrowing func locked(
        _ folder: borrowing Descriptor, _ what: String, _ body: () throws(Problem) -> LearnedProfile
    ) throws(Problem) -> LearnedProfile {
        let lock = try explaining(what) { () throws(KernelError) in
            let lock = try folder.open(".", [.read, .folder])
            _ = try lock.lock(wait: true)
            return lock
        }
        defer { withExtendedLifetime(lock) {} }
        return try body()
    }
}
