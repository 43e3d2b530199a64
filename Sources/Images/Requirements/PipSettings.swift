public import LinuxKernel

/// What a person has set for pip on this machine: in pip's configuration files and `PIP_*` variables (pip,
/// "Configuration"). Where packages come from is theirs to say; what belongs to another place than the machine's own
/// Python, such as where to install, is passed over.
public struct PipSettings: Equatable, Sendable {
    /// By pip's names, without the dashes in front; of lists, with blanks between.
    public private(set) var values: [(name: String, value: String)] = []
    /// Folders and files of this machine that packages may come from, in the order in which they are named.
    public private(set) var links: [String] = []
    /// A file with the certificates of those whom pip may trust.
    public private(set) var authority: String?

    private static let single: Set = [
        "index-url", "no-index", "pre", "prefer-binary", "require-hashes", "only-binary", "no-binary", "no-deps",
        "timeout", "retries",
    ]
    private static let lists: Set = ["extra-index-url", "trusted-host", "find-links"]
    /// They choose what is installed, or who is trusted, in a way that does not reach into the sandbox: without them
    /// something else would come about.
    private static let refused: Set = ["constraint", "constraints", "requirement", "requirements", "client-cert"]
    /// How it is fetched, and not what.
    private static let ways: Set = ["timeout", "retries"]
    private static let largest = 1 << 16

    public static func == (a: PipSettings, b: PipSettings) -> Bool {
        a.lines == b.lines && a.links == b.links && a.authority == b.authority
    }

    /// As pip would find them, started by this user.
    ///
    /// - Throws: a file that is not understood, and a setting that cannot be followed.
    public static func current() throws(Problem) -> PipSettings {
        var general: [(name: String, value: String)] = []
        var install: [(name: String, value: String)] = []
        for path in files() {
            guard let bytes = try contents(path) else { continue }
            let parsed = try PipFile(bytes, path: path)
            general += parsed.general
            install += parsed.install
        }
        var settings = PipSettings()
        for (name, value) in general + install { try settings.set(name, value, from: "pip's configuration") }
        for name in single.union(lists).union(refused).union(["cert", "default-timeout"]).sorted() {
            let variable = "PIP_" + String(name.uppercased().map { $0 == "-" ? "_" : $0 })
            guard let value = Machine.environment(variable), !value.isEmpty else { continue }
            try settings.set(name, value, from: variable)
        }
        // As the library that pip fetches with does it.
        for variable in ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"] where settings.authority == nil {
            if let path = Machine.environment(variable), !path.isEmpty { settings.authority = path }
        }
        try settings.settle()
        return settings
    }

    /// Of `[global]` all, then of `[install]`, then the variables: the later one holds.
    mutating func set(_ name: String, _ value: String, from source: String) throws(Problem) {
        let name = name == "default-timeout" ? "timeout" : name
        if PipSettings.refused.contains(name) {
            throw Problem(
                "cannot install the script's packages", "\(source) sets \(name), which cannot be followed",
                hint: "PIP_CONFIG_FILE=/dev/null leaves pip's files out; \(RequirementsFile.ignoring)")
        }
        if name == "cert" {
            authority = value
            return
        }
        guard PipSettings.single.contains(name) || PipSettings.lists.contains(name) else { return }
        guard value.utf8.count <= 16384, !value.utf8.contains(where: { $0 < 0x20 && $0 != 0x09 && $0 != 0x0a }) else {
            throw Problem(
                "cannot install the script's packages", "\(source) sets \(name) to no text",
                hint: "pip config list shows what is set")
        }
        let words = value.split { $0 == " " || $0 == "\n" || $0 == "\t" }.joined(separator: " ")
        values.removeAll { $0.name == name }
        if !words.isEmpty { values.append((name, words)) }
    }

    /// Takes what is on this machine out of the addresses.
    mutating func settle() throws(Problem) {
        values.sort { $0.name < $1.name }
        guard let index = values.firstIndex(where: { $0.name == "find-links" }) else { return }
        var words: [String] = []
        for word in values[index].value.split(separator: " ").map(String.init) {
            let path = word.hasPrefix("file://") ? String(word.dropFirst(7)) : word
            if path.holds("://") {
                words.append(word)
                continue
            }
            // One that is not there has nothing, for pip as well.
            guard let kind = try? Descriptor.status(ofPath: path).kind else { continue }
            guard kind == .folder else {
                throw Problem(
                    "cannot install the script's packages", "pip's find-links \(path) is no folder",
                    hint: "name the folder that the packages are in")
            }
            words.append(PipSettings.place(links.count))
            links.append(path)
        }
        if words.isEmpty { values.remove(at: index) } else { values[index].value = words.joined(separator: " ") }
    }

    /// Where a folder of packages appears inside.
    public static func place(_ number: Int) -> String { "/run/codex32-packages-\(number)" }
    public static let authorityPlace = "/run/codex32-certificates"

    /// As variables of pip's, of which one is set for each.
    public var environment: [(name: String, value: String)] {
        values.map { ("PIP_" + String($0.name.uppercased().map { $0 == "-" ? "_" : $0 }), $0.value) }
            + (authority == nil ? [] : [("PIP_CERT", PipSettings.authorityPlace)])
    }

    /// No package comes from elsewhere.
    public var isLocal: Bool {
        let answers = ["1", "true", "yes", "on", "y", "t"]
        guard let value = values.first(where: { $0.name == "no-index" })?.value else { return false }
        return answers.contains(value.lowercased())
            && !values.contains { $0.name == "find-links" && $0.value.holds("://") }
    }

    /// Where packages come from, for people: without what may be a password.
    public var index: String {
        if isLocal { return links.isEmpty ? "nowhere" : links.joined(separator: " ") }
        let address = values.first { $0.name == "index-url" }?.value ?? "https://pypi.org/simple"
        guard let scheme = address.firstIndex(of: ":"), let at = address.lastIndex(of: "@") else { return address }
        return address[...scheme] + "//" + address[address.index(after: at)...]
    }

    /// All that decides what is installed, in one order.
    var lines: [String] { values.filter { !PipSettings.ways.contains($0.name) }.map { "\($0.name)=\($0.value)" } }

    // MARK: The files

    /// In the order in which pip reads them; none, where `PIP_CONFIG_FILE` is the null device.
    private static func files() -> [String] {
        let own = Machine.environment("PIP_CONFIG_FILE")
        if own == "/dev/null" { return [] }
        let shared = Machine.environment("XDG_CONFIG_DIRS").flatMap { $0.isEmpty ? nil : $0 } ?? "/etc/xdg"
        // The first one stands for most.
        var files = shared.split(separator: ":").reversed().map { "\($0)/pip/pip.conf" } + ["/etc/pip.conf"]
        if let home = Machine.environment("HOME"), !home.isEmpty {
            let config = Machine.environment("XDG_CONFIG_HOME").flatMap { $0.isEmpty ? nil : $0 } ?? "\(home)/.config"
            files += ["\(home)/.pip/pip.conf", "\(config)/pip/pip.conf"]
        }
        return files + (own.map { [$0] } ?? [])
    }

    private static func contents(_ path: String) throws(Problem) -> [UInt8]? {
        do throws(KernelError) {
            let file = try Descriptor.open(path, [.read, .nonblocking])
            guard try file.status().kind == .file else { return nil }
            return try file.readAll(limit: largest)
        } catch {
            if [Errno.missing, Errno.notFolder, Errno.denied].contains(error.number) { return nil }
            throw Problem(
                "cannot read pip's configuration \(path)", error,
                hint: "PIP_CONFIG_FILE=/dev/null leaves pip's files out"
            )
        }
    }
}

