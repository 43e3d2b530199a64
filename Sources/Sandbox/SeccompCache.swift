public import LinuxKernel
public import OCISpec

/// Compiled programs on disk, so that an ordinary start compiles nothing.
///
/// A cache file holds the whole of its input in front of the program, and is used only when every
/// byte of that input is the same: there is no digest to collide. The name is merely where to look, and
/// the sum behind the program is for files that a crash left cut off or with other bytes.
public struct SeccompCache: Sendable {
    /// The folder, or nil: nothing is kept.
    private let folder: String?
    /// How many are kept, of some 20 KiB each, and how large a profile may be for that, in bytes.
    private static let most = 64, largest = 128 << 10
    private static let magic = "codex32-seccomp-7\n"

    public init(folder: String?) { self.folder = folder }

    /// The program for a profile's text, from the cache or compiled and then kept.
    public func program(
        profile text: [UInt8], for there: SeccompCompiler.Circumstances
    ) throws(DocumentError) -> SeccompProgram {
        try program(text, for: there) { () throws(DocumentError) in try SeccompProfile(try JSONReader.read(text)) }
    }

    /// The same for one that was read already, from that text.
    public func program(
        _ profile: SeccompProfile, text: [UInt8], for there: SeccompCompiler.Circumstances
    ) throws(DocumentError) -> SeccompProgram {
        try program(text, for: there) { profile }
    }

    private func program(
        _ text: [UInt8], for there: SeccompCompiler.Circumstances, _ read: () throws(DocumentError) -> SeccompProfile
    ) throws(DocumentError) -> SeccompProgram {
        let head = SeccompCache.head(text, there)
        let name = SeccompCache.name(head, text)
        if let kept = load(name, head, text) { return kept }
        let program = try SeccompCompiler.compile(try read(), for: there)
        store(name, head + text, program)
        return program
    }

    /// With the profile's text behind it, everything that the program depends on. Which calls libseccomp
    /// knows follows from its version, for it is part of this program: to ask takes longer than all the rest. What
    /// codex32 itself makes of a profile, as its own numbers of newer calls, follows from the number in `magic`.
    private static func head(_ text: [UInt8], _ there: SeccompCompiler.Circumstances) -> [UInt8] {
        // Piece by piece: a text with values in it is built with a copy for each.
        var head: [UInt8] = []
        head.reserveCapacity(160)
        head.append(contentsOf: magic.utf8)
        let line = { (name: String, value: String) in
            head.append(contentsOf: name.utf8)
            head.append(UInt8(ascii: " "))
            head.append(contentsOf: value.utf8)
            head.append(UInt8(ascii: "\n"))
        }
        line("libseccomp", UInt64(SeccompBuilder.libraryVersion).hexadecimal)
        line("capabilities", there.capabilities.rawValue.hexadecimal)
        line("architecture", there.architecture)
        line("kernel", there.kernel.text)
        line("profile", UInt64(text.count).hexadecimal)
        return head
    }

    private static func name(_ head: [UInt8], _ text: [UInt8]) -> String {
        "seccomp-" + sum(sum(0xcbf2_9ce4_8422_2325, head), text).hexadecimal + ".bpf"
    }

    /// FNV-1a over words of 8 bytes: for a name and against damage, so a byte left over at the end does not matter.
    private static func sum(_ start: UInt64, _ part: [UInt8]) -> UInt64 {
        var hash = start
        part.withUnsafeBytes { bytes in
            for offset in stride(from: 0, to: bytes.count & ~7, by: 8) {
                hash = (hash ^ bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)) &* 0x100_0000_01b3
                hash ^= hash >> 32
            }
        }
        return hash
    }

    private static func trailer(_ program: [UInt8]) -> [UInt8] {
        withUnsafeBytes(of: sum(UInt64(program.count), program)) { Array($0) }
    }

    private func load(_ name: String, _ head: [UInt8], _ text: [UInt8]) -> SeccompProgram? {
        guard let folder, let file = try? Descriptor.open("\(folder)/\(name)", [.read, .noFollow]),
            let status = try? file.status(), status.kind == .file,
            // Only what this user, or root, wrote and nobody else could change.
            status.uid == Machine.uid || status.uid == 0, status.mode & 0o022 == 0,
            let size = Int(exactly: status.size).map({ $0 - head.count - text.count - 8 }), size > 0, size <= 8 * 4096,
            file.continues(with: head), file.continues(with: text),
            let program = try? file.readPrefix(size), program.count == size,
            file.continues(with: SeccompCache.trailer(program))
        else { return nil }
        return SeccompProgram(bytes: program)
    }

    /// A cache that cannot be written only costs time.
    private func store(_ name: String, _ key: [UInt8], _ program: SeccompProgram) {
        // A folder that somebody else owns, or that a link leads to, is nobody's to write to or to tidy up.
        guard let folder, key.count <= SeccompCache.largest, (try? makeFolders(folder)) != nil,
            let place = try? Descriptor.open(folder, [.read, .folder, .noFollow]), let status = try? place.status(),
            status.uid == Machine.uid || status.uid == 0, status.mode & 0o022 == 0
        else { return }
        let temporary = ".\(name).\(Machine.randomHex(bytes: 8))"
        guard let file = try? place.open(temporary, [.write, .create, .exclusive, .noFollow]) else { return }
        do {
            try file.write(bytes: key + program.bytes + SeccompCache.trailer(program.bytes))
            try place.rename(temporary, to: name)
        } catch {
            try? place.remove(temporary)
            return
        }
        // Callers may come with another profile each time. Which of them goes is chance: to know which was used last
        // would take a write at every start.
        let others = ((try? place.entries()) ?? []).filter {
            ($0.hasPrefix("seccomp-") || $0.hasPrefix(".seccomp-")) && $0 != name
        }
        guard others.count >= SeccompCache.most else { return }
        for each in others.shuffled().dropFirst(SeccompCache.most - 1) { try? place.remove(each) }
    }
}
