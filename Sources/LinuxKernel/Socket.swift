internal import CShims
internal import Glibc

/// A Unix socket with a path on which others ask for something, one message a packet (unix(7),
/// SOCK_SEQPACKET). Never abstract: those can be reached from any container with the host's network.
public struct SocketListener: ~Copyable {
    public let descriptor: Descriptor

    /// Makes the socket `name` in a folder; one of that name that is there already is an error.
    public init(_ name: String, in folder: borrowing Descriptor) throws(KernelError) {
        descriptor = Descriptor(
            owning: try KernelError.check(codex_socket_listen(folder.number, name), "bind", name))
    }

    /// The next caller; nil: nobody waits. One of another user (root excepted) is turned away.
    public borrowing func accept() throws(KernelError) -> SocketConnection? {
        let number = codex_socket_accept(descriptor.number)
        if number == -EAGAIN || number == -ECONNABORTED { return nil }
        let peer = Descriptor(owning: try KernelError.check(number, "accept4"))
        var uid = UInt32.max
        guard codex_socket_peer(peer.number, &uid) >= 0, uid == 0 || uid == geteuid() else { return nil }
        return SocketConnection(peer)
    }
}

/// One end of a conversation.
public struct SocketConnection: ~Copyable {
    /// Bytes of the longest packet.
    public static let longest = 65536
    public let descriptor: Descriptor

    init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }

    /// Takes over a connected socket that nobody else will close.
    public init(owning number: Int32) { descriptor = Descriptor(owning: number) }

    /// Connects to the socket `name` in a folder.
    public init(to name: String, in folder: borrowing Descriptor) throws(KernelError) {
        descriptor = Descriptor(
            owning: try KernelError.check(codex_socket_connect(folder.number, name), "connect", name))
    }

    /// Sends one packet. EAGAIN: the other end does not read, and this one does not wait.
    public borrowing func send(_ bytes: UnsafeRawBufferPointer) throws(KernelError) {
        try KernelError.check(codex_socket_send(descriptor.number, bytes.baseAddress, bytes.count), "send")
    }

    public borrowing func send(_ bytes: [UInt8]) throws(KernelError) {
        let result = bytes.withUnsafeBytes { codex_socket_send(descriptor.number, $0.baseAddress, $0.count) }
        try KernelError.check(result, "send")
    }

    /// Reads the next packet into a buffer, and returns its length; 0: the other end is gone.
    public borrowing func receive(into buffer: UnsafeMutableRawBufferPointer) throws(KernelError) -> Int {
        try KernelError.check(codex_socket_receive(descriptor.number, buffer.baseAddress, buffer.count), "recv")
    }

    /// The next packet; empty: the other end is gone. EAGAIN: none yet, and this end does not wait.
    public borrowing func receive() throws(KernelError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: SocketConnection.longest)
        let result = bytes.withUnsafeMutableBytes {
            codex_socket_receive(descriptor.number, $0.baseAddress, $0.count)
        }
        return Array(bytes[..<(try KernelError.check(result, "recv"))])
    }
}

extension Descriptor {
    /// Connects to a stream socket that root or this user made (unix(7)); another's is EACCES.
    public static func connectStream(_ path: String) throws(KernelError) -> Descriptor {
        var uid = UInt32.max
        let stream = Descriptor(owning: try KernelError.check(codex_stream_connect(path, &uid), "connect", path))
        guard uid == 0 || uid == geteuid() else { throw KernelError("connect", path, number: EACCES) }
        return stream
    }
}
