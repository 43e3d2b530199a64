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
                StandardStream.input.outsideName, StandardStream.output.outsideName, StandardStream.error.outsideName,
            ])
    }

    /// Those of a container that is to be checkpointed.
    /// - Parameter known: what was written down of them.
    /// - Throws: for one that was not written down, and that CRIU has no word for now.
    init(of pid: Int32, as known: BundleStreams?, _ what: String) throws(Problem) {
        var names: [String?] = []
        for number in 0..<3 {
            if let name = known?.names[number] {
                names.append(name)
            } else {
                names.append(try BundleStreams.look(number, pid, what))
            }
        }
        self.names = names
    }

    /// What it is now; nil: something of the container's own, or nothing.
    private static func look(_ number: Int, _ pid: Int32, _ what: String) throws(Problem) -> String? {
        guard let target = try? Descriptor.link("/proc/\(pid)/fd/\(number)") else { return nil }
        if target.hasPrefix("pipe:[") { return target }
        guard target.hasPrefix("/") else {
            throw Problem(what, "its descriptor \(number) is \(target), which is not supported")
        }
        let (mounts, lines, status) = try explaining(what) { () throws(KernelError) -> (String, String, FileStatus) in
            (
                try Descriptor.contents(of: "/proc/\(pid)/mountinfo", limit: 8 << 20),
                try Descriptor.contents(of: "/proc/\(pid)/fdinfo/\(number)"),
                try Descriptor.status(ofPath: "/proc/\(pid)/fd/\(number)")
            )
        }
        let words = lines.split(whereSeparator: { $0 == "\n" || $0 == "\t" || $0 == " " })
        guard let at = words.firstIndex(of: "mnt_id:"), at + 1 < words.count, let mount = UInt64(words[at + 1]) else {
            throw Problem(what, "the kernel does not say where its descriptor \(number) is")
        }
        let isOwn = mounts.split(separator: "\n").contains { $0.split(separator: " ").first == words[at + 1] }
        return isOwn ? nil : name(mount, status.inode)
    }

    private static func name(_ mount: UInt64, _ inode: UInt64) -> String {
        "file[\(String(mount, radix: 16)):\(String(inode, radix: 16))]"
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
