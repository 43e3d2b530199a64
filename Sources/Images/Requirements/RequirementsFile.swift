public import LinuxKernel

/// A `requirements.txt`: which Python packages a script needs, in pip's words (pip, "Requirements File Format").
///
/// Whoever wrote the script wrote this too, and pip follows options in it: what pip is given is these bytes, read once,
/// with nothing in them that leads to a file.
public struct RequirementsFile: Equatable, Sendable {
    /// As it was named, for messages.
    public let path: String
    /// Every byte of it.
    public let text: String
    /// Lines that ask for a package.
    public let count: Int
    /// It leads to the network whatever pip's settings say.
    public let namesAddresses: Bool

    /// The option of `run` that leaves it alone.
    static let ignoring = "--requirements ignore runs the script without it"

    static let name = "requirements.txt"
    /// Bytes: one with the hashes of all of its packages has some hundred thousand. It reaches pip as arguments, of
    /// which the kernel takes two million bytes in all (execve(2)).
    static let largest = 1 << 19
    /// Bytes of a line, which is an argument: of one of these the kernel takes 128 KiB.
    static let longestLine = 1 << 16

    /// The one beside a script; nil: there is none. That is told by one system call.
    ///
    /// - Parameter script: the path of the script.
    /// - Throws: it is there, and is nothing that pip should see.
    public static func beside(_ script: String) throws(Problem) -> RequirementsFile? {
        let folder = script.utf8.lastIndex(of: UInt8(ascii: "/")).map { String(script[...$0]) } ?? ""
        let path = folder + name
        let file: Descriptor
        do throws(KernelError) {
            file = try Descriptor.open(path, [.read, .noFollow, .nonblocking])
        } catch {
            switch error.number {
            case Errno.missing, Errno.notFolder: return nil
            case Errno.loop: return try linked(folder, path, script)
            default: throw Problem("cannot use \(path)", error, hint: "make it readable; \(ignoring)")
            }
        }
        try checkOwner(file, path, script)
        return try RequirementsFile(path, file)
    }

    /// In a folder where everybody may write, /tmp above all, it may be somebody else's.
    private static func checkOwner(
        _ file: borrowing Descriptor, _ path: String, _ script: String
    ) throws(Problem) {
        let what = "cannot use \(path)"
        let (owner, other) = try explaining(what) { () throws(KernelError) in
            (try file.status().uid, try Descriptor.status(ofPath: script).uid)
        }
        guard owner == 0 || owner == Machine.uid || owner == other else {
            throw Problem(
                what, "it belongs to the user \(owner), who is neither you nor the script's owner",
                hint: "move the script to a folder of your own; \(ignoring)")
        }
    }

    /// One that was named by an option: a link is followed, for a person chose it.
    public static func named(_ path: String) throws(Problem) -> RequirementsFile {
        let file = try explaining("cannot use \(path)", hint: "name a file with a package a line") {
            () throws(KernelError) in try Descriptor.open(path, [.read, .nonblocking])
        }
        return try RequirementsFile(path, file)
    }

    /// A link may lead to another file of the folder, and nowhere else.
    private static func linked(_ folder: String, _ path: String, _ script: String) throws(Problem) -> RequirementsFile {
        let what = "cannot use \(path)"
        let target = try explaining(what) { () throws(KernelError) in try Descriptor.link(path) }
        guard !target.hasPrefix("/"), !target.split(separator: "/").contains("..") else {
            throw Problem(
                what, "it is a link that leads out of its folder", hint: "put the file itself there; \(ignoring)")
        }
        let file = try explaining(what, hint: ignoring) { () throws(KernelError) in
            try Descriptor.open(folder.isEmpty ? "." : folder, [.pathOnly, .folder])
                .open(inRoot: name, [.read, .nonblocking])
        }
        try checkOwner(file, path, script)
        return try RequirementsFile(path, file)
    }

