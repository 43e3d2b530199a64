import Images
import LinuxKernel
import OCISpec
import Sandbox
import Testing

@testable import Engine

@Suite struct RecordTests {
    private let life = ContainerState.Life(
        process: ProcessIdentity(pid: 42, startTime: 7, boot: "b"), startedAt: 1_700_000_000_123_456_000)
    private let ending = ContainerState.Ending(status: 3, verdict: .members(["reason": .string("exited")]))

    private func record(_ state: ContainerState = .created) -> ContainerRecord {
        var record = ContainerRecord(
            id: "0123456789abcdef", name: "bot", createdAt: 1_700_000_000_000_000_000, labels: [("a", "1")],
            configuration: .members(["image": .string("template:busybox")]))
        record.state = state
        return record
    }

    private var states: [ContainerState] {
        [
            .created, .running(life), .paused(life), .stopping(life), .restarting(ending, at: 5_000), .exited(ending),
            .dead(why: "torn"),
        ]
    }

    @Test func everyStateComesBackAsItWasWritten() throws {
        for state in states {
            let written = record(state).document
            let back = try ContainerRecord(try JSONReader.read(Array(written.text().utf8)))
            #expect(back.document == written, "\(state.kind)")
        }
    }

    @Test func anIllegalTransitionNamesBothStates() {
        for from in states {
            for to in states where !from.kind.next.contains(to.kind) {
                var record = record(from)
                let problem = #expect(throws: Problem.self) { try record.become(to) }
                #expect(problem?.description.holds(from.kind.rawValue) == true)
                #expect(problem?.description.holds(to.kind.rawValue) == true)
                #expect(record.state.kind == from.kind)
            }
        }
    }

