internal import Distribution
internal import Glibc

/// Docker's credential helpers: `docker-credential-NAME get|store|erase`, with what it is about on the standard
/// input. What they say never reaches a command line or a log.
enum Helper {
    /// - Returns: its output.
    /// - Throws: it could not be run, or said no.
    static func run(_ name: String, _ verb: String, input: String) throws(Failure) -> [UInt8] {
        let program = "docker-credential-\(name)"
        guard !name.isEmpty, name.utf8.allSatisfy(isPlain) else {
            throw Failure("the credential helper \(name) has no such name", hint: "look at Docker's config.json")
        }
        var (to, from): ([Int32], [Int32]) = ([-1, -1], [-1, -1])
        guard pipe(&to) == 0, pipe(&from) == 0 else {
            throw Failure("cannot make a pipe: \(String(cString: strerror(errno)))")
        }
        for end in to + from { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        defer {
            close(from[0])
        }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, to[0], 0)
        posix_spawn_file_actions_adddup2(&actions, from[1], 1)
        var words: [UnsafeMutablePointer<CChar>?] = [strdup(program), strdup(verb), nil]
        defer { for word in words { free(word) } }
        var pid: pid_t = 0
        let result = posix_spawnp(&pid, program, &actions, nil, &words, environ)
        close(to[0])
        close(from[1])
        guard result == 0 else {
            close(to[1])
            throw Failure(
                "cannot run \(program): \(String(cString: strerror(result)))",
                hint: "install it, or take it out of Docker's config.json")
        }
        let bytes = Array(input.utf8)
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes { write(to[1], $0.baseAddress! + done, $0.count - done) }
            if count <= 0 { break }
            done += count
        }
        close(to[1])
        var output: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 4096)
        while output.count < 1 << 20 {
            let count = read(from[0], &piece, piece.count)
            if count <= 0 { break }
            output += piece[..<count]
        }
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        guard status == 0 else {
            // Its word for an account that it does not have (docker-credential-helpers, "credentials not found").
            if String(decoding: output, as: UTF8.self).hasPrefix("credentials not found") { return [] }
            throw Failure("\(program) \(verb) failed", hint: "run it by hand to see why")
        }
        return output
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        (0x61...0x7a).contains(byte) || (0x41...0x5a).contains(byte) || (0x30...0x39).contains(byte) || byte == 0x2d
            || byte == 0x5f || byte == 0x2e
    }
}
