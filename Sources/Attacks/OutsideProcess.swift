internal import AttackPrograms
internal import Glibc
internal import LinuxKernel

/// A process that is run as a person would run it, and read to its end.
struct OutsideProcess {
    /// 128+n for signal n; nil: it took too long and was killed.
    let status: Int32?
    let output: String
    /// Bytes of standard output; what is kept of it is less where there was a flood.
    let outputBytes: Int
    let errors: String

    /// - Parameters:
    ///   - words: its arguments, its own name first.
    ///   - leaked: a descriptor that it inherits, as from a caller that forgot it.
    static func run(
        _ path: String, _ words: [String], environment: [String], leaked: Int32 = -1, seconds: Int32 = 120
    ) throws(Problem) -> OutsideProcess {
        var done = codex_attack_done()
        let result = withCStrings(words) { argv in
            withCStrings(environment) { envp in codex_attack_run(path, argv, envp, leaked, seconds, &done) }
        }
        defer {
            free(done.output)
            free(done.errors)
        }
        guard result == 0 else {
            throw Problem("cannot run \(path)", KernelError("fork", path, number: -result))
        }
        return OutsideProcess(
            status: done.status < 0 ? nil : done.status, output: text(done.output, done.output_length),
            outputBytes: Int(done.output_length), errors: text(done.errors, done.errors_length))
    }

    private static func text(_ bytes: UnsafeMutablePointer<CChar>?, _ count: UInt) -> String {
        guard let bytes else { return "" }
        return String(decoding: UnsafeRawBufferPointer(start: bytes, count: Int(count)), as: UTF8.self)
    }
}

/// What attacks are aimed at, as long as this value is there (`victim.c`).
struct Victim: ~Copyable {
    private let pid: Int32
    private let input: Descriptor
    /// What it said of itself, as variables for an attack.
    let variables: [String]

    init(_ path: String, environment: [String]) throws(Problem) {
        var ends: (Int32, Int32) = (-1, -1)
        let words = ["codex32", "attack-program", "victim"]
        let result = withCStrings(words) { argv in
            withCStrings(environment) { envp in codex_attack_start(path, argv, envp, &ends.0, &ends.1) }
        }
        guard result > 0 else {
            throw Problem("cannot start what attacks are aimed at", KernelError("fork", path, number: -result))
        }
        // Closed where this fails, which ends it.
        let input = Descriptor(owning: ends.0)
        let output = Descriptor(owning: ends.1)
        var text = ""
        while !text.holds("ready\t") {
            guard let bytes = try? output.readPrefix(4096), !bytes.isEmpty else {
                throw Problem("cannot start what attacks are aimed at", "it ended early")
            }
            text += String(decoding: bytes, as: UTF8.self)
        }
        pid = result
        self.input = input
        variables = text.split(separator: "\n").compactMap { line in
            let parts = line.split(separator: "\t", maxSplits: 1, omittingEmptySubsequences: false)
            return parts.count == 2 && parts[0] != "ready" ? "ATTACK_\(parts[0].uppercased())=\(parts[1])" : nil
        }
    }

    /// Ends it, and waits until what it planted is gone.
    consuming func end() {
        let pid = pid
        _ = consume self
        _ = codex_attack_wait(pid)
    }
}

/// A process beside an attack: it has said that it is ready, and ends when this value does.
final class Companion {
    let pid: Int32
    private var input: Descriptor?

    init(_ path: String, _ words: [String], environment: [String]) throws(Problem) {
        var ends: (Int32, Int32) = (-1, -1)
        pid = withCStrings(words) { argv in
            withCStrings(environment) { envp in codex_attack_start(path, argv, envp, &ends.0, &ends.1) }
        }
        let what = "cannot start what an attack needs beside it"
        guard pid > 0 else { throw Problem(what, KernelError("fork", path, number: -pid)) }
        input = Descriptor(owning: ends.0)
        let output = Descriptor(owning: ends.1)
        guard let bytes = try? output.readPrefix(64), !bytes.isEmpty else {
            end()
            throw Problem(what, "\(words.dropFirst(2).joined(separator: " ")) ended early")
        }
    }

    /// Ends it by the end of its input, and waits for that.
    /// - Returns: how it ended, 128+n for signal n; 0 where that was asked before.
    @discardableResult
    func end() -> Int32 {
        guard input != nil else { return 0 }
        input = nil
        return codex_attack_wait(pid)
    }

    deinit { end() }
}
