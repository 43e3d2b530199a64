internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// An attack by way of what codex32 keeps of a container, or listens to for it: a container is made, something of it is
/// exchanged for the attacker's, and verbs are then used on it.
///
/// In every word and text `@name@` is the container's name, `@place@` the selftest's folder, and `@bystander@` a process
/// outside that has nothing to do with it.
public struct StoreAttack: Equatable, Sendable {
    public enum Tampering: Equatable, Sendable {
        case nothing
        /// Members of the record, each with its JSON text.
        case record([String: String])
        /// Something of its folder becomes a link that leads there.
        case link(String, to: String)
        /// What stands in its log.
        case log(String)
        /// Each is sent to its supervisor as somebody who may reach the socket, over a connection of its own.
        case packets([String])
    }

    /// Options of `create`, beside the level's.
    var options: [String] = []
    /// What the container runs.
    var words: [String]
    /// It runs when it is tampered with.
    var runs = false
    var tampering = Tampering.nothing
    var verbs: [[String]]
}

extension Attack.Probe {
    /// It is tried by `codex32 run`.
    var isRun: Bool {
        switch self {
        case .program, .words: true
        case .store, .bundle: false
        }
    }
}

/// A process outside that nobody has a reason to end.
struct Bystander: ~Copyable {
    private let child: Companion
    let identity: ProcessIdentity

    init(_ program: String) throws(Problem) {
        let child = try Companion(program, ["codex32", "attack-program", "bystand"], environment: [])
        guard let identity = ProcessIdentity(of: child.pid) else {
            throw Problem("cannot start a bystander", "it ended early")
        }
        self.child = child
        self.identity = identity
    }

    /// Ends it. Whether it ended by that, and not by a signal before.
    consuming func wasLeftAlone() -> Bool { child.end() == 0 }
}

extension ProcessIdentity {
    /// `@bystander@`, `@start@` and `@boot@` in a text: this process.
    func filled(_ text: String) -> String {
        text.replacing("@bystander@", with: String(pid)).replacing("@start@", with: String(startTime))
            .replacing("@boot@", with: boot)
    }
}

extension Runner {
    /// What came of one, at a level.
    func outcome(
        _ attempt: StoreAttack, of attack: Attack, _ level: IsolationLevel, _ place: borrowing Place
    ) throws(Problem) -> Outcome {
        let name = "attack-\(Machine.randomHex(bytes: 6))"
        let bystander = try Bystander(program)
        let identity = bystander.identity
        let fill = { (text: String) -> String in
            identity.filled(text.replacing("@name@", with: name).replacing("@place@", with: self.place))
        }
        var words = [
            "create", "--name", name, "--isolation", level.rawValue, "--stop-timeout", "1", "--timeout", "60s",
        ]
        words += waivers(level) + ["-e", "ATTACK_SENTINEL=\(self.place)/sentinel/file"] + attempt.options
        let made = try verb(words + ["--image", "template:busybox", "--"] + attempt.words)
        let id = String(made.output.prefix { $0 != "\n" })
        guard made.status == 0 else { return Outcome(.failed, "create: \(made.told)") }
        var run = Judge.Run(status: 0)
        do throws(Problem) {
            if attempt.runs {
                let started = try verb(["start", name])
                guard started.status == 0 else { throw Problem("start", started.told) }
            }
            try tamper(attempt.tampering, id, fill)
            for words in attempt.verbs {
                let done = try verb(words.map { fill($0) })
                run.status = done.status
                run.output += done.output
                run.outputBytes += done.outputBytes
                run.errors += done.errors
            }
        } catch {
            _ = try verb(["remove", "-f", id])
            return Outcome(.failed, error.description)
        }
        // By its id, which no tampering takes away. With a record of the attacker's this too is a part of the attack.
        let gone = try verb(["remove", "-f", id])
        run.errors += gone.errors
        run.change = place.change()
        run.endedBystander = !bystander.wasLeftAlone()
        return Judge.outcome(attack, run, secret: place.secret, inSandbox: true)
    }

    private func tamper(
        _ tampering: StoreAttack.Tampering, _ id: String, _ fill: (String) -> String
    ) throws(Problem) {
        let folder = "\(place)/storage/containers/\(id)"
        try explaining("cannot tamper with a container") { () throws(KernelError) in
            switch tampering {
            case .nothing: break
            case .record(let changes):
                let text = try Descriptor.contents(of: "\(folder)/container.json")
                guard case .object(let members)? = try? JSONReader.read(Array(text.utf8)) else { break }
                let record = members.map { member in
                    guard let text = changes[member.name], let value = try? JSONReader.read(Array(fill(text).utf8))
                    else {
                        return member
                    }
                    return JSON.Member(member.name, value)
                }
                try Descriptor.open(folder, [.read, .folder]).replace(
                    "container.json", with: JSON.object(record).text(pretty: true), durable: false)
            case .link(let name, let to):
                let own = try Descriptor.open(folder, [.read, .folder])
                try own.removeTree(name)
                let parts = name.split(separator: "/").map(String.init)
                if parts.count == 2 {
                    try own.open(parts[0], [.read, .folder]).makeLink(parts[1], to: fill(to))
                } else {
                    try own.makeLink(name, to: fill(to))
                }
            case .log(let text):
                try Descriptor.open("\(folder)/log", [.read, .folder]).replace(
                    "log.json", with: fill(text), durable: false)
            case .packets(let packets):
                for packet in packets {
                    let supervised = try Descriptor.open("\(place)/storage/run/supervised/\(id)", [.read, .folder])
                    let peer = try SocketConnection(to: "control", in: supervised)
                    // One that is too long, or that the supervisor has hung up on, has arrived all the same.
                    try? peer.send(Array(fill(packet).utf8))
                }
            }
        }
    }
}
