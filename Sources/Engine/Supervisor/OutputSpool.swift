internal import LinuxKernel

/// The output of a program that outlives its supervisor (`--orphan adopt`), in the container's runtime folder:
///
/// ```
/// stdout, stderr               named pipes: the program's own descriptors keep them open, and its next supervisor opens
///                              the same ones by their names
/// stdout.moved, stderr.moved   what has left the pipes
/// output                       how much of that is in the log, and how far that goes
/// ```
///
/// No byte is lost or doubled where a supervisor is killed, at whatever moment. What leaves a pipe enters its file in
/// one call of the kernel (splice(2)), so it is always in exactly one of them. What the log got since `output` was last
/// written is taken back by the next supervisor (``LogPosition/restore(in:base:count:)``) and written again from the
/// file. `output` itself is less than a page and is written in one call, which no signal interrupts in its middle.
///
/// One thing is lost: what a program writes while it has no supervisor, and still stands in its pipes when it ends
/// before another has adopted it: of each stream what fits into a pipe, 64 KiB, or 1 MiB of one that once filled it.
/// The kernel frees a pipe's pages with the last descriptor of it (pipe(7)), also of one with a name; a mount of it, a
/// lease, or a watch keep the inode and not the pages, and descriptors on their way through a socket go with the
/// socket. So it takes a process to keep them, and whichever that is may be killed like the supervisor. The program's
/// own pid 1 is no place for it: what ends a program from outside, SIGKILL, ends that first. A file in the pipe's
/// place would lose nothing, and have no end: a flood would fill the disk while nobody is there to turn the log.
/// A program that is ended by codex32 itself (``Recovery``) loses nothing: its pipes are opened before.
///
/// The program can read the pipes' names on the host (`/proc/self/fd`, proc_pid_fd(5)), and so its container's id and
/// where the store is; it cannot go there.
final class OutputSpool {
    private struct Side {
        /// Nonblocking; open for both directions, so that the pipe has a reader and a writer whoever else is there.
        let pipe: Owned<Descriptor>
        let file: Owned<Descriptor>
        /// Bytes in the file, and how many of them are in the log.
        var moved: Int64 = 0
        var logged: Int64 = 0
        /// What was taken last went past the file: it is full.
        var isDirect = false
    }

    private static let names = ["stdout", "stderr"]
    private static let stateName = "output"
    /// Bytes after which a file begins anew.
    private static let most: Int64 = 1 << 18
    /// Bytes that are taken at a time. Each may become a hundred in the log; and between two positions a log must not
    /// turn twice.
    let round: Int
    private var sides: [Side] = []
    private let state: Owned<Descriptor>
    /// As the last supervisor left it.
    private(set) var position = LogPosition()
    private(set) var outputBytes: UInt64 = 0

    /// Makes new ones for a program that is about to start: the former one's are nobody's.
    init(makeIn path: String, _ policy: LogPolicy, at position: LogPosition) throws(KernelError) {
        round = OutputSpool.round(policy)
        let folder = try Descriptor.open(path, [.read, .folder, .noFollow])
        let fresh: OpenFlags = [.readWrite, .create, .exclusive, .noFollow]
        for name in OutputSpool.names + OutputSpool.names.map({ $0 + ".moved" }) + [OutputSpool.stateName] {
            do { try folder.remove(name) } catch { guard error.number == Errno.missing else { throw error } }
        }
        state = Owned(try folder.open(OutputSpool.stateName, fresh))
        self.position = position
        for name in OutputSpool.names {
            try folder.makePipe(FileName(name), mode: 0o600)
            sides.append(
                Side(pipe: try OutputSpool.pipe(name, in: folder), file: Owned(try folder.open(name + ".moved", fresh)))
            )
        }
        try probe()
        try save()
    }

    /// Opens those that a killed supervisor left.
    init(openIn path: String, _ policy: LogPolicy) throws(KernelError) {
        round = OutputSpool.round(policy)
        let folder = try Descriptor.open(path, [.read, .folder, .noFollow])
        state = try OutputSpool.file(OutputSpool.stateName, in: folder)
        for name in OutputSpool.names {
            sides.append(
                Side(
                    pipe: try OutputSpool.pipe(name, in: folder),
                    file: try OutputSpool.file(name + ".moved", in: folder)))
        }
        guard let saved = OutputState(try state.value.read(at: 0, count: OutputState.size)) else {
            throw KernelError("read", "\(path)/\(OutputSpool.stateName)", number: Errno.invalid)
        }
        (position, outputBytes) = (saved.position, saved.outputBytes)
        for index in sides.indices {
            sides[index].moved = try sides[index].file.value.status().size
            sides[index].logged = saved.logged[index]
            // Killed between emptying the file and saying so.
            if sides[index].logged > sides[index].moved { try rewind(index) }
            guard sides[index].moved - sides[index].logged <= 65536 else {
                throw KernelError("read", "\(path)/\(OutputSpool.names[index]).moved", number: Errno.overflow)
            }
        }
    }

    private static func round(_ policy: LogPolicy) -> Int { Int(min(max(policy.fileSize / 100, 512), 65536)) }

    private static func pipe(_ name: String, in folder: borrowing Descriptor) throws(KernelError) -> Owned<Descriptor> {
        // Open for both directions: that never waits (fifo(7)).
        let pipe = try folder.open(name, [.readWrite, .noFollow, .nonblocking])
        let status = try pipe.status()
        guard status.kind == .pipe, status.uid == Machine.uid else {
            throw KernelError("open", name, number: Errno.invalid)
        }
        return Owned(pipe)
    }

    private static func file(_ name: String, in folder: borrowing Descriptor) throws(KernelError) -> Owned<Descriptor> {
        let file = try folder.open(name, [.readWrite, .noFollow, .nonblocking])
        guard try file.status().kind == .file else { throw KernelError("open", name, number: Errno.invalid) }
        return Owned(file)
    }