/// A configuration file of pip's: sections, names and values, in the form that Python's configparser reads.
struct PipFile {
    private(set) var general: [(name: String, value: String)] = []
    private(set) var install: [(name: String, value: String)] = []

    init(_ bytes: [UInt8], path: String) throws(Problem) {
        var section = ""
        var isOpen = false
        var number = 0
        for bytes in bytes.split(separator: 0x0a, omittingEmptySubsequences: false) {
            number += 1
            let line = String(decoding: bytes.last == 0x0d ? bytes.dropLast() : bytes, as: UTF8.self)
            let text = PipFile.trimmed(line)
            if text.isEmpty || text.hasPrefix("#") || text.hasPrefix(";") { continue }
            if line.hasPrefix(" ") || line.hasPrefix("\t"), isOpen {
                extend(section, by: text)
                continue
            }
            if text.hasPrefix("["), text.hasSuffix("]") {
                section = String(text.dropFirst().dropLast())
                isOpen = false
                continue
            }
            guard !section.isEmpty, let sign = text.firstIndex(where: { $0 == "=" || $0 == ":" }) else {
                throw Problem(
                    "cannot read pip's configuration \(path)", "line \(number) is not understood",
                    hint: "PIP_CONFIG_FILE=/dev/null leaves pip's files out")
            }
            let name = String(PipFile.trimmed(String(text[..<sign])).lowercased().map { $0 == "_" ? "-" : $0 })
            append(section, name, PipFile.trimmed(String(text[text.index(after: sign)...])))
            isOpen = true
        }
    }

    private mutating func append(_ section: String, _ name: String, _ value: String) {
        if section == "global" { general.append((name, value)) }
        if section == "install" { install.append((name, value)) }
    }

    private mutating func extend(_ section: String, by text: String) {
        if section == "global", !general.isEmpty { general[general.count - 1].value += "\n" + text }
        if section == "install", !install.isEmpty { install[install.count - 1].value += "\n" + text }
    }

    private static func trimmed(_ text: String) -> String {
        let isBlank = { (byte: UInt8) in byte == 0x20 || byte == 0x09 }
        var bytes = Array(text.utf8)[...]
        bytes = bytes.drop(while: isBlank)
        while let last = bytes.last, isBlank(last) { bytes.removeLast() }
        return String(decoding: bytes, as: UTF8.self)
    }
}
