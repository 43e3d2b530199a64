import LinuxKernel
import OCISpec
import Sandbox
import Testing

@testable import Engine

/// What another supervisor goes by, as pure values and on files of its own.
@Suite struct AdoptionTests {
    @Test func theStateOfTheOutputComesBackAsItWasWritten() throws {
        let positions = [
            LogPosition(), LogPosition(inode: .max, size: .max, tails: [[0xe2, 0x82], []]),
            LogPosition(inode: 7, size: 1 << 40, tails: [[], [0xf0, 0x9d, 0x84]]),
        ]
        for position in positions {
            let state = OutputState(logged: [0, .max], outputBytes: 12345, position: position)
            #expect(state.bytes.count == OutputState.size)
            #expect(OutputState(state.bytes) == state)
        }
    }

    @Test func damageToTheStateIsRefusedOrHarmless() {
        let whole = OutputState(logged: [1, 2], outputBytes: 3, position: LogPosition(inode: 4, size: 5)).bytes
        for count in 0..<whole.count { #expect(OutputState(Array(whole[..<count])) == nil) }
        #expect(OutputState(whole + [0]) == nil)
        for place in whole.indices {
            var bytes = whole
            bytes[place] = 0xff
            guard let state = OutputState(bytes) else { continue }
            #expect(state.logged.allSatisfy { $0 >= 0 } && state.position.tails.allSatisfy { $0.count <= 3 })
        }
    }

    @Test func anEndThatNobodySawIsFollowedByWhatThePolicySays() throws {
        let life = ContainerState.Life(process: ProcessIdentity(pid: 42, startTime: 7, boot: "b"), startedAt: 0)
        let ending = ContainerState.Ending(status: 137, verdict: .members([:]))
        let cases: [(policy: String, restarts: UInt64, stopped: Bool, follows: Bool)] = [
            ("no", 0, false, false), ("always", 9, false, true), ("always", 0, true, false),
            ("unless-stopped", 0, false, true), ("on-failure:2", 1, false, true), ("on-failure:2", 2, false, false),
            ("never heard of", 0, false, false),
        ]
        for each in cases {
            var record = ContainerRecord(
                id: "0123456789abcdef", name: "bot", createdAt: 0, labels: [],
                configuration: .members(["restart": .string(each.policy)]))
            record.state = .running(life)
            (record.restarts, record.wasStopped) = (each.restarts, each.stopped)
            #expect(Resumption.follows(ending, of: &record) == each.follows, "\(each)")
            #expect(record.state.kind == (each.follows ? .restarting : .running))
            #expect(record.restarts == each.restarts + (each.follows ? 1 : 0))
        }
    }

    @Test(arguments: [Int64.min, 0, Int64.max])
    func aNextStartIsNeverLaterThanTheLongestDelay(at: Int64) {
        #expect((1...RestartPolicy.longestDelay).contains(Resumption.rest(until: at)))
    }

    /// A folder of this test's own, gone after it.
    private func withFolder(_ body: (borrowing Descriptor) throws -> Void) throws {
        let above = try Descriptor.open("/tmp", [.read, .folder])
        let name = "codex32-unit.\(Machine.randomHex(bytes: 8))"
        try above.makeFolder(name)
        defer { try? above.removeTree(name) }
        try body(try above.open(name, [.read, .folder, .noFollow]))
    }

    private func write(_ text: String, _ name: String, in folder: borrowing Descriptor) throws -> UInt64 {
        let file = try folder.open(name, [.write, .create, .truncate])
        try file.write(text)
        return try file.status().inode
    }

    @Test func whatALogGotAfterAPositionIsTakenBack() throws {
        try withFolder { folder in
            let inode = try write("safe\nnot safe\n", "log.json", in: folder)
            let position = LogPosition(inode: inode, size: 5)
            for _ in 0..<2 {
                try position.restore(in: folder, base: "log.json", count: 3)
                #expect(try folder.contents(of: "log.json") == "safe\n")
            }
        }
    }

    /// Killed at each step of a log's turn, and after it.
    @Test func alsoWhereTheLogHasTurnedSince() throws {
        for hasNewFile in [false, true] {
            try withFolder { folder in
                let inode = try write("safe\nnot safe\n", "log.json.1", in: folder)
                _ = try write("older\n", "log.json.2", in: folder)
                if hasNewFile { _ = try write("not safe either\n", "log.json", in: folder) }
                try LogPosition(inode: inode, size: 5).restore(in: folder, base: "log.json", count: 3)
                #expect(try folder.contents(of: "log.json.2") == "older\n")
                #expect(try folder.contents(of: "log.json.1") == "safe\n")
                if hasNewFile { #expect(try folder.contents(of: "log.json") == "") }
            }
        }
    }

    @Test func filesOfOthersAreLeftAlone() throws {
        try withFolder { folder in
            _ = try write("somebody's\n", "log.json", in: folder)
            _ = try write("older\n", "log.json.1", in: folder)
            try LogPosition(inode: 1, size: 0).restore(in: folder, base: "log.json", count: 3)
            #expect(try folder.contents(of: "log.json") == "somebody's\n")
            #expect(try folder.contents(of: "log.json.1") == "older\n")
            // Of one file, whatever is there came after it.
            try LogPosition(inode: 1, size: 0).restore(in: folder, base: "log.json", count: 1)
            #expect(try folder.contents(of: "log.json") == "")
            try folder.remove("log.json")
            try folder.makeLink("log.json", to: "/etc/passwd")
            #expect(throws: KernelError.self) {
                try LogPosition(inode: 1, size: 0).restore(in: folder, base: "log.json", count: 1)
            }
        }
    }

    private func text(of log: String) -> [String] {
        log.split(separator: "\n").compactMap { LogReader.parse(Array($0.utf8)) }
            .map { String(decoding: $0.bytes, as: UTF8.self) }
    }

    /// A program that ended: what its supervisor had taken, and what it had not, is in the log, once.
    @Test(arguments: [false, true])
    func theRestOfTheOutputIsWritten(isLogged: Bool) throws {
        let path = "/tmp/codex32-unit.\(Machine.randomHex(bytes: 8))"
        let folder = try makeFolders(path)
        defer { try? Descriptor.open("/tmp", [.read, .folder]).removeTree(String(path.dropFirst(5))) }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65536, alignment: 16)
        defer { buffer.deallocate() }
        let program: [Owned<Descriptor>]
        do {
            let log = try LogWriter(LogPolicy(), in: try folder.duplicate())
            let spool = try OutputSpool(makeIn: path, LogPolicy(), at: log.position)
            program = try spool.programEnds(in: path)
            try program[0].value.write("safe\n")
            let safe = try spool.take(.output, into: buffer)
            log.append(UnsafeRawBufferPointer(rebasing: buffer[..<safe]), .output)
            spool.commit(.output, safe, at: log.position, outputBytes: UInt64(safe))
            try program[0].value.write("taken\n")
            let taken = try spool.take(.output, into: buffer)
            // Killed here, before or after it is in the log.
            if isLogged { log.append(UnsafeRawBufferPointer(rebasing: buffer[..<taken]), .output) }
            try program[0].value.write("not taken\n")
            try program[1].value.write("error\n")
        }
        for _ in 0..<2 {
            let spool = try OutputSpool(openIn: path, LogPolicy())
            let log = try LogWriter(LogPolicy(), in: try folder.duplicate(), from: spool.position)
            OutputRest(spool, log, limit: 24).write()
            #expect(try text(of: folder.contents(of: "log.json")) == ["safe\n", "taken\n", "not taken\n", "err"])
        }
        _ = program
    }

