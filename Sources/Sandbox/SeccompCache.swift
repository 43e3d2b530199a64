public import LinuxKernel
public import OCISpec

/// Compiled programs on disk, so that an ordinary start compiles nothing.
///
/// A cache file holds the whole of its input in front of the program, and is used only when every
/// byte of that input is the same: there is no digest to collide. The name is merely where to look.
public struct SeccompCache: Sendable {
    /// The folder, or nil: nothing is kept.
    private let folder: String?
    private static let magic = "codex32-seccomp-2\n"

    public init(folder: String?) { self.folder = folder }

    /// The program for a profile's text, from the cache or compiled and then kept.
    public func program(
        profile text: [UInt8], for there: SeccompCompiler.Circumstances
    ) throws(DocumentError) -> SeccompProgram {
        let key = SeccompCache.key(text, there)
        let name = SeccompCache.name(key)
        if let kept = load(name, key) { return kept }
        let profile = try SeccompProfile(try JSONReader.read(text))
        let program = try SeccompCompiler.compile(profile, for: there)
        store(name, key, program)
        return program
    }

    /// Everything that the program depends on.
    static func key(_ text: [UInt8], _ there: SeccompCompiler.Circumstances) -> [UInt8] {
        let head = """
            \(magic)libseccomp \(SeccompBuilder.libraryVersion)
            calls \(SystemCallNumber.highestKnown)
            capabilities \(there.capabilities.rawValue)
            architecture \(there.architecture)
            kernel \(there.kernel.major).\(there.kernel.minor)
            profile \(text.count)

            """
        return Array(head.utf8) + text
    }

    /// FNV-1a over words of 8 bytes: only a name, so a byte left over at the end does not matter.
    private static func name(_ key: [UInt8]) -> String {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        key.withUnsafeBytes { bytes in
            for offset in stride(from: 0, to: bytes.count & ~7, by: 8) {
                hash = (hash ^ bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)) &* 0x100_0000_01b3
            }
        }
        return "seccomp-\(String(hash, radix: 16)).bpf"
    }

    /// Whether `bytes` begins with every byte of `key`. Words of 8 first: this is on every start.
    private static func begins(_ bytes: [UInt8], with key: [UInt8]) -> Bool {
        guard bytes.count > key.count else { return false }
        return bytes.withUnsafeBytes { left in
            key.withUnsafeBytes { right in
                let words = right.count & ~7
                for offset in stride(from: 0, to: words, by: 8)
                where left.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
                    != right.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
                {
                    return false
                }
                for offset in words..<right.count where left[offset] != right[offset] { return false }
                return true
            }
        }
    }

    private func load(_ name: String, _ key: [UInt8]) -> SeccompProgram? {
        guard let folder, let file = try? Descriptor.open("\(folder)/\(name)", [.read, .noFollow]),
            let status = try? file.status(), status.kind == .file,
            // Only what this user, or root, wrote and nobody else could change.
            status.uid == Machine.uid || status.uid == 0, status.mode & 0o022 == 0,
            let bytes = try? file.readAll(limit: key.count + 8 * 4096), SeccompCache.begins(bytes, with: key)
        else { return nil }
        return SeccompProgram(bytes: Array(bytes[key.count...]))
    }

    /// A cache that cannot be written only costs time.
    private func store(_ name: String, _ key: [UInt8], _ program: SeccompProgram) {
        guard let folder, let place = try? makeFolders(folder) else { return }
        let temporary = ".\(name).\(Machine.pid)"
        do {
            let file = try place.open(temporary, [.write, .create, .exclusive, .noFollow])
            try file.write(bytes: key + program.bytes)
            try place.rename(temporary, to: name)
        } catch {
            try? place.remove(temporary)
        }
    }
}
