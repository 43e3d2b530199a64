public import LinuxKernel

/// Images that are kept for a start that needs them: those of templates, and those with a script's packages.
///
///     ready/KIND-KEY   which manifest it is, as text; behind it, for a template, which folder it was made of
///
/// They have no name that a loaded image could bring along, so that nothing but what this store made itself stands for a
/// script's packages. They stay as named images do, until `image remove`, or a prune that finds them unused for long.
extension ImageStore {
    public struct Ready: Sendable {
        /// `template-NAME` or `requirements-HEX`.
        public let name: String
        public let digest: Digest
        /// What it was made of.
        public let source: String
        /// Seconds since 1970 of the last start that needed it, to the day.
        public let used: Int64

        /// As a list shows it: what it is, and which.
        public var shown: (kind: String, which: String) {
            let parts = name.split(separator: "-", maxSplits: 1).map(String.init)
            return parts.count == 2 ? ("<\(parts[0])>", String(parts[1].prefix(12))) : ("<ready>", name)
        }
    }

    /// Seconds for which nobody may have needed one that a prune takes away.
    public static let readyFor: Int64 = 30 * 86400

    private static func isReadyName(_ name: String) -> Bool {
        name.utf8.count <= 128 && name.first != "."
            && name.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x7a).contains($0) || $0 == 0x2d }
    }

    /// Nil: there is none, or its image is gone.
    public func ready(_ name: String) -> Ready? {
        guard let found = readyEntry(name), Descriptor.isMissing("\(folder)/manifests/\(found.digest.hex)") == false
        else { return nil }
        return found
    }

    private func readyEntry(_ name: String) -> Ready? {
        guard ImageStore.isReadyName(name), let place = try? Descriptor.open("\(folder)/ready", [.pathOnly, .folder]),
            let file = try? place.open(name, [.read, .noFollow, .nonblocking]), let status = try? file.status(),
            status.kind == .file, let bytes = try? file.readAll(limit: 512)
        else { return nil }
        let words = String(decoding: bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
        guard let first = words.first, let digest = Digest(first) else { return nil }
        return Ready(
            name: name, digest: digest, source: words.count > 1 ? String(words[1]) : "", used: status.modified)
    }

    /// All of them, in the order of their names.
    public func allReady() throws(Problem) -> [Ready] {
        if Descriptor.isMissing("\(folder)/ready") { return [] }
        return try explaining("cannot list the images in \(folder)") { () throws(KernelError) in
            try Descriptor.open("\(folder)/ready", [.read, .folder]).entries()
        }.sorted().compactMap { readyEntry($0) }
    }

    /// Keeps an image for the next start. The caller holds it, or shares the store since before it was made.
    public func keep(_ name: String, _ digest: Digest, source: String = "") throws(Problem) {
        let held = try share()
        defer { withExtendedLifetime(held) {} }
        try explaining("cannot keep the image \(digest.short)") { () throws(KernelError) in
            // Under the lock, for a sweep may have taken it since it was found.
            _ = try Descriptor.open("\(folder)/manifests/\(digest.hex)", [.pathOnly])
            let place = try Descriptor.open("\(folder)/ready", [.read, .folder])
            try place.put(name, with: "\(digest)\n\(source)\n", mode: 0o600, durable: true)
            try place.sync()
        }
    }

    /// Says that a start needed it. Once a day is enough; where it cannot be said, the start goes on.
    public func touch(_ ready: Ready) {
        guard Clock.realtime / 1_000_000_000 - ready.used > 86400 else { return }
        try? keep(ready.name, ready.digest, source: ready.source)
    }

    /// One process makes it, others wait for it while what is returned lives.
    public func claim(_ name: String, waiting: () -> Void) throws(Problem) -> Held {
        let lock = try openClaim(name)
        try explaining("cannot use the image store \(folder)") { () throws(KernelError) in
            if try lock.lock(wait: false) { return }
            waiting()
            _ = try lock.lock(wait: true)
        }
        return Held(lock)
    }

    /// The store is shared only as long: whoever makes it waits, at its end, for those who share the store.
    private func openClaim(_ name: String) throws(Problem) -> Descriptor {
        let shared = try share()
        defer { withExtendedLifetime(shared) {} }
        return try explaining("cannot use the image store \(folder)") { () throws(KernelError) in
            try Descriptor.open("\(folder)/ready", [.read, .folder])
                .open(".\(name.prefix(80)).lock", [.write, .create, .noFollow])
        }
    }

    /// Forgets those that nobody needs; the caller has the store alone, and sweeps behind it.
    ///
    /// - Parameter before: of one that was needed since, in seconds since 1970, is nothing forgotten.
    func forgetReady(before: Int64?, _ digest: Digest? = nil) throws(Problem) {
        for entry in try allReady() {
            let isGone = Descriptor.isMissing("\(folder)/manifests/\(entry.digest.hex)")
            guard isGone || digest == entry.digest || before.map({ entry.used < $0 }) == true else { continue }
            try explaining("cannot remove \(entry.name)") { () throws(KernelError) in
                try Descriptor.open("\(folder)/ready", [.read, .folder]).remove(entry.name)
            }
        }
    }

    /// Takes away the locks of those that nobody makes; the caller has the store alone. Who waits for one that is gone
    /// finds what was made, or makes it a second time.
    func clearClaims() {
        guard let place = try? Descriptor.open("\(folder)/ready", [.read, .folder]) else { return }
        for name in (try? place.entries()) ?? [] where name.hasPrefix(".") && name.hasSuffix(".lock") {
            guard let lock = try? place.open(name, [.write, .noFollow]), (try? lock.lock(wait: false)) == true else {
                continue
            }
            try? place.remove(name)
        }
    }

    /// Which folder a template is, and which it will not be when it is built anew; nil: it is not built.
    public func source(ofTemplate name: String) -> String? {
        let path = String(folder.dropLast("images".utf8.count)) + "templates/\(name)"
        guard let node = try? Descriptor.open(path, [.pathOnly, .folder, .noFollow]).node() else { return nil }
        return "\(node.device):\(node.inode):\(node.modified.seconds).\(node.modified.nanoseconds)"
    }
}
