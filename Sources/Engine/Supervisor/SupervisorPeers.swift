internal import LinuxKernel
internal import OCISpec

/// A command that talks to the supervisor.
final class Peer {
    enum Role { case asking, waiting, restarting, attached }
    /// Bytes that a client may owe before the program waits for it, and before it is let go.
    static let enough = 1 << 18
    private static let most = 1 << 22
    /// Nanoseconds that the program waits for a client that does not read.
    static let patience: Int64 = 1_000_000_000
    /// Clients at a time: each costs memory.
    static let limit = 64
    let connection: SocketConnection
    var role = Role.asking
    /// Attached with its input.
    var sendsInput = false
    /// Not read for now: the program does not take its input.
    var isHeld = false
    /// It has read something since this was last cleared.
    var hasMoved = false
    private(set) var owed: [[UInt8]] = []
    private(set) var owes = 0
    private(set) var isBroken = false

    init(_ connection: consuming SocketConnection) { self.connection = connection }

    func send(_ packet: [UInt8]) {
        owed.append(packet)
        owes += packet.count
        flush()
        if owes > Peer.most || owed.count > 4096 { isBroken = true }
    }

    func flush() {
        var sent = 0
        while sent < owed.count, !isBroken {
            do { try connection.send(owed[sent]) } catch {
                if error.number != Errno.wouldBlock { isBroken = true }
                break
            }
            owes -= owed[sent].count
            sent += 1
        }
        if sent > 0 {
            owed.removeFirst(sent)
            hasMoved = true
        }
    }

    /// The last words of this process: waited for as long as somebody reads on.
    static func flushNow(_ peers: [Peer]) {
        var quiet = 0
        while quiet < 200, peers.contains(where: { !$0.owed.isEmpty && !$0.isBroken }) {
            var moved = false
            for peer in peers {
                let before = peer.owes
                peer.flush()
                if peer.owes < before { moved = true }
            }
            quiet = moved ? 0 : quiet + 1
            if !moved { Clock.sleep(milliseconds: 5) }
        }
    }
}

extension Supervisor {
    func acceptPeers() {
        while true {
            let accepted: SocketConnection?
            // Out of descriptors, say: it is tried again, and the program goes on meanwhile.
            do { accepted = try listener.accept() } catch { return makeRoom() }
            switch consume accepted {
            case .some(let connection): admit(connection)
            case .none: return
            }
        }
    }

    private func admit(_ connection: consuming SocketConnection) {
        if peers.count >= Peer.limit { makeRoom() }
        let token = nextPeer
        nextPeer += 1
        let peer = Peer(connection)
        guard peers.count < Peer.limit, (try? events.add(peer.connection.descriptor.number, token: token)) != nil else {
            let problem = Problem(
                "cannot reach \(record.name)", "\(Peer.limit) clients are attached to it or wait for its end",
                hint: "try again when one of them has ended")
            return peer.send(Array(JSON.members(["problem": problem.document]).text().utf8))
        }
        peers[token] = peer
    }

    /// Lets go of the client that has been there longest without being attached or waiting for anything.
    private func makeRoom() {
        let idle = peers.filter { $0.value.role == .asking }.keys.min()
        if let idle { drop(idle) } else { Clock.sleep(milliseconds: 10) }
    }

    func drop(_ token: UInt64) {
        guard let peer = peers.removeValue(forKey: token) else { return }
        events.remove(peer.connection.descriptor.number)
        if isOutputHeld { holdOutput() }
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
        if event.writable {
            peer.flush()
            if isOutputHeld { holdOutput() }
        }
        if event.readable || event.hungUp {
            let count: Int
            do { count = try peer.connection.receive(into: buffer) } catch {
                if error.number != Errno.wouldBlock { drop(event.token) }
                return
            }
            if count == 0 { return drop(event.token) }
            let bytes = Array(buffer[..<count])
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
            attachedSize = size
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