    @Test func theDeadStayDead() { #expect(ContainerState.Kind.dead.next.isEmpty) }

    @Test func aNewerSchemaIsRefusedAndUnknownFieldsAreKept() throws {
        let newer = record().document.replacing("schema", .integer(2))
        let error = #expect(throws: DocumentError.self) { try ContainerRecord(newer) }
        #expect(error?.description.holds("newer") == true)
        let more = record().document.replacing("futureField", .list(["x"]))
        #expect(try ContainerRecord(more).document["futureField"] == .list(["x"]))
    }

    @Test(arguments: ["schema", "id", "name", "createdAt", "labels", "configuration", "state"])
    func aFieldOfAnotherTypeIsRefused(name: String) {
        #expect(throws: DocumentError.self) { try ContainerRecord(record().document.replacing(name, .bool(true))) }
    }

    @Test func aConfigurationComesBackAsItWasWritten() throws {
        var run = RunConfiguration(
            image: .template("busybox"), storage: Storage(data: "/d", runtime: "/r"))
        run.arguments = ["sh", "-c", "a b"]
        run.request.level = .strict
        run.request.limits.memoryMax = 64 << 20
        run.request.limits.io = ["8:0": ["rbps": 1024]]
        run.request.waived = [.cgroup]
        run.request.sysctls = [("net.ipv4.ip_forward", "1")]
        run.request.environment = ["A=b"]
        run.request.temporary = [TemporaryMount(target: "/t", size: 4096, mode: 0o1777, executable: false)]
        run.request.resourceLimits = [ResourceLimit(resource: 7, soft: 10, hard: 20)]
        run.wallTime = 5
        var configuration = ContainerConfiguration(run: run)
        configuration.restart = .onFailure(most: 3)
        configuration.health = HealthCheck(command: ["true"])
        configuration.log.files = 7
        let written = configuration.document
        let back = try ContainerConfiguration(written, name: "n", labels: [], storage: run.storage)
        #expect(back.document == written)
        #expect(back.run.request.limits == run.request.limits)
        #expect(back.restart == .onFailure(most: 3))
    }

    @Test(arguments: ["no", "on-failure", "on-failure:3", "always", "unless-stopped"])
    func policies(text: String) { #expect(RestartPolicy(text)?.text == text) }

    @Test(arguments: ["", "on-failure:", "on-failure:0", "on-failure:-1", "Always", "on-failure:99999999999"])
    func badPolicies(text: String) { #expect(RestartPolicy(text) == nil) }

    @Test func delaysDoubleUpToAMinute() {
        #expect(RestartPolicy.delay(after: 0) == 100_000_000)
        #expect(RestartPolicy.delay(after: 3) == 800_000_000)
        #expect(RestartPolicy.delay(after: 50) == 60_000_000_000)
    }

    @Test(arguments: ["1970-01-01T00:00:00Z", "2026-11-24T06:30:01.5Z", "2024-02-29T23:59:59.123456789Z"])
    func momentsAreReadExactly(text: String) throws {
        let nanoseconds = try #require(Timestamp.nanoseconds(text))
        // Written with six digits behind the point.
        #expect(Timestamp.text(nanoseconds).prefix(19) == text.prefix(19))
        #expect(Timestamp.nanoseconds(Timestamp.text(nanoseconds)) == nanoseconds / 1000 * 1000)
    }

    @Test(arguments: ["", "2026-11-24", "2026-13-01T00:00:00Z", "2026-01-01T25:00:00Z", "2026-01-01T00:00:00", "x"])
    func badMoments(text: String) { #expect(Timestamp.nanoseconds(text) == nil) }
}

@Suite struct LogTextTests {
    /// The objects that some bytes become, without their line feeds.
    private func encode(_ bytes: [UInt8]) -> [[UInt8]] {
        var clock = LogClock()
        let ending = clock.ending(isError: false)
        var lines: [[UInt8]] = []
        var start = 0
        while start < bytes.count {
            let target = UnsafeMutableRawBufferPointer.allocate(
                byteCount: LogText.room(for: bytes.count), alignment: 16)
            defer { target.deallocate() }
            let piece = bytes.withUnsafeBytes { all in
                ending.withUnsafeBytes { ending in
                    LogText.encode(
                        UnsafeRawBufferPointer(rebasing: all[start...]), isLast: false, ending: ending,
                        to: target.baseAddress!)
                }
            }
            lines.append(Array(target[..<piece.written]))
            start += piece.taken
        }
        return lines
    }

    /// Every byte alone, all of them together, and text: what is written is what is read.
    @Test func noByteIsLost() throws {
        var cases: [[UInt8]] = (0...255).map { [UInt8($0)] }
        cases += [Array(0...255), Array("äöü € 𝄞 \u{1}\"\\\n".utf8), [0xe2, 0x82], [0xf0, 0x9d, 0x84], [0xc0, 0x80]]
        for bytes in cases {
            var read: [UInt8] = []
            for line in encode(bytes) {
                #expect(line.last == 10)
                #expect(line.dropLast().allSatisfy { $0 >= 0x20 && $0 != 0x7f }, "harmless for a terminal")
                let entry = try #require(LogReader.parse(Array(line.dropLast())))
                read += entry.bytes
                #expect(entry.stream == .output)
                #expect(entry.time != nil)
            }
            #expect(read == bytes)
        }
    }

    @Test func wellFormedMeansWhatTheStandardLibrarySays() {
        var generator = Seeded(state: 1)
        for _ in 0..<20000 {
            let bytes = (0..<Int.random(in: 0...12, using: &generator)).map { _ in
                [UInt8.random(in: 0...255, using: &generator), 0xe2, 0x82, 0xac, 0x41, 0xf0, 0x9d].randomElement(
                    using: &generator)!
            }
            let expected = String(validating: bytes, as: UTF8.self) != nil
            #expect(bytes.withUnsafeBytes { LogText.isUTF8($0) } == expected, "\(bytes)")
        }
    }

    @Test func aCharacterIsNotCutInTwo() {
        let euro = Array("€".utf8)
        for count in 1...2 {
            #expect((Array("ab".utf8) + euro.prefix(count)).withUnsafeBytes { LogText.openCharacter($0) } == count)
        }
        #expect(euro.withUnsafeBytes { LogText.openCharacter($0) } == 0)
        #expect([UInt8(0x41)].withUnsafeBytes { LogText.openCharacter($0) } == 0)
        #expect([UInt8(0x80), 0x80, 0x80, 0x80].withUnsafeBytes { LogText.openCharacter($0) } == 0)
    }
}

@Suite struct InventedNameTests {
    @Test func oneThatIsTakenIsNotGivenAgain() {
        let taken = ContainerName.invented(from: { "00000000aaaa1111" }, isFree: { _ in true }).name
        var ids = ["00000000aaaa1111", "00000000aaaa1111", "00000001bbbb2222"]
        let found = ContainerName.invented(from: { ids.removeFirst() }, isFree: { $0 != taken })
        #expect(found.id == "00000001bbbb2222")
        #expect(found.name != taken)
        #expect(ContainerName.isValid(found.name))
    }

    @Test func whereNoneIsFreeTheLastIsTried() {
        var asked = 0
        let found = ContainerName.invented(
            from: {
                asked += 1
                return "0000000000000000"
            }, isFree: { _ in false })
        #expect(asked == 101)
        #expect(ContainerName.isValid(found.name))
    }
}
