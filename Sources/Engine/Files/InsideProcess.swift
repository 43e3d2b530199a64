internal import Images
internal import LinuxKernel
internal import OCISpec

/// codex32 as a container's root: a process of its own that goes into the container's user namespace and there reads
/// or writes its files, as an archive on its standard streams.
///
/// `codex32 inside ROOT NAMESPACE REPORT PARENT WORK...`: a verb that nobody types. In the namespace this process
/// has the container's ids and rights over the container's files, and over nothing else: a race that was lost to the
/// program would still be lost inside of its own walls. It is in none of the container's other namespaces, so nothing
/// in there sees it, and it dies with its parent.
public enum InsideProcess {
    public static let verb = "inside"

    enum Work {
        /// Writes a path to the standard output, as an archive.
        case pack(path: String, followLinks: Bool, wholeRoot: Bool)
        /// Reads an archive from the standard input. `name` is what was copied, nil: a stream as it is.
        case unpack(path: String, owners: Bool, isCopy: Bool, contents: Bool, stopped: Bool)
        /// Writes what the upper folder changes of the lower ones, top first; descriptors of the host. Or what a copy of
        /// them has otherwise since then.
        case compare(upper: Int32, lower: [Int32], since: CopyComparison.Moment? = nil)
        /// Writes the root to the standard output, as a layer of an image. Some paths are no part of it.
        case layer(LayerKind, leavesOut: [String])
        /// Copies an image's layers, top first, into the root; descriptors of the host.
        case copy(of: [Int32])

        var words: [String] {
            let flag = { (on: Bool) in on ? "1" : "0" }
            return switch self {
            case .pack(let path, let follow, let whole): ["pack", path, flag(follow), flag(whole)]
            case .unpack(let path, let owners, let isCopy, let contents, let stopped):
                ["unpack", path, flag(owners), flag(isCopy), flag(contents), flag(stopped)]
            case .compare(let upper, let lower, let since):
                ["compare", since?.text ?? "-", String(upper)] + lower.map { String($0) }
            case .layer(let kind, let leavesOut): ["layer", kind.rawValue] + leavesOut
            case .copy(let image): ["copy"] + image.map { String($0) }
            }
        }

        init?(_ words: ArraySlice<String>) {
            let words = Array(words)
            let on = { (index: Int) in words[index] == "1" }
            switch (words.first, words.count) {
            case ("pack", 4): self = .pack(path: words[1], followLinks: on(2), wholeRoot: on(3))
            case ("unpack", 6):
                self = .unpack(path: words[1], owners: on(2), isCopy: on(3), contents: on(4), stopped: on(5))
            case ("compare", 3...):
                let numbers = words.dropFirst(2).compactMap { Int32($0) }
                let since = CopyComparison.Moment(words[1])
                guard numbers.count == words.count - 2, numbers.allSatisfy({ $0 > 2 }), since != nil || words[1] == "-"
                else { return nil }
                self = .compare(upper: numbers[0], lower: Array(numbers.dropFirst()), since: since)
            case ("layer", 2...):
                guard let kind = LayerKind(rawValue: words[1]) else { return nil }
                self = .layer(kind, leavesOut: Array(words.dropFirst(2)))
            case ("copy", 2...):
                let numbers = words.dropFirst().compactMap { Int32($0) }
                guard numbers.count == words.count - 1, numbers.allSatisfy({ $0 > 2 }) else { return nil }
                self = .copy(of: numbers)
            default: return nil
            }
        }
    }

    enum LayerKind: String {
        /// All of it.
        case tree
        /// It is an overlay's upper folder: what it changes.
        case overlay
        /// What the standard input names, as `compare` writes it.
        case listed
    }

    // MARK: In the command

    /// What a helper has to say when it is done.
    final class Running {
        private let helper: HelperProcess
        private let report: Descriptor

        init(helper: HelperProcess, report: consuming Descriptor) {
            self.helper = helper
            self.report = report
        }

