/// /etc/subuid and /etc/subgid (subuid(5)).
public enum SubordinateIDs {
    /// A container's ids: 0 to 65535.
    public static let count: UInt32 = 65536

    /// The first range of at least 65,535 ids for a user, by name or number.
    public static func range(in file: String, uid: UInt32) -> IdentityRange? {
        guard let text = try? Descriptor.contents(of: file) else { return nil }
        let name = userName(uid)
        return parse(text, user: name, uid: uid)
    }

    public static func parse(_ text: String, user: String?, uid: UInt32) -> IdentityRange? {
        for line in text.split(separator: "\n") {
            let fields = line.split(separator: ":", omittingEmptySubsequences: false)
            guard fields.count == 3, let start = UInt32(fields[1]), let count = UInt32(fields[2]) else { continue }
            guard fields[0] == String(uid) || (user != nil && fields[0] == user!) else { continue }
            guard count >= self.count - 1, UInt64(start) + UInt64(count) <= UInt64(UInt32.max) else { continue }
            return IdentityRange(inside: 1, outside: start, count: self.count - 1)
        }
        return nil
    }

    private static func userName(_ uid: UInt32) -> String? {
        guard let text = try? Descriptor.contents(of: "/etc/passwd") else { return nil }
        for line in text.split(separator: "\n") {
            let fields = line.split(separator: ":", omittingEmptySubsequences: false)
            if fields.count >= 3, fields[2] == String(uid) { return String(fields[0]) }
        }
        return nil
    }
}

extension IdentityMap {
    /// This user's own id as 0, and the subordinate ones from 1 on: what an ordinary user's container has,
    /// and so whose files it leaves. Nil for root, and for a user without subordinate ids.
    public static func subordinate() -> IdentityMap? {
        guard !Machine.isRoot, let uids = SubordinateIDs.range(in: "/etc/subuid", uid: Machine.uid),
            let gids = SubordinateIDs.range(in: "/etc/subgid", uid: Machine.uid)
        else { return nil }
        let own = { (id: UInt32) in IdentityRange(inside: 0, outside: id, count: 1) }
        return IdentityMap(
            uids: [own(Machine.uid), uids], gids: [own(Machine.gid), gids], byHelper: true, deniesGroups: false)
    }
}
