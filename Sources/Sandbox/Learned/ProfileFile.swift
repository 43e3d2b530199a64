public import LinuxKernel
internal import OCISpec

/// The file that a learned profile is in.
public enum ProfileFile {
    /// Reads a profile, with the SHA-256 of its text in lower-case digits.
    ///
    /// - Throws: for what is no plain file, is a link, can be written by everybody, or is no profile.
    public static func read(_ path: String) throws(Problem) -> (profile: LearnedProfile, digest: String) {
        let what = "cannot use the profile \(path)"
        let bytes: [UInt8]
        do {
            // Not waiting, for a pipe may stand there.
            let file = try Descriptor.open(path, [.read, .noFollow, .nonblocking])
            let status = try file.status()
            guard status.kind == .file else {
                throw Problem(what, "it is no file", hint: "codex32 learn writes one")
            }
            guard status.mode & 0o002 == 0 else {
                throw Problem(what, "everybody may write to it", hint: "chmod o-w \(path)")
            }
            bytes = try file.readAll(limit: LearnedProfile.largest)
        } catch let problem as Problem {
            throw problem
        } catch {
            let error = error as? KernelError ?? KernelError("open", path, number: Errno.io)
            let hint =
                error.number == Errno.loop
                ? "it is a link: name the file itself"
                : error.number == Errno.tooBig ? "a profile has at most \(LearnedProfile.largest >> 10) KiB" : nil
            throw Problem(what, error, hint: hint ?? "codex32 learn writes one")
        }
        do throws(DocumentError) {
            let profile = try LearnedProfile(text: bytes)
            guard let sum = try? SHA256() else { throw DocumentError("", "there is no memory for its checksum") }
            sum.update(bytes)
            return (profile, sum.finish())
        } catch {
            throw Problem(what, error.description, hint: "codex32 learn --help says what a profile is")
        }
    }
}