        /// Waits for the end.
        /// - Parameter known: why this side ended; it stands where the helper ended without a word of its own, as one
        ///   does whose reader went away.
        /// - Throws: what it could not do.
        func finish(after known: Problem? = nil, note: (String) -> Void) throws(Problem) {
            let what = "cannot reach the container's files"
            let bytes = try explaining(what) { () throws(KernelError) in try report.readAll(limit: 1 << 20) }
            let status = try explaining(what) { () throws(KernelError) in try helper.wait() }
            for line in bytes.split(separator: 10) {
                guard let json = try? JSONReader.read(Array(line)) else { continue }
                if case .string(let text)? = json["note"] { note(text) }
                if let problem = json["problem"] { throw Problem(problem) }
            }
            if let known { throw known }
            if status != 0 { throw Problem(what, "codex32's own process for it ended with status \(status)") }
        }
    }

    /// Starts the work. `input` and `output` stay the caller's.
    static func start(
        _ work: Work, in root: borrowing ContainerRoot, input: Int32, output: Int32, keep: [Int32] = []
    ) throws(Problem) -> Running {
        try start(
            work, root: root.root.number, namespace: root.namespace?.value.number, input: input, output: output,
            keep: keep)
    }

    /// - Parameters:
    ///   - root: a descriptor of a folder.
    ///   - namespace: of a user namespace; nil: this process's own.
    static func start(
        _ work: Work, root: Int32, namespace: Int32?, input: Int32, output: Int32, keep: [Int32] = []
    ) throws(Problem) -> Running {
        let what = "cannot reach the container's files"
        let pipe = try explaining(what) { () throws(KernelError) in try Descriptor.pipe() }
        let reading = Descriptor(owning: pipe.read)
        let writing = Descriptor(owning: pipe.write)
        let namespace = namespace ?? -1
        let words =
            [verb, String(root), String(namespace), String(writing.number), String(Machine.pid)]
            + work.words
        var kept = [root, writing.number] + keep
        if namespace >= 0 { kept.append(namespace) }
        let helper = try explaining(what) { () throws(KernelError) in
            try HelperProcess(words: words, input: input, output: output, keep: kept)
        }
        return Running(helper: helper, report: reading)
    }

    // MARK: In the helper

    /// The helper's whole life. Returns its exit status.
    public static func main(_ words: [String]) -> Int32 {
        guard words.count > 4, let root = Int32(words[0]), let namespace = Int32(words[1]),
            let report = Int32(words[2]), let parent = Int32(words[3]), root > 2, report > 2,
            let work = Work(words[4...])
        else {
            StandardStream.error.print("codex32: \(verb) is for codex32 itself: use cp, export or diff\n")
            return 125
        }
        let place = Descriptor(owning: root)
        let told = Report(Descriptor(owning: report))
        do throws(Problem) {
            let own = try explaining("cannot use /proc") { () throws(KernelError) in try OwnDescriptors() }
            try explaining("cannot enter the container's user namespace") { () throws(KernelError) in
                // Before and after: until then another process of the caller could trace this one, and later
                // one of the container's ids.
                try Machine.dieWith(parent: parent)
                if namespace >= 0 { try Machine.becomeRoot(of: Descriptor(owning: namespace)) }
                try Machine.dieWith(parent: parent)
            }
            try carryOut(work, place, own, told)
            return 0
        } catch {
            told.tell(.members(["problem": error.document]))
            return 125
        }
    }

