import Foundation
import Testing

@testable import Engine
@testable import LinuxKernel

/// How systemd is spoken to, with the test at its end of the socket.
@Suite struct BusConnectionTests {
    /// systemd's end of its own socket forgets a call that it reads together with the BEGIN: whatever is sent before
    /// its OK has to end with the BEGIN, and nothing but calls may follow.
    @Test func nothingIsSentBehindTheBeginning() throws {
        var ends: [Int32] = [0, 0]
        try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
        let (server, client) = (ends[0], ends[1])
        defer { close(server) }
        let (heard, ended) = (Heard(), DispatchSemaphore(value: 0))
        Thread.detachNewThread {
            // As much as systemd reads in one go, and only then its answers.
            heard.before = BusConnectionTests.read(server)
            BusConnectionTests.send(server, Array("DATA\r\nOK 0123456789abcdef\r\n".utf8))
            heard.after = BusConnectionTests.read(server)
            var answer = BusMessage()
            answer.kind = .answer
            // A header field that says which call this answers (5, "u").
            var bytes = answer.bytes(serial: 7)
            bytes.replaceSubrange(12..<16, with: [8, 0, 0, 0])
            BusConnectionTests.send(server, bytes + [5, 1, 0x75, 0, 1, 0, 0, 0])
            ended.signal()
        }
        var bus = try BusConnection(Descriptor(owning: client), isBus: false)
        guard case .success(let body) = try bus.call("Subscribe") else {
            Issue.record("an error")
            return
        }
        #expect(body.isEmpty)
        ended.wait()
        #expect(heard.before == Array("\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n".utf8))
        #expect(try BusMessage(heard.after).member == "Subscribe")
    }

    @Test func aRefusalIsAnError() throws {
        for answer in ["REJECTED EXTERNAL\r\n", "DATA\r\nREJECTED\r\n", "OK\r\n", String(repeating: "x", count: 600)] {
            var ends: [Int32] = [0, 0]
            try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
            BusConnectionTests.send(ends[0], Array(answer.utf8))
            let client = ends[1]
            #expect(throws: KernelError.self) {
                _ = try BusConnection(Descriptor(owning: client), isBus: false)
            }
            close(ends[0])
        }
    }

    /// Written by the thread and read after it.
    private final class Heard: @unchecked Sendable {
        var before: [UInt8] = []
        var after: [UInt8] = []
    }

    private static func read(_ socket: Int32) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 256)
        return Array(bytes[..<max(0, recv(socket, &bytes, bytes.count, 0))])
    }

    private static func send(_ socket: Int32, _ bytes: [UInt8]) {
        _ = Glibc.send(socket, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    }
}
