internal import LinuxKernel
internal import Sandbox

/// `exec -u`: UID, UID:GID, NAME or NAME:GROUP, each looked up once, in the container's own files, by descriptor
/// (CVE-2026-30892). What stands in those files is anybody's: their size is bounded and every number checked.
struct ExecUser {
    /// One line of /etc/passwd or /etc/group.
    typealias Fields = [Substring]

    private let passwd: String
    private let group: String

    init(passwd: String, group: String) {
        self.passwd = passwd
        self.group = group
    }

    /// Reads the two files below a container's root. One that is missing, or no plain file, is empty.
    init(root: borrowing Descriptor) {
        passwd = ExecUser.read("etc/passwd", root)
        group = ExecUser.read("etc/group", root)
    }

    private static func read(_ name: String, _ root: borrowing Descriptor) -> String {
        // Not waiting: a pipe in the file's place would keep this command for ever.
        guard let file = try? root.open(inRoot: name, [.read, .nonblocking]) else { return "" }
        return text(file)
    }

    static func text(_ file: borrowing Descriptor) -> String {
        guard let status = try? file.status(), status.kind == .file, let bytes = try? file.readAll(limit: 1 << 20)
        else { return "" }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Of the user with a number; nil: the file knows none, or no usable one.
    func home(_ uid: UInt32) -> String? {
        guard let home = line(passwd, where: { $0.count >= 6 && UInt32($0[2]) == uid })?[5], home.hasPrefix("/"),
            !home.utf8.contains(0), home.utf8.count < 4096
        else { return nil }
        return String(home)
    }

    func resolve(_ text: String) throws(Problem) -> UserIdentity {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count <= 2, parts.allSatisfy({ !$0.isEmpty }) else {
            throw Problem("cannot use -u \(text)", "it must be UID[:GID] or NAME[:GROUP]", hint: "-u 1000:1000")
        }
        var user = UserIdentity()
        user.chosen = true
        let entry: Fields?
        if ExecUser.isNumber(parts[0]) {
            user.uid = try ExecUser.number(parts[0], text)
            entry = line(passwd) { $0.count >= 6 && UInt32($0[2]) == user.uid }
        } else {
            guard let found = line(passwd, where: { $0.count >= 6 && $0[0] == parts[0] }) else {
                throw unknown("user", parts[0], text)
            }
            user.uid = try ExecUser.number(found[2], text)
            entry = found
        }
        user.gid = try entry.map { fields throws(Problem) in try ExecUser.number(fields[3], text) } ?? 0
        user.home = user.uid == 0 ? "/root" : "/"
        if let home = entry?[5], home.hasPrefix("/"), !home.utf8.contains(0) { user.home = String(home) }
        guard parts.count == 2 else {
            if let name = entry?[0] { user.groups = memberships(of: name) }
            return user
        }
        if ExecUser.isNumber(parts[1]) {
            user.gid = try ExecUser.number(parts[1], text)
        } else {
            guard let found = line(group, where: { $0.count >= 3 && $0[0] == parts[1] }) else {
                throw unknown("group", parts[1], text)
            }
            user.gid = try ExecUser.number(found[2], text)
        }
        return user
    }

    private static func isNumber(_ text: Substring) -> Bool {
        text.utf8.allSatisfy { (0x30...0x39).contains($0) }
    }

    /// An id of 0 to 4294967294: the last number means "no id" to the kernel (CVE-2024-40635).
    private static func number(_ word: Substring, _ text: String) throws(Problem) -> UInt32 {
        guard isNumber(word), let id = UInt32(word), id != UInt32.max else {
            throw Problem(
                "cannot use -u \(text)", "\(word) is no id from 0 to 4294967294", hint: "use the number: -u 1000:1000")
        }
        return id
    }

    private func unknown(_ kind: String, _ name: Substring, _ text: String) -> Problem {
        Problem(
            "cannot use -u \(text)", "the container knows no \(kind) \(name)", hint: "use the number: -u 1000:1000")
    }

    private func line(_ text: String, where matches: (Fields) -> Bool) -> Fields? {
        for line in text.split(separator: "\n") {
            let fields = line.split(separator: ":", omittingEmptySubsequences: false)
            if matches(fields) { return fields }
        }
        return nil
    }

    /// The groups that a user is listed in (group(5)); those with a number that makes no sense are passed over.
    private func memberships(of name: Substring) -> [UInt32] {
        var groups: [UInt32] = []
        for line in group.split(separator: "\n") {
            let fields = line.split(separator: ":", omittingEmptySubsequences: false)
            guard fields.count >= 4, let gid = UInt32(fields[2]), gid != UInt32.max,
                fields[3].split(separator: ",").contains(name), !groups.contains(gid), groups.count < 256
            else { continue }
            groups.append(gid)
        }
        return groups
    }

    /// The name of a uid, for people.
    func name(of uid: UInt32) -> String? {
        line(passwd) { $0.count >= 3 && UInt32($0[2]) == uid }.map { String($0[0]) }
    }
}
