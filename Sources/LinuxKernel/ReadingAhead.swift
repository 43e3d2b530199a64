internal import CShims

/// Work on a thread of its own, some pieces ahead of whoever takes what it makes: inflating beside writing.
///
/// A process that has one clones no child, and drops it before it does.
public final class ReadingAhead {
    /// What the thread calls, and what it says of a failure. Whoever looks has waited for the thread, or taken what it
    /// made.
    private final class Producer {
        let read: (UnsafeMutableRawBufferPointer) throws(KernelError) -> Int
        var failure: KernelError?

        init(_ read: @escaping (UnsafeMutableRawBufferPointer) throws(KernelError) -> Int) { self.read = read }
    }

    private let producer: Producer
    /// Nil: there is no thread, and what is asked for is made then.
    private var thread: OpaquePointer?
    private var isOver = false
    private var left = UnsafeRawBufferPointer(start: nil, count: 0)

    /// - Parameter read: fills a part of the buffer and says how much; 0: the end. It runs on the thread, and nobody else
    ///   may use what it uses before ``stop()``.
    public init(_ read: @escaping (UnsafeMutableRawBufferPointer) throws(KernelError) -> Int) {
        producer = Producer(read)
        thread = codex_ahead_start(
            { context, piece, size in
                let producer = Unmanaged<Producer>.fromOpaque(context!).takeUnretainedValue()
                do throws(KernelError) {
                    return try producer.read(UnsafeMutableRawBufferPointer(start: piece, count: size))
                } catch {
                    producer.failure = error
                    return -1
                }
            }, Unmanaged.passUnretained(producer).toOpaque())
    }

    deinit { stop() }

    /// What was made next; 0: the end.
    public func read(into buffer: UnsafeMutableRawBufferPointer) throws(KernelError) -> Int {
        if isOver { return 0 }
        guard let thread else {
            return try producer.read(buffer)
        }
        if left.isEmpty {
            var piece: UnsafeRawPointer?
            let count = codex_ahead_next(thread, &piece)
            guard count >= 0 else { throw producer.failure ?? KernelError("read", number: Errno.io) }
            left = UnsafeRawBufferPointer(start: piece, count: count)
        }
        let count = min(left.count, buffer.count)
        buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: left[..<count]))
        left = UnsafeRawBufferPointer(rebasing: left[count...])
        return count
    }

    /// Ends the thread; what it had made and nobody took is lost.
    public func stop() {
        if let thread { codex_ahead_stop(thread) }
        thread = nil
        isOver = true
        left = UnsafeRawBufferPointer(start: nil, count: 0)
    }
}