    @Test func onlyTheFirstOfANamespaceIsAContainers() {
        #expect(ProcessStatus(text: "NSpid:\t4711\t1\n").isFirstOfNamespace)
        #expect(ProcessStatus(text: "NSpid:\t4711\t12\t1\n").isFirstOfNamespace)
        for text in ["NSpid:\t4711\n", "NSpid:\t1\n", "NSpid:\t4711\t2\n", "NSpid:\t1\t11\n", "Name:\tx\n", ""] {
            #expect(!ProcessStatus(text: text).isFirstOfNamespace, "\(text)")
        }
    }

    @Test func aProcessKnowsItsAge() throws {
        let own = try #require(ProcessIdentity(of: Machine.pid))
        let age = try #require(own.age)
        #expect(age >= 0 && age < 86_400_000_000_000)
        #expect(ProcessIdentity(pid: 1, startTime: .max, boot: "b").age == 0)
    }

    private func configuration(_ more: [JSON.Member]) throws -> ContainerConfiguration {
        try ContainerConfiguration(
            .object([.init("image", .string("template:busybox")), .init("hostname", .string("h"))] + more), name: "bot",
            labels: [], storage: Storage(data: "/nonexistent", runtime: "/nonexistent"))
    }

    @Test func olderRecordsEndTheirPrograms() throws {
        #expect(try configuration([]).orphan == .end)
        #expect(try configuration([.init("orphan", .string("adopt"))]).orphan == .adopt)
        #expect(throws: DocumentError.self) { try configuration([.init("orphan", .string("keep"))]) }
        for name in ["terminal", "interactive"] {
            #expect(throws: DocumentError.self) {
                try configuration([.init("orphan", .string("adopt")), .init(name, .bool(true))])
            }
        }
    }
}
