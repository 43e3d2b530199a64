internal import LinuxKernel

/// Writes a program's output to its log, in lines of Docker's json-file form:
///
/// `{"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.123456789Z"}`
///
/// What is not UTF-8 stands as `"base64"` instead of `"log"`: no byte is lost. A line of more than ``longest``
/// bytes is cut into several objects, and one that has no end yet is written as it is. Memory is bounded: one
/// buffer that is made with the first output.
final class LogWriter {
    /// Bytes of output in one object, as with Docker.
    static let longest = 16384
    /// Bytes that are gathered before they are written.
    private static let batch = 131_072
    private let format: LogPolicy.Format
    private var files: LogFiles?
    /// Objects that are not written yet, with room for one more behind a whole batch.
    private lazy var buffer = UnsafeMutableRawBufferPointer.allocate(
        byteCount: LogWriter.batch + LogText.room(for: LogWriter.longest), alignment: 16)
    private var filled = 0
    private var isAllocated = false
    private var clock = LogClock()
    /// Bytes of a character whose end has not come yet, by stream.
    private var tails: [[UInt8]] = [[], []]
    /// Bytes of the program's output that a full or broken disk did not take.
    private(set) var lost: UInt64 = 0
    /// The last write failed; cleared by the next one that does not.
    private(set) var isLosing = false
    /// Bytes of output in the buffer.
    private var held: UInt64 = 0

    /// - Parameter position: where a killed writer's work is taken up; nil: at the end of what is there.
    init(
        _ policy: LogPolicy, in folder: consuming Descriptor, from position: LogPosition? = nil
    ) throws(KernelError) {
        format = policy.format
        switch policy.format {
        case .none: files = nil
        case .json, .raw: files = try LogFiles(policy, in: folder, from: position)
        }
        if let position { tails = position.tails }
    }

    deinit { if isAllocated { buffer.deallocate() } }

    /// How far the output that was added is in the log.
    var position: LogPosition { LogPosition(inode: files?.inode ?? 0, size: files?.size ?? 0, tails: tails) }

    /// Adds output that came just now.
    func append(_ bytes: UnsafeRawBufferPointer, _ stream: StandardStream) {
        guard format != .none, !bytes.isEmpty else { return }
        if format == .raw { return appendRaw(bytes) }
        let index = stream == .error ? 1 : 0
        if tails[index].isEmpty {
            encode(bytes, index, isLast: true)
        } else {
            let joined = tails[index] + bytes
            tails[index] = []
            joined.withUnsafeBytes { encode($0, index, isLast: true) }
        }
        flush()
    }

    /// Writes what was held back: the program has ended.
    func finish() {
        for index in 0..<2 where !tails[index].isEmpty {
            let rest = tails[index]
            tails[index] = []
            rest.withUnsafeBytes { encode($0, index, isLast: false) }
        }
        flush()
    }

    private func encode(_ bytes: UnsafeRawBufferPointer, _ index: Int, isLast: Bool) {
        isAllocated = true
        let ending = clock.ending(isError: index == 1)
        ending.withUnsafeBytes { ending in
            var start = 0
            while start < bytes.count {
                let end = min(start + LogWriter.longest, bytes.count)
                let text = UnsafeRawBufferPointer(rebasing: bytes[start..<end])
                let piece = LogText.encode(
                    text, isLast: isLast && end == bytes.count, ending: ending, to: buffer.baseAddress! + filled)
                if piece.held > 0 { tails[index] = Array(bytes[(start + piece.taken)..<end]) }
                if piece.taken == 0 { return }
                add(piece)
                start += piece.taken + piece.held
            }
        }
    }

    /// Takes over the object that stands behind the others in the buffer.
    private func add(_ piece: LogText.Encoded) {
        guard let files else { return }
        // An object is never cut: what does not fit into this file begins the next one.
        if UInt64(filled + piece.written) > files.room, filled > 0 || files.size > 0 {
            let last = buffer.baseAddress! + filled
            flush()
            do { try files.turn() } catch { return lose(UInt64(piece.taken)) }
            buffer.baseAddress!.copyMemory(from: last, byteCount: piece.written)
        }
        filled += piece.written
        held += UInt64(piece.taken)
        if filled >= LogWriter.batch { flush() }
    }

    private func lose(_ count: UInt64) {
        lost += count
        isLosing = true
    }

    private func flush() {
        guard filled > 0 else { return }
        do {
            try files?.append(UnsafeRawBufferPointer(rebasing: buffer[..<filled]))
            isLosing = false
        } catch { lose(held) }
        (filled, held) = (0, 0)
    }

    private func appendRaw(_ bytes: UnsafeRawBufferPointer) {
        guard let files else { return }
        var rest = bytes
        while !rest.isEmpty {
            do {
                if files.room == 0 { try files.turn() }
                let part = UnsafeRawBufferPointer(rebasing: rest.prefix(Int(min(files.room, UInt64(rest.count)))))
                try files.append(part)
                isLosing = false
                rest = UnsafeRawBufferPointer(rebasing: rest[part.count...])
            } catch { return lose(UInt64(rest.count)) }
        }
    }
}