    /// A file system that cannot do it is told before the program starts, not when a byte is lost.
    private func probe() throws(KernelError) {
        let side = sides[0]
        _ = try side.pipe.value.write(some: [0])
        guard try side.pipe.value.splice(to: side.file.value, at: 0, most: 1) == 1 else {
            throw KernelError("splice", number: Errno.notSupported)
        }
        try side.file.value.truncate(0)
    }

    /// The supervisor's ends, to be watched.
    var outputs: [(Owned<Descriptor>, StandardStream)] { [(sides[0].pipe, .output), (sides[1].pipe, .error)] }

    /// Ends of the program's own, which waits when it writes to a full pipe. Not for writing alone: a pipe without
    /// a reader would end the program (SIGPIPE) as soon as its supervisor is gone.
    func programEnds(in path: String) throws(KernelError) -> [Owned<Descriptor>] {
        let folder = try Descriptor.open(path, [.read, .folder, .noFollow])
        var ends: [Owned<Descriptor>] = []
        for name in OutputSpool.names { ends.append(Owned(try folder.open(name, [.readWrite, .noFollow]))) }
        return ends
    }

    /// Streams of which something was moved that is not in the log yet.
    var pending: [StandardStream] {
        [StandardStream.output, .error].filter { sides[index($0)].moved > sides[index($0)].logged }
    }

    private func index(_ stream: StandardStream) -> Int { stream == .error ? 1 : 0 }

    // MARK: Taking output

    /// Puts output into the buffer, which has room for 64 KiB; what was moved and not logged comes first.
    ///
    /// - Returns: how many bytes, at most ``round`` where they are new.
    /// - Throws: EAGAIN: there is nothing now.
    func take(_ stream: StandardStream, into buffer: UnsafeMutableRawBufferPointer) throws(KernelError) -> Int {
        let index = index(stream)
        sides[index].isDirect = false
        if sides[index].moved == sides[index].logged {
            if sides[index].moved >= OutputSpool.most { try? rewind(index) }
            let side = sides[index]
            do throws(KernelError) {
                let count = try side.pipe.value.splice(to: side.file.value, at: side.moved, most: round)
                guard count > 0 else { throw KernelError("splice", number: Errno.wouldBlock) }
                sides[index].moved += Int64(count)
            } catch {
                guard error.number != Errno.wouldBlock else { throw error }
                // A full disk must not hold the program up: its output goes on without the way back.
                sides[index].isDirect = true
                return try side.pipe.value.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<round]))
            }
        }
        let side = sides[index]
        let wanted = min(Int(side.moved - side.logged), buffer.count)
        return try side.file.value.read(
            into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted]), at: side.logged)
    }

    /// What was taken last is in the log, which has come to `position`.
    func commit(_ stream: StandardStream, _ count: Int, at position: LogPosition, outputBytes: UInt64) {
        let index = index(stream)
        if !sides[index].isDirect { sides[index].logged += Int64(count) }
        self.position = position
        self.outputBytes = outputBytes
        // Written over what is there: that needs no room on the disk.
        try? save()
    }

    /// In this order: an empty file has nothing that is not logged, whatever the state says.
    private func rewind(_ index: Int) throws(KernelError) {
        try sides[index].file.value.truncate(0)
        (sides[index].moved, sides[index].logged) = (0, 0)
        try save()
    }

    private func save() throws(KernelError) {
        let bytes = OutputState(logged: sides.map(\.logged), outputBytes: outputBytes, position: position).bytes
        var failure: KernelError?
        bytes.withUnsafeBytes { raw in
            do throws(KernelError) { try state.value.write(raw, at: 0) } catch { failure = error }
        }
        if let failure { throw failure }
    }
}

/// What `output` says: numbers of 64 bits, lowest byte first.
struct OutputState: Equatable {
    static let size = 64
    /// "codex32" and the form of what follows, 1.
    private static let mark: UInt64 = 0x0132_3378_6564_6f63
    var logged: [Int64]
    var outputBytes: UInt64
    var position: LogPosition

    init(logged: [Int64], outputBytes: UInt64, position: LogPosition) {
        self.logged = logged
        self.outputBytes = outputBytes
        self.position = position
    }

    var bytes: [UInt8] {
        var bytes: [UInt8] = []
        let numbers = [
            OutputState.mark, UInt64(bitPattern: logged[0]), UInt64(bitPattern: logged[1]), outputBytes, position.inode,
            position.size,
        ]
        for number in numbers { for shift in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: number >> (shift * 8))) } }
        for tail in position.tails {
            bytes.append(UInt8(tail.count))
            bytes += tail + [UInt8](repeating: 0, count: 3 - tail.count)
        }
        return bytes + [UInt8](repeating: 0, count: OutputState.size - bytes.count)
    }

    /// Nil: these bytes are not of a supervisor's.
    init?(_ bytes: [UInt8]) {
        guard bytes.count == OutputState.size else { return nil }
        var numbers = [UInt64](repeating: 0, count: 6)
        for (place, byte) in bytes[..<48].enumerated() { numbers[place / 8] |= UInt64(byte) << UInt64(place % 8 * 8) }
        guard numbers[0] == OutputState.mark, let output = Int64(exactly: numbers[1]),
            let error = Int64(exactly: numbers[2]), bytes[48] <= 3, bytes[52] <= 3
        else { return nil }
        logged = [output, error]
        outputBytes = numbers[3]
        let tails = [Array(bytes[49..<49 + Int(bytes[48])]), Array(bytes[53..<53 + Int(bytes[52])])]
        position = LogPosition(inode: numbers[4], size: numbers[5], tails: tails)
    }
}
