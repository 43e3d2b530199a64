internal import LinuxKernel
internal import OCISpec

/// What the program writes and reads.
extension Supervisor {
    func copyPipe(_ stream: StandardStream) {
        guard let program, let output = program.outputs.first(where: { $0.stream == stream }) else { return }
        // Several times, because a wait between costs as much as a read; and not for ever, because others wait too.
        for _ in 0..<16 where !isOutputHeld {
            guard let count = read(output) else { return }
            if count == 0 {
                events.remove(output.pipe.value.number)
                program.outputs.removeAll { $0.stream == stream }
                return
            }
            pass(count, stream)
            guard count == program.spool?.round ?? buffer.count else { return }
            // A program that fills its pipe gets a larger one: both then wait for each other less often.
            if grownPipes.insert(stream).inserted { output.pipe.value.growPipe(to: 1 << 20) }
        }
    }

    func copyTerminal() {
        guard let program, let terminal = program.terminal, !isOutputHeld else { return }
        // EIO: nobody has the other end open any more (pty(7)).
        guard let count = read(terminal.value) else { return }
        if count <= 0 { return events.remove(terminal.value.number) }
        pass(count, .output)
    }

    /// Bytes that are ready in the buffer; 0: the end; nil: nothing now.
    /// - Parameter attempts: of a pipe only its end is one. What failed otherwise is still there, and a program whose
    ///   pipe is closed would die of it.
    private func read(_ source: borrowing Descriptor, attempts: Int = 1) -> Int? {
        for _ in 0..<attempts {
            do { return try source.read(into: buffer) } catch { if error.number == Errno.wouldBlock { return nil } }
        }
        return 0
    }

    /// The same of a stream that may be kept safe from this process's end.
    private func read(_ output: (pipe: Owned<Descriptor>, stream: StandardStream)) -> Int? {
        guard let spool = program?.spool else { return read(output.pipe.value, attempts: 4) }
        do { return try spool.take(output.stream, into: buffer) } catch {
            return error.number == Errno.wouldBlock ? nil : 0
        }
    }

    /// To the log first, then to whoever watches.
    private func pass(_ count: Int, _ stream: StandardStream) {
        guard let program else { return }
        let taken = count
        // What is beyond the limit goes nowhere, as in a foreground run.
        let room = (limits.outputLimit ?? UInt64.max).subtractingReportingOverflow(program.outputBytes)
        program.outputBytes += UInt64(count)
        var count = count
        if room.overflow || UInt64(count) > room.partialValue {
            end(.output)
            count = room.overflow ? 0 : Int(room.partialValue)
        }
        let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<count])
        log.append(bytes, stream)
        program.spool?.commit(stream, taken, at: log.position, outputBytes: program.outputBytes)
        if log.isLosing != wasLosing { reportLog() }
        guard peers.values.contains(where: { $0.role == .attached }) else { return }
        let kind = stream == .error ? Control.Frame.error : Control.Frame.output
        var start = 0
        while start < count {
            let end = min(start + Control.Frame.most, count)
            let frame = [kind] + bytes[start..<end]
            for (token, peer) in peers where peer.role == .attached { deliver(frame, to: peer, token) }
            start = end
        }
        holdOutput()
    }

    /// Tells, once, that the log has begun to lose output, and that it takes it again.
    func reportLog() {
        guard log.isLosing != wasLosing else { return }
        wasLosing = log.isLosing
        journal.append(wasLosing ? "log-lost" : "log-resumed", record, [.init("lostBytes", .number(log.lost))])
    }

    /// The program waits for clients that have much to read yet, but never long for one that does not read.
    func holdOutput() {
        let wanted = peers.values.contains { $0.role == .attached && $0.owes > Peer.enough }
        guard wanted != isOutputHeld, let program, !program.hasEnded else { return }
        isOutputHeld = wanted
        for output in program.outputs {
            let token = output.stream == .output ? Token.output : Token.error
            events.change(output.pipe.value.number, token: token, read: !wanted, write: false)
        }
        if let terminal = program.terminal {
            events.change(
                terminal.value.number, token: Token.terminal, read: !wanted, write: !pendingInput.isEmpty)
        }
        try? slow.set(nanoseconds: wanted ? Peer.patience : 0)
    }

    /// Lets go of clients that have read nothing since the output is held.
    func dropSlow() {
        try? slow.set(nanoseconds: 0)
        for (token, peer) in peers where peer.role == .attached && peer.owes > Peer.enough {
            if !peer.hasMoved { drop(token) }
            peer.hasMoved = false
        }
        holdOutput()
        if isOutputHeld { try? slow.set(nanoseconds: Peer.patience) }
    }

    /// What is still in the pipes when the program has ended: its other processes are gone by then
    /// (pid_namespaces(7)), so what is there now is all there will be.
    func drain(_ program: Program) {
        for output in program.outputs {
            while let count = read(output), count > 0 { pass(count, output.stream) }
            events.remove(output.pipe.value.number)
        }
        if let terminal = program.terminal {
            while let count = read(terminal.value), count > 0 { pass(count, .output) }
            events.remove(terminal.value.number)
        }
        events.remove(program.child.pidfd.number)
    }

    /// What a killed supervisor had taken from the program, and not brought into the log for certain.
    func passPending(_ program: Program) {
        guard let spool = program.spool else { return }
        for stream in spool.pending {
            if let count = try? spool.take(stream, into: buffer), count > 0 { pass(count, stream) }
        }
    }

    // MARK: Input

    /// Keeps input for the program, and writes what fits now.
    func take(input bytes: ArraySlice<UInt8>) {
        guard let program, program.input != nil || program.terminal != nil else { return }
        pendingInput += bytes
        writeInput()
    }

    func endInput() {
        // On a terminal the end is a character (termios(3), VEOF).
        if program?.terminal != nil { return take(input: [4]) }
        inputEnds = true
        writeInput()
    }

    func writeInput() {
        guard let program, let sink = program.input ?? program.terminal else { return }
        let token = program.terminal == nil ? Token.input : Token.terminal
        do throws(KernelError) {
            while !pendingInput.isEmpty {
                pendingInput.removeFirst(try sink.value.write(some: pendingInput))
            }
            settleInput(sink, token, waits: false)
        } catch {
            guard error.number == Errno.wouldBlock else {
                // The program has closed it.
                pendingInput = []
                settleInput(sink, token, waits: false)
                program.input = nil
                return
            }
            settleInput(sink, token, waits: true)
        }
    }

    /// Asks to be told when there is room again, or not; a client that floods is not read meanwhile.
    private func settleInput(_ sink: Owned<Descriptor>, _ token: UInt64, waits: Bool) {
        let isTerminal = token == Token.terminal
        if isTerminal {
            events.change(sink.value.number, token: token, read: !isOutputHeld, write: waits)
        } else if waits {
            if (try? events.add(sink.value.number, token: token, write: true)) == nil {
                events.change(sink.value.number, token: token, read: false, write: true)
            }
        } else {
            events.remove(sink.value.number)
            if inputEnds, pendingInput.isEmpty {
                program?.input = nil
                inputEnds = false
            }
        }
        for (key, peer) in peers where peer.role == .attached {
            peer.isHeld = pendingInput.count > 65536
            settle(peer, key)
        }
    }
}
