internal import LinuxKernel
internal import OCISpec

/// What commands and supervisors say to each other: packets of JSON, and, once attached, of bytes.
enum Control {
    static let socketName = "control"

    /// What a supervisor may be asked for.
    enum Request {
        /// Ends the program: a signal, and SIGKILL after so many nanoseconds; its own ones where nil.
        case stop(signal: Int32?, timeout: Int64?)
        case kill(signal: Int32)
        case restart(timeout: Int64?)
        case pause, unpause
        /// Answers when the program has ended.
        case wait
        /// From the answer on, packets carry bytes: see ``Frame``.
        case attach(input: Bool, size: TerminalSize?)
        /// `from`: what the caller knew it by.
        case rename(String, from: String?)
        /// Where it is in its life.
        case state
        case update(JSON)
        case checkHealth
    }

    /// The first byte of a packet of an attached client.
    enum Frame {
        static let output = UInt8(ascii: "o")
        static let error = UInt8(ascii: "e")
        /// The program has ended: JSON.
        static let ended = UInt8(ascii: "x")
        static let input = UInt8(ascii: "i")
        static let inputEnd = UInt8(ascii: "q")
        /// Four numbers of 8 bits: rows and columns, high byte first.
        static let size = UInt8(ascii: "w")
        /// Bytes that one packet carries beside its first.
        static let most = 32768
    }

    // MARK: The client's side

    /// Asks, and waits for the answer.
    /// - Throws: what the supervisor could not do, in its own words.
    static func ask(
        _ connection: borrowing SocketConnection, _ verb: String, _ members: [JSON.Member] = []
    ) throws(Problem) -> JSON {
        let request = JSON.object([.init("verb", .string(verb))] + members)
        let bytes: [UInt8]
        do throws(KernelError) {
            try connection.send(Array(request.text().utf8))
            bytes = try connection.receive()
        } catch {
            // Reset: it ended with this request, or another's, unread.
            if [Errno.brokenPipe, Errno.connectionReset].contains(error.number) { throw gone }
            throw Problem("cannot reach the supervisor", error)
        }
        return try answer(bytes)
    }

    /// The supervisor ended before it answered: what was asked for may not have been done.
    static let gone = Problem(
        "the supervisor is gone", "it ended before it answered", hint: "codex32 list -a shows what is")

    static func answer(_ bytes: [UInt8]) throws(Problem) -> JSON {
        guard !bytes.isEmpty else { throw gone }
        let json: JSON
        do { json = try JSONReader.read(bytes) } catch {
            throw Problem("cannot understand the supervisor", error.description)
        }
        if let problem = json["problem"] { throw Problem(problem) }
        return json
    }

    // MARK: The supervisor's side

    static func parse(_ bytes: [UInt8]) throws(DocumentError) -> Request {
        let top = try JSONObject(try JSONReader.read(bytes), at: "")
        let signal = try top.integer("signal")
        if let signal, !(1...64).contains(signal) { throw DocumentError("signal", "is no signal") }
        let timeout = try top.integer("timeout")
        if let timeout, timeout < 0 { throw DocumentError("timeout", "is no time") }
        switch try top.required("verb") {
        case "stop": return .stop(signal: signal.map { Int32($0) }, timeout: timeout)
        case "kill":
            guard let signal else { throw DocumentError("signal", "is missing") }
            return .kill(signal: Int32(signal))
        case "restart": return .restart(timeout: timeout)
        case "pause": return .pause
        case "unpause": return .unpause
        case "wait": return .wait
        case "attach":
            var size: TerminalSize?
            if let rows = try top.unsigned("rows"), let columns = try top.unsigned("columns") {
                size = TerminalSize(rows: UInt16(clamping: rows), columns: UInt16(clamping: columns))
            }
            return .attach(input: try top.bool("input") ?? false, size: size)
        case "rename": return .rename(try top.required("name"), from: try top.string("from"))
        case "state": return .state
        case "update": return .update(top.value("change") ?? .object([]))
        case "health": return .checkHealth
        case let other: throw DocumentError("verb", "\(other) is not known")
        }
    }
}

extension Problem {
    var document: JSON {
        .members([
            "what": .string(what), "why": .string(why), "hint": .text(hint), "status": .number(status),
        ])
    }

    /// A problem that another process of codex32 told.
    init(_ json: JSON) {
        let text = { (name: String) -> String? in if case .string(let text)? = json[name] { text } else { nil } }
        var status: Int32 = 125
        if case .integer(let number)? = json["status"], (1...255).contains(number) { status = Int32(number) }
        self.init(text("what") ?? "the supervisor failed", text("why") ?? "", hint: text("hint"), status: status)
    }
}
