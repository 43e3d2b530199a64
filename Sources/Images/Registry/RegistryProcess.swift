internal import LinuxKernel
internal import OCISpec

/// How registries are reached.
public struct RegistrySettings: Sendable {
    /// Registries, by their names, with which plain HTTP and unverified TLS will do.
    public var insecure: Set<String> = []
    /// A PEM file of certificates that are trusted beside the machine's own.
    public var authority: String?
    /// Seconds without a byte after which a connection counts as dead.
    public var idle: UInt64 = 30
    public init() {}
}

/// `codex32-registry`, the program that speaks HTTP for this one: requests go in as lines of JSON, frames come out.
/// It ends when this process does, for then its input ends.
///
/// What it says is bounded, and what it brings is verified by whoever takes it: it talks to strangers.
final class RegistryProcess {
    /// What comes while blobs are brought.
    enum Frame: Equatable {
        /// So many bytes of a blob follow, and are read with ``read(into:)``.
        case part(blob: Int, bytes: Int)
        /// What came of a blob is void: it begins anew.
        case restart(blob: Int)
        case end(blob: Int)
        case done
    }

    private let process: HelperProcess
    private let requests: Owned
    private let frames: Owned
    private let what: String
    private var buffer = [UInt8](repeating: 0, count: 1 << 18)
    private var (from, to) = (0, 0)

    /// Where logins and certificates are, what their helpers need, and the way out of the network.
    private static let variables = [
        "PATH", "HOME", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "HTTPS_PROXY", "https_proxy",
        "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy",
    ]
    private static let longestLine = 1 << 16
    private static let largestFrame = 64 << 20

    /// - Parameters:
    ///   - what: for messages: "cannot pull NAME".
    ///   - keep: descriptors that it inherits, under their numbers.
    init(_ what: String, keep: [Int32] = []) throws(Problem) {
        self.what = what
        let program = try RegistryProcess.find(what)
        Machine.ignorePipeSignal()
        let pipes = try explaining(what) { () throws(KernelError) in
            (Owned.pair(try Descriptor.pipe()), Owned.pair(try Descriptor.pipe()))
        }
        (requests, frames) = (pipes.0.write, pipes.1.read)
        var environment = ["LC_ALL=C.UTF-8"]
        for name in RegistryProcess.variables {
            if let value = Machine.environment(name) { environment.append("\(name)=\(value)") }
        }
        process = try explaining("cannot start \(program)") { () throws(KernelError) in
            try HelperProcess(
                program: program, input: pipes.0.read.descriptor.number, output: pipes.1.write.descriptor.number,
                keep: keep, environment: environment)
        }
    }

    /// Beside this program, or where `make install` puts it. Never by PATH or a variable: it is a part of codex32.
    private static func find(_ what: String) throws(Problem) -> String {
        let own = (try? Descriptor.link("/proc/self/exe")) ?? ""
        let folder = own.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" }
        let places = ["\(folder)/codex32-registry", "\(folder)/../libexec/codex32/codex32-registry"]
        for path in places where (try? Descriptor.status(ofPath: path).kind) == .file { return path }
        throw Problem(
            what, "its part for registries, codex32-registry, is not installed beside it",
            hint: "make build builds it, and make install installs it")
    }

    /// Tells which registry all that follows is about.
    func open(_ registry: String, _ settings: RegistrySettings) throws(Problem) {
        _ = try ask(
            .members([
                "verb": .string("open"), "registry": .string(registry),
                "insecure": .bool(settings.insecure.contains(registry)), "authority": .text(settings.authority),
                "idle": .number(settings.idle),
            ]))
    }

    func ask(_ request: JSON, _ data: [UInt8] = [], limit: Int = 0) throws(Problem) -> (header: JSON, bytes: [UInt8]) {
        try send(request, data)
        let header = try line()
        guard case .integer(let count)? = header["bytes"] else { return (header, []) }
        guard count >= 0, count <= limit else { throw Problem(what, "its answer is larger than \(limit) bytes") }
        var bytes = [UInt8](repeating: 0, count: Int(count))
        try withBytes(of: &bytes) { buffer throws(Problem) in try read(into: buffer) }
        return (header, bytes)
    }

    func send(_ request: JSON, _ data: [UInt8] = []) throws(Problem) {
        try explaining(what) { () throws(KernelError) in
            try requests.descriptor.write(bytes: Array((request.text() + "\n").utf8) + data)
        }
    }

    /// The next of a request for blobs.
    func frame() throws(Problem) -> Frame {
        guard let frame = RegistryProcess.frame(try line()) else { throw unknown }
        return frame
    }

    private var unknown: Problem { Problem(what, "codex32-registry said something unknown") }

    /// Nil: it is none.
    static func frame(_ header: JSON) -> Frame? {
        let number = { (name: String) -> Int? in
            guard case .integer(let value)? = header[name], value >= 0, value <= largestFrame else { return nil }
            return Int(value)
        }
        if let blob = number("blob"), let bytes = number("bytes") { return .part(blob: blob, bytes: bytes) }
        if let blob = number("restart") { return .restart(blob: blob) }
        if let blob = number("end") { return .end(blob: blob) }
        return header["ok"] == nil ? nil : .done
    }

    /// What a line says.
    /// - Returns: nil: nothing that is known.
    /// - Throws: what went wrong there.
    static func header(_ line: [UInt8], _ what: String) throws(Problem) -> JSON? {
        guard let header = try? JSONReader.read(line) else { return nil }
        guard let error = header["error"] else { return header }
        var (why, hint): (String, String?) = ("it failed", nil)
        if case .string(let text)? = error["why"] { why = text }
        if case .string(let text)? = error["hint"] { hint = text }
        throw Problem(what, why, hint: hint)
    }

    /// Fills the buffer with the bytes that come next.
    func read(into target: UnsafeMutableRawBufferPointer) throws(Problem) {
        var done = 0
        while done < target.count {
            if from == to { try fill() }
            let count = min(to - from, target.count - done)
            buffer.withUnsafeBytes { bytes in
                UnsafeMutableRawBufferPointer(rebasing: target[done..<(done + count)]).copyMemory(
                    from: UnsafeRawBufferPointer(rebasing: bytes[from..<(from + count)]))
            }
            from += count
            done += count
        }
    }

    private func line() throws(Problem) -> JSON {
        var line: [UInt8] = []
        while true {
            if from == to { try fill() }
            let byte = buffer[from]
            from += 1
            if byte == 10 { break }
            line.append(byte)
            guard line.count <= RegistryProcess.longestLine else {
                throw Problem(what, "codex32-registry said something too long")
            }
        }
        guard let header = try RegistryProcess.header(line, what) else { throw unknown }
        return header
    }

    private func fill() throws(Problem) {
        (from, to) = (0, 0)
        to = try explaining(what) { () throws(KernelError) in
            try withBytes(of: &buffer) { bytes throws(KernelError) in try frames.descriptor.read(into: bytes) }
        }
        guard to > 0 else {
            let status = (try? process.wait()) ?? 0
            throw Problem(
                what, "codex32-registry ended with status \(status)", hint: "try again; this is codex32's fault")
        }
    }
}

extension Owned {
    /// The ends of a pipe.
    fileprivate static func pair(_ ends: (read: Int32, write: Int32)) -> (read: Owned, write: Owned) {
        (Owned(Descriptor(owning: ends.read)), Owned(Descriptor(owning: ends.write)))
    }
}
