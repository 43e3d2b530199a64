internal import LinuxKernel
internal import OCISpec

/// The last output of a program that was to outlive its supervisor and is not adopted: it ended meanwhile, or is to be
/// ended. What was taken from it goes into its log, and so does what still stands in its pipes.
struct OutputRest {
    private let spool: OutputSpool
    private let log: LogWriter
    private let limit: UInt64

    /// Opens it; while this is held, nothing of it is lost. The caller holds the container's lock.
    ///
    /// Nil: there is none, or none that can be read; then the log stays as it is.
    init?(_ container: borrowing ContainerFolder, _ record: ContainerRecord) {
        guard record.isAdoptable, record.state.isActive,
            let policy = try? JSONObject(record.configuration, at: "configuration").object("log").map(LogPolicy.init)
                ?? LogPolicy(),
            let spool = try? OutputSpool(openIn: container.runtimePath, policy),
            let folder = try? container.folder.open("log", [.read, .folder, .noFollow]),
            let log = try? LogWriter(policy, in: folder, from: spool.position)
        else { return nil }
        self.init(spool, log, limit: (try? JSONObject(record.configuration, at: "").unsigned("outputLimit")) ?? nil)
    }

    init(_ spool: OutputSpool, _ log: LogWriter, limit: UInt64?) {
        (self.spool, self.log, self.limit) = (spool, log, limit ?? .max)
    }

    /// Writes it to the log. Nobody writes any more: the program has ended.
    func write() {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65536, alignment: 16)
        defer { buffer.deallocate() }
        for stream in [StandardStream.output, .error] {
            while let count = try? spool.take(stream, into: buffer), count > 0 {
                let before = spool.outputBytes
                let room = limit > before ? limit - before : 0
                log.append(UnsafeRawBufferPointer(rebasing: buffer[..<Int(min(UInt64(count), room))]), stream)
                spool.commit(stream, count, at: log.position, outputBytes: before + UInt64(count))
            }
        }
        log.finish()
    }
}
