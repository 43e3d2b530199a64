internal import LinuxKernel

/// Where Debian's packages come from: as this machine's own apt has it, when it is the same Debian.
enum DebianSources {
    /// Lines of sources.list(5) for a suite; empty: mmdebstrap's own choice, deb.debian.org.
    static func lines(suite: String) -> [String] {
        guard hostSuite() == suite else { return [] }
        var found = ((try? Descriptor.contents(of: "/etc/apt/sources.list")) ?? "").split(separator: "\n").map(
            String.init)
        let parts = "/etc/apt/sources.list.d"
        if let folder = try? Descriptor.open(parts, [.read, .folder]), let names = try? folder.entries() {
            for name in names.sorted() {
                guard let text = try? Descriptor.contents(of: "\(parts)/\(name)") else { continue }
                if name.hasSuffix(".list") { found += text.split(separator: "\n").map(String.init) }
                if name.hasSuffix(".sources") { found += stanzas(text) }
            }
        }
        var lines: [String] = []
        for line in found where isOf(suite, line) && !lines.contains(line) { lines.append(line) }
        return lines
    }

    /// The suite, its updates and its security updates, from Debian's main; not what others put beside it.
    static func isOf(_ suite: String, _ line: String) -> Bool {
        var words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
        guard words.first == "deb" else { return false }
        words.removeFirst()
        if words.first?.hasPrefix("[") == true {
            while let word = words.first {
                words.removeFirst()
                if word.hasSuffix("]") { break }
            }
        }
        guard words.count >= 3, words.dropFirst(2).contains("main") else { return false }
        return [suite, "\(suite)-updates", "\(suite)-security", "\(suite)/updates"].contains(String(words[1]))
    }

    /// The deb822 form as lines of the older one, which is what mmdebstrap takes as words.
    static func stanzas(_ text: String) -> [String] {
        var lines: [String] = []
        var fields: [String: String] = [:]
        var isWhole = true
        for line in (text + "\n\n").split(separator: "\n", omittingEmptySubsequences: false) {
            if line.first == "#" { continue }
            if line.allSatisfy({ $0 == " " || $0 == "\t" }) {
                if isWhole { lines += self.lines(of: fields) }
                (fields, isWhole) = ([:], true)
            } else if line.first == " " || line.first == "\t" {
                // A key written into the file itself has no form in one line.
                isWhole = false
            } else if let colon = line.firstIndex(of: ":") {
                let value = line[line.index(after: colon)...].drop { $0 == " " || $0 == "\t" }
                fields[line[..<colon].lowercased()] = String(value)
            }
        }
        return lines
    }

    private static func lines(of fields: [String: String]) -> [String] {
        let words = { (name: String) in (fields[name] ?? "").split(separator: " ").map(String.init) }
        guard words("types").contains("deb"), fields["enabled"]?.lowercased() != "no" else { return [] }
        var options: [String] = []
        for (field, option) in [("signed-by", "signed-by"), ("architectures", "arch"), ("trusted", "trusted")] {
            if !words(field).isEmpty { options.append("\(option)=\(words(field).joined(separator: ","))") }
        }
        let head = options.isEmpty ? "deb" : "deb [\(options.joined(separator: " "))]"
        let components = words("components").joined(separator: " ")
        return words("uris").flatMap { uri in words("suites").map { "\(head) \(uri) \($0) \(components)" } }
    }

    private static func hostSuite() -> String? {
        guard let text = try? Descriptor.contents(of: "/etc/os-release") else { return nil }
        let lines = text.split(separator: "\n").map(String.init)
        guard lines.contains("ID=debian") else { return nil }
        return lines.first { $0.hasPrefix("VERSION_CODENAME=") }.map { String($0.dropFirst(17)) }
    }

    /// What this machine's apt says of proxies, as options for another apt (apt.conf(5)).
    static func proxies(scratch: borrowing Descriptor) throws(KernelError) -> [String] {
        guard let program = HostProgram.find("apt-config") else { return [] }
        let output = try scratch.open("apt-config", [.readWrite, .create, .truncate, .noFollow])
        guard try HostProgram.run(program, ["apt-config", "dump"], output: output.number) == 0 else { return [] }
        return try scratch.contents(of: "apt-config").split(separator: "\n").map(String.init).filter {
            $0.hasPrefix("Acquire::http::Proxy") || $0.hasPrefix("Acquire::https::Proxy")
        }
    }
}