    private static func carryOut(
        _ work: Work, _ root: borrowing Descriptor, _ own: consuming OwnDescriptors, _ told: Report
    ) throws(Problem) {
        switch work {
        case .pack(let path, let follow, let whole):
            let writer = TarWriter(ByteStream(Descriptor(owning: StandardStream.output.rawValue)))
            var options = TarPacker.Options()
            if whole {
                options.onlyMount = try explaining("cannot read the root") { () throws(KernelError) in
                    try root.node().mount
                }
                (options.devices, options.attributes) = (true, true)
            } else {
                options.attributes = true
            }
            let packer = TarPacker(writer, own: own, options: options) { told.note($0) }
            let source = try SourcePlace(path, followLinks: follow, in: WalkedTree(root))
            try packer.pack(source.place.value, link: source.link, as: source.name)
            try explaining("cannot write the archive") { () throws(KernelError) in try writer.finish() }
        case .unpack(let path, let owners, let isCopy, let contents, let stopped):
            let reader = TarReader(ByteStream(Descriptor(owning: StandardStream.input.rawValue)))
            var options = TarUnpacker.Options()
            (options.owners, options.setIDs, options.attributes) = (owners, true, owners)
            options.capabilities = owners
            let arrival = Arrival(path: path, isCopy: isCopy, contents: contents)
            try arrival.unpack(reader, options, into: WalkedTree(root)) { folder throws(Problem) in
                if stopped { try Vanishing.refuse(folder, path) }
            } notice: {
                told.note($0)
            }
        case .compare(let upper, let lower, let since):
            let output = StandardStream.output
            let below = lower.isEmpty ? nil : LayeredFolder(owning: lower)
            try LayerComparison.run(Owned(Descriptor(owning: upper)), below, since: since) { change in
                output.write(change.bytes[...])
            }
        case .copy(let image):
            try explaining("cannot copy the image") { () throws(KernelError) in
                _ = try LayeredCopy(capabilities: false, owner: nil).copy(LayeredFolder(owning: image), into: root)
            }
        case .layer(let kind, let leavesOut):
            let writer = TarWriter(ByteStream(Descriptor(owning: StandardStream.output.rawValue)))
            var options = TarPacker.Options()
            options.onlyMount = try explaining("cannot read the root") { () throws(KernelError) in
                try root.node().mount
            }
            options.attributes = true
            switch kind {
            case .tree: options.layer = .tree
            case .overlay: options.layer = .changes
            case .listed:
                let list = try explaining("cannot read the list") { () throws(KernelError) in
                    try Descriptor(owning: StandardStream.input.rawValue).readAll(limit: FileChange.longestList)
                }
                options.layer = .listed(FileChange.list(list))
            }
            options.leavesOut = Set(leavesOut.map { FileName(".\($0)") })
            let packer = TarPacker(writer, own: own, options: options) { told.note($0) }
            try packer.pack(root, link: nil, as: FileName("."))
            try explaining("cannot write the archive") { () throws(KernelError) in try writer.finish() }
        }
    }

    /// The pipe to the command: a bounded number of notes, and the problem, a line each.
    private final class Report {
        private let pipe: Descriptor
        private var notes = 0
        /// So many fit into a pipe that nobody reads yet.
        private static let most = 50

        init(_ pipe: consuming Descriptor) { self.pipe = pipe }

        func tell(_ line: JSON) { try? pipe.write(line.text() + "\n") }

        func note(_ text: String) {
            notes += 1
            if notes < Report.most { tell(.members(["note": .string(String(text.prefix(200)))])) }
            if notes == Report.most { tell(.members(["note": .string("and more of that kind")])) }
        }
    }
}

/// A folder of a container that does not run, whose contents are gone before it starts.
enum Vanishing {
    static func refuse(_ folder: borrowing Descriptor, _ path: String) throws(Problem) {
        // TMPFS_MAGIC, PROC_SUPER_MAGIC, SYSFS_MAGIC, DEVPTS_SUPER_MAGIC (statfs(2))
        guard let type = try? folder.fileSystem(), [0x0102_1994, 0x9fa0, 0x6265_6572, 0x1cd1].contains(type),
            let node = try? folder.node()
        else { return }
        // A volume may well be on a tmpfs of the machine's own.
        let device = "\(node.device >> 32):\(node.device & 0xffff_ffff)"
        let text = (try? Descriptor.contents(of: "/proc/self/mountinfo", limit: 16 << 20)) ?? ""
        for line in text.split(separator: "\n") {
            let fields = line.split(separator: " ", maxSplits: 3)
            if fields.count > 2, fields[2] == device { return }
        }
        throw Problem(
            "cannot copy to \(path)", "the container does not run, and this folder is empty at every start",
            hint: "start it first, or copy to another folder")
    }
}
