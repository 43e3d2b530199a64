internal import LinuxKernel
internal import OCISpec

/// A command that talks to the supervisor.
final class Peer {
    enum Role { case asking, waiting, attached }
    /// Packets that a slow client may owe; beyond that it is let go, so that it costs nobody else anything.
    static let patience = 256
    let connection: SocketConnection
    var role = Role.asking
    /// Attached with its input.
    var sendsInput = false
    /// Not read for now: the program does not take its input.
    var isHeld = false
    private(set) var owed: [[UInt8]] = []
    private(set) var isBroken = false

    init(_ connection: consuming SocketConnection) { self.connection = connection }

    func send(_ packet: [UInt8]) {
        owed.append(packet)
        flush()
        if owed.count > Peer.patience { isBroken = true }
    }

    func flush() {
        while let packet = owed.first, !isBroken {
            do { try connection.send(packet) } catch {
                if error.number != Errno.wouldBlock { isBroken = true }
                return
            }
            owed.removeFirst()
        }
    }

    /// The last words of this process: waited for, but not for ever.
    func flushNow() {
        for _ in 0..<200 where !owed.isEmpty && !isBroken {
            flush()
            if !owed.isEmpty { Clock.sleep(milliseconds: 5) }
        }
    }
}

extension Supervisor {
    func acceptPeers() throws(KernelError) {
        while let connection = try listener.accept() {
            let token = nextPeer
            nextPeer += 1
            let peer = Peer(connection)
            try events.add(peer.connection.descriptor.number, token: token)
            peers[token] = peer
        }
    }

    func drop(_ token: UInt64) {
        guard let peer = peers.removeValue(forKey: token) else { return }
        events.remove(peer.connection.descriptor.number)
    }

    func deliver(_ packet: [UInt8], to peer: Peer, _ token: UInt64) {
        peer.send(packet)
        settle(peer, token)
    }

    func settle(_ peer: Peer, _ token: UInt64) {
        if peer.isBroken { return drop(token) }
        events.change(
            peer.connection.descriptor.number, token: token, read: !peer.isHeld, write: !peer.owed.isEmpty)
    }

    func handlePeer(_ event: EventQueue.Event) {
        guard let peer = peers[event.token] else { return }
        if event.writable { peer.flush() }
        if event.readable || event.hungUp {
            let bytes: [UInt8]
            do { bytes = try peer.connection.receive() } catch {
                if error.number != Errno.wouldBlock { drop(event.token) }
                return
            }
            if bytes.isEmpty { return drop(event.token) }
            if peer.role == .attached { takeFrame(bytes, peer) } else { answer(bytes, peer, event.token) }
        }
        if peers[event.token] != nil { settle(peer, event.token) }
    }

    private func takeFrame(_ bytes: [UInt8], _ peer: Peer) {
        switch bytes[0] {
        case Control.Frame.input where peer.sendsInput: take(input: bytes[1...])
        case Control.Frame.inputEnd where peer.sendsInput: endInput()
        case Control.Frame.size where bytes.count == 5:
            let size = TerminalSize(
                rows: UInt16(bytes[1]) << 8 | UInt16(bytes[2]), columns: UInt16(bytes[3]) << 8 | UInt16(bytes[4]))
            if let terminal = program?.terminal { size.apply(to: terminal.value) }
        default: break
        }
    }

    private func answer(_ bytes: [UInt8], _ peer: Peer, _ token: UInt64) {
        do throws(Problem) {
            let request: Control.Request
            do throws(DocumentError) { request = try Control.parse(bytes) } catch {
                throw Problem("cannot understand the request", error.description)
            }
            if let answer = try carryOut(request, peer) { deliver(Array(answer.text().utf8), to: peer, token) }
        } catch {
            deliver(Array(JSON.members(["problem": error.document]).text().utf8), to: peer, token)
        }
    }
}