    private init(_ path: String, _ file: borrowing Descriptor) throws(Problem) {
        let what = "cannot use \(path)"
        let bytes: [UInt8]
        do throws(KernelError) {
            guard try file.status().kind == .file else { throw KernelError("open", path, number: Errno.invalid) }
            bytes = try file.readAll(limit: RequirementsFile.largest)
        } catch {
            let why: String? =
                switch error.number {
                case Errno.invalid: "it is no regular file"
                case Errno.tooBig: "it has more than \(RequirementsFile.largest >> 10) KiB"
                default: nil
                }
            guard let why else { throw Problem(what, error, hint: RequirementsFile.ignoring) }
            throw Problem(what, why, hint: RequirementsFile.ignoring)
        }
        try self.init(bytes, path: path)
    }

    /// - Throws: what is wrong with it, and in which line.
    public init(_ bytes: [UInt8], path: String) throws(Problem) {
        let fail = { (why: String) in Problem("cannot use \(path)", why, hint: RequirementsFile.ignoring) }
        guard let text = String(validating: bytes, as: UTF8.self) else { throw fail("it is no UTF-8 text") }
        (self.path, self.text) = (path, text)
        var (count, namesAddresses) = (0, false)
        var whole: [UInt8] = []
        var number = 0
        var first = 1
        for line in bytes.split(separator: 0x0a, omittingEmptySubsequences: false) {
            number += 1
            guard line.count < RequirementsFile.longestLine else {
                throw fail("line \(number) has more than \(RequirementsFile.longestLine >> 10) KiB")
            }
            // A mark of the order of bytes is an editor's of another system.
            var line = number == 1 && line.starts(with: [0xef, 0xbb, 0xbf]) ? line.dropFirst(3) : line
            if line.last == 0x0d { line.removeLast() }
            guard line.allSatisfy({ $0 >= 0x20 && $0 != 0x7f || $0 == 0x09 }) else {
                throw fail("line \(number) has a control character in it")
            }
            // A comment ends at its line, also where that ends with a backslash.
            if line.last == 0x5c, !RequirementsFile.isComment(line) {
                whole += line.dropLast()
                continue
            }
            whole += line
            let requirement = RequirementsFile.withoutComment(whole)
            whole = []
            if !requirement.isEmpty {
                do throws(DocumentReason) {
                    let found = try Requirement(requirement)
                    if found.isPackage { count += 1 }
                    if found.namesAddress { namesAddresses = true }
                } catch { throw fail("line \(first): \(error.text)") }
            }
            first = number + 1
        }
        guard whole.isEmpty else { throw fail("its last line ends with a backslash, and goes on nowhere") }
        (self.count, self.namesAddresses) = (count, namesAddresses)
    }

    private static func isComment(_ line: ArraySlice<UInt8>) -> Bool {
        line.first { $0 != 0x20 && $0 != 0x09 } == 0x23
    }

    /// A "#" begins a comment at the line's beginning, and behind a blank.
    private static func withoutComment(_ line: [UInt8]) -> [UInt8] {
        var rest = line[...]
        for index in line.indices where line[index] == 0x23 {
            guard index == 0 || line[index - 1] == 0x20 || line[index - 1] == 0x09 else { continue }
            rest = line[..<index]
            break
        }
        while let last = rest.last, last == 0x20 || last == 0x09 { rest.removeLast() }
        return Array(rest.drop { $0 == 0x20 || $0 == 0x09 })
    }

    /// The text in pieces that are arguments: whole lines.
    public var pieces: [String] {
        var pieces: [String] = []
        var piece: [UInt8] = []
        for line in text.utf8.split(separator: 0x0a, omittingEmptySubsequences: false) {
            if piece.count + line.count >= RequirementsFile.longestLine {
                pieces.append(String(decoding: piece, as: UTF8.self))
                piece = []
            }
            piece += line
            piece.append(0x0a)
        }
        return pieces + [String(decoding: piece, as: UTF8.self)]
    }
}

/// Why a line is refused.
struct DocumentReason: Error {
    let text: String
    init(_ text: String) { self.text = text }
}

/// A line of a requirements file: a package, or an option for all of them.
struct Requirement {
    let isPackage: Bool
    let namesAddress: Bool

