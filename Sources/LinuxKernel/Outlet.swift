internal import CShims
internal import Glibc

/// A standard stream of ours that is written without ever waiting for its reader.
///
/// The stream is shared with whoever started codex32, so its own flags are not ours to change: where the
/// kernel lets us, the same pipe or terminal is opened once more (proc(5), /proc/self/fd). Where it does
/// not, writes are so small that what poll(2) calls writable takes them whole.
public struct Outlet: ~Copyable {
    private let own: Descriptor?
    private let stream: StandardStream

    /// Nothing is opened for a stream that is only handed on (`isUsed` false).
    public init(_ stream: StandardStream, isUsed: Bool) {
        self.stream = stream
        guard isUsed else {
            own = nil
            return
        }
        let path = "/proc/self/fd/\(stream.rawValue)"
        // A file is never full for long, and opened again it would begin at its start.
        guard let kind = try? Descriptor.status(ofPath: path).kind, kind == .pipe || stream.isTerminal else {
            own = nil
            return
        }
        let opened = codex_openat(AT_FDCWD, path, O_WRONLY | O_NONBLOCK | O_NOCTTY, 0)
        own = opened < 0 ? nil : Descriptor(owning: opened)
    }

    /// What to wait on until there is room.
    public var number: Int32 {
        switch own {
        case .some(let descriptor): descriptor.number
        case .none: stream.rawValue
        }
    }

    /// Waits until there is room, or the reader is gone; false: there was none in that time.
    public borrowing func waitForRoom(milliseconds: Int32) -> Bool { codex_writable(number, milliseconds) == 1 }

    /// Writes as much as there is room for, and returns what is left.
    ///
    /// - Throws: why none of it is ever taken; EPIPE: the reader is gone.
    public borrowing func write(_ bytes: ArraySlice<UInt8>) throws(KernelError) -> ArraySlice<UInt8> {
        var rest = bytes
        while !rest.isEmpty {
            let most: Int
            switch own {
            case .some: most = rest.count
            case .none:
                if codex_writable(stream.rawValue, 0) == 0 { return rest }
                most = min(rest.count, 512)
            }
            let count = rest.withUnsafeBytes { codex_write(number, $0.baseAddress, most) }
            if count == -Int(EAGAIN) { return rest }
            rest = rest.dropFirst(try KernelError.check(count, "write", stream.name))
        }
        return rest
    }
}
