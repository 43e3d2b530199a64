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
    private let format: LogPolicy.Format
    private var files: LogFiles?
    private var buffer: [UInt8] = []
    private var clock = LogClock()
    /// Bytes of a character whose end has not come yet, by stream.
    private var tails: [[UInt8]] = [[], []]
    /// Bytes that a full or broken disk did not take.
    private(set) var lost: UInt64 = 0

    init(_ policy: LogPolicy, in folder: consuming Descriptor) throws(KernelError) {
        format = policy.format
        switch policy.format {
        case .none: files = nil
        case .json, .raw: files = try LogFiles(policy, in: folder)
        }
    }

    /// Adds output that came just now.
    func append(_ bytes: UnsafeRawBufferPointer, _ stream: StandardStream) {
        guard format != .none, !bytes.isEmpty else { return }
        if format == .raw { return appendRaw(bytes) }
        let index = stream == .error ? 1 : 0
        buffer.reserveCapacity(1 << 17)
        let time = clock.now()
        if tails[index].isEmpty {
            encode(bytes, stream, time, index)
        } else {
            let joined = tails[index] + bytes
            tails[index] = []
            joined.withUnsafeBytes { encode($0, stream, time, index) }
        }
        flush()
    }

    /// Writes what was held back: the program has ended.
    func finish() {
        for (index, stream) in [StandardStream.output, .error].enumerated() where !tails[index].isEmpty {
            let rest = tails[index]
            tails[index] = []
            rest.withUnsafeBytes { entry($0, stream, clock.now()) }
        }
        flush()
    }

    private func encode(
        _ bytes: UnsafeRawBufferPointer, _ stream: StandardStream, _ time: StaticTime, _ index: Int
    ) {
        var start = 0
        while start < bytes.count {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[start...])
            var length = LogText.line(rest, most: LogWriter.longest)
            if start + length == bytes.count || length == LogWriter.longest {
                // A character is not cut in two: its beginning waits for its end.
                let tail = LogText.openCharacter(UnsafeRawBufferPointer(rebasing: rest[..<length]))
                if tail > 0 && start + length == bytes.count {
                    tails[index] = Array(rest[(length - tail)..<length])
                    length -= tail
                    if length == 0 { return }
                    entry(UnsafeRawBufferPointer(rebasing: rest[..<length]), stream, time)
                    return
                }
                length -= tail
            }
            entry(UnsafeRawBufferPointer(rebasing: rest[..<length]), stream, time)
            start += length
        }
    }

    /// Adds one object to the buffer.
    private func entry(_ text: UnsafeRawBufferPointer, _ stream: StandardStream, _ time: StaticTime) {
        let before = buffer.count
        LogText.encode(text, isError: stream == .error, time, into: &buffer)
        // An object is never cut: what does not fit into this file begins the next one.
        let length = buffer.count - before
        guard let room = files?.room, UInt64(buffer.count) > room, before > 0 || files!.size > 0 else {
            if buffer.count > 1 << 16 { flush() }
            return
        }
        let last = Array(buffer[before...])
        buffer.removeLast(length)
        flush()
        do { try files?.turn() } catch { lost += UInt64(length) }
        buffer += last
    }

    private func flush() {
        guard !buffer.isEmpty else { return }
        buffer.withUnsafeBytes { bytes in
            do { try files?.append(bytes) } catch { lost += UInt64(bytes.count) }
        }
        buffer.removeAll(keepingCapacity: true)
    }

    private func appendRaw(_ bytes: UnsafeRawBufferPointer) {
        var rest = bytes
        while !rest.isEmpty {
            do {
                if files!.room == 0 { try files?.turn() }
                let part = UnsafeRawBufferPointer(rebasing: rest.prefix(Int(min(files!.room, UInt64(rest.count)))))
                try files?.append(part)
                rest = UnsafeRawBufferPointer(rebasing: rest[part.count...])
            } catch {
                lost += UInt64(rest.count)
                return
            }
        }
    }
}