    /// What pip would take from the file's line, and a person meant to be part of what is installed.
    private static let flags: Set = ["--pre", "--prefer-binary", "--require-hashes", "--no-index"]
    private static let valued: Set = ["--only-binary", "--no-binary", "--trusted-host"]
    private static let addresses: Set = ["-i", "--index-url", "--pypi-url", "--extra-index-url"]

    /// - Parameter line: without comment, and with its continuations.
    init(_ line: [UInt8]) throws(DocumentReason) {
        let text = String(decoding: line, as: UTF8.self)
        guard !text.holds("${") else {
            throw DocumentReason("a variable is filled in nowhere: \(text.prefix(100))")
        }
        let words = text.split { $0 == " " || $0 == "\t" }.map(String.init)
        guard let first = words.first else { throw DocumentReason("it is empty") }
        if first.hasPrefix("-") {
            isPackage = false
            namesAddress = try Requirement.option(words)
            return
        }
        isPackage = true
        namesAddress = try Requirement.package(text, words)
    }

    private static func option(_ words: [String]) throws(DocumentReason) -> Bool {
        let parts = words[0].split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let values = Array(parts.dropFirst()) + words.dropFirst()
        let name = parts[0]
        if flags.contains(name), values.isEmpty { return false }
        guard values.count == 1, let value = values.first, !value.isEmpty else {
            throw DocumentReason("\(words[0].prefix(100)) is not understood")
        }
        if valued.contains(name) { return false }
        guard addresses.contains(name) else {
            let why =
                ["-r", "--requirement", "-c", "--constraint", "-e", "--editable", "-f", "--find-links"].contains(name)
                ? "names a file, and pip sees none of this machine's" : "is no option that is taken from a file"
            throw DocumentReason("\(name.prefix(100)) \(why)")
        }
        guard isAddress(value) else { throw DocumentReason("\(name) must be followed by an https address") }
        return true
    }

    /// `NAME[EXTRAS] VERSIONS ; MARKERS`, `NAME @ URL`, or an address; behind it `--hash` alone.
    private static func package(_ text: String, _ words: [String]) throws(DocumentReason) -> Bool {
        for word in words where word.hasPrefix("-") {
            guard word.hasPrefix("--hash=") else {
                throw DocumentReason("\(word.prefix(100)) is not taken behind a package")
            }
        }
        let lower = text.lowercased()
        guard !lower.holds("file:"), !text.hasPrefix("."), !text.hasPrefix("/"), !text.hasPrefix("~") else {
            throw DocumentReason("\(words[0].prefix(100)) is a file, and pip sees none of this machine's")
        }
        if text.holds("://") {
            let address = text.utf8.firstIndex(of: UInt8(ascii: "@")).map {
                String(text[text.index(after: $0)...]).drop { $0 == " " }
            }
            guard isAddress(text) || words.contains(where: isAddress) || address.map({ isAddress(String($0)) }) == true
            else { throw DocumentReason("its address must begin with https:// or git+https://") }
            return true
        }
        guard let letter = text.utf8.first, isLetter(letter) else {
            throw DocumentReason("\(words[0].prefix(100)) is no name of a package")
        }
        let name = text.utf8.prefix { isLetter($0) || $0 == 0x2d || $0 == 0x2e || $0 == 0x5f }
        // What stands behind a name otherwise would be a path: pip takes one with a "/" in it for a folder.
        let rest = String(decoding: text.utf8.dropFirst(name.count), as: UTF8.self).drop { $0 == " " || $0 == "\t" }
        guard rest.isEmpty || "[<>=!~;(".contains(rest.first ?? " ") || rest.hasPrefix("--hash=") else {
            throw DocumentReason(
                "what stands behind \(String(decoding: name.prefix(100), as: UTF8.self)) is no version")
        }
        return false
    }

    private static func isLetter(_ byte: UInt8) -> Bool {
        (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte) || (0x30...0x39).contains(byte)
    }

    static func isAddress(_ text: String) -> Bool {
        ["https://", "git+https://"].contains { text.hasPrefix($0) }
    }
}
