internal import LinuxKernel
internal import OCISpec

/// What the three streams of a container are outside of it, in CRIU's words: `pipe:[INODE]`, or `file[MOUNT:INODE]` for
/// a file, both numbers in hexadecimal (criu(8), `--external` and `--inherit-fd`).
///
/// They are written down at `create`. Later they would be a matter of the moment: a shell that is about to run
/// `command > file` has the file as its stream, and the stream under another number.
struct BundleStreams: Equatable {
    /// Of 0, 1 and 2; nil: nothing of the host's that CRIU has a word for, or one that the kernel does not tell of
    /// (before Linux 5.8).
    let names: [String?]

    /// What this process has, and gives to a container.
    static var own: BundleStreams {
        BundleStreams(
            names: [
                StandardStream.input.outsideName(in: nil), StandardStream.output.outsideName(in: nil),
                StandardStream.error.outsideName(in: nil),
            ])
    }

    /// Those of a container that is to be checkpointed.
    /// - Parameter known: what was written down of them.
    /// - Throws: for one that was not written down, and that CRIU has no word for now.
    init(of pid: Int32, as known: BundleStreams?, _ what: String) throws(Problem) {
        var names: [String?] = []
        for stream in [StandardStream.input, .output, .error] {
            if let name = known?.names[Int(stream.rawValue)] {
                names.append(name)
            } else {
                names.append(try BundleStreams.look(stream, pid, what))
            }
        }
        self.names = names
    }

    /// What it is now; nil: something of the container's own, or nothing.
    private static func look(_ stream: StandardStream, _ pid: Int32, _ what: String) throws(Problem) -> String? {
        guard let target = try? Descriptor.link("/proc/\(pid)/fd/\(stream.rawValue)") else { return nil }
        guard let name = stream.outsideName(in: pid) else {
            throw Problem(what, "its descriptor \(stream.rawValue) is \(target), which is not supported")
        }
        guard name.hasPrefix("file["), let mount = UInt64(name.dropFirst(5).prefix { $0 != ":" }, radix: 16) else {
            return name
        }
        let mounts = try explaining(what) { () throws(KernelError) in
            try Descriptor.contents(of: "/proc/\(pid)/mountinfo", limit: 8 << 20)
        }
        let isOwn = mounts.split(separator: "\n").contains { $0.split(separator: " ").first == "\(mount)" }
        return isOwn ? nil : name
    }

    var json: JSON { .list(names.map { $0 ?? "" }) }

    init(_ words: [String]) throws(DocumentError) {
        guard words.count == 3, words.allSatisfy({ $0.isEmpty || BundleStreams.isName($0) }) else {
            throw DocumentError("streams", "are not known")
        }
        names = words.map { $0.isEmpty ? nil : $0 }
    }

    private init(names: [String?]) { self.names = names }

    private static func isName(_ word: String) -> Bool {
        let parts = word.split(separator: "[", omittingEmptySubsequences: false)
        guard parts.count == 2, parts[1].last == "]" else { return false }
        let numbers = parts[1].dropLast().split(separator: ":", omittingEmptySubsequences: false)
        return switch parts[0] {
        case "pipe:": numbers.count == 1 && UInt64(numbers[0]) != nil
        case "file": numbers.count == 2 && numbers.allSatisfy { UInt64($0, radix: 16) != nil }
        default: false
        }
    }
}
