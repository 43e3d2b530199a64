import Testing

@testable import Engine
@testable import LinuxKernel
@testable import codex32

/// What is shown to people, and where its figures come from.
@Suite struct ViewTests {
    @Test func bytesHaveThreeDigits() {
        let shown: [(UInt64, String)] = [
            (0, "0B"), (999, "999B"), (1000, "0.98KiB"), (1024, "1.00KiB"), (1_936_408, "1.85MiB"),
            (512 << 20, "512MiB"), (UInt64.max, "16384PiB"),
        ]
        for (count, text) in shown { #expect(Quantity.bytes(count) == text) }
        #expect(Quantity.bytes(nil) == "-")
        #expect(Quantity.percent(nil) == "-")
        #expect(Quantity.percent(12.345) == "12.35%")
        #expect(Quantity.decimal(0.999, digits: 2) == "1.00")
        #expect(Quantity.decimal(.nan, digits: 2) == "-")
    }

    @Test func everyVerbIsFoundByTheNameOnItsPage() {
        for entry in Verbs.entries { #expect(entry.verb().page.name == entry.names[0]) }
        #expect(Set(Verbs.names).count == Verbs.names.count)
        #expect(Verbs.named("rm")?.page.name == "remove")
        #expect(Verbs.named("nothing") == nil)
    }

    @Test func sparklinesReachFromTheLeastToTheMost() {
        #expect(Sparkline.text([0, 50, 100], top: 100, width: 5, unicode: true) == "  ▁▅█")
        #expect(Sparkline.text([0, nil, 200], top: 100, width: 3, unicode: false) == "_ #")
        #expect(Sparkline.text([1, 2, 3], top: 3, width: 2, unicode: false).count == 2)
        #expect(Sparkline.text([1], top: 0, width: 1, unicode: true) == " ")
        #expect(Sparkline.text([1], top: 1, width: 0, unicode: true) == "")
    }

    @Test func textIsCutToColumns() {
        #expect(Columns.fit("abc", 5) == "abc  ")
        #expect(Columns.fit("abcdef", 3) == "abc")
        // Two columns each: the third does not fit any more.
        #expect(Columns.fit("界界界", 5) == "界界 ")
        #expect(Columns.cut("e\u{301}x", 2).text == "ex")
        #expect(Columns.fit("\u{1b}[2J", 20).hasPrefix("\\u{1b}[2J"))
        #expect(Columns.fit("", 0) == "")
    }

    @Test func keysComeInPieces() {
        var reader = KeyReader()
        #expect(reader.keys([0x1b]) == [])
        #expect(reader.keys([0x5b]) == [])
        #expect(reader.keys([0x41, 0x71]) == [.up, .letter(0x71)])
        #expect(reader.keys(Array("\u{1b}OB\u{1b}[5~\u{1b}[1;5Aj".utf8)) == [.down, .pageUp, .up, .letter(0x6a)])
        // One that never ends is not kept.
        #expect(
            reader.keys([0x1b, 0x5b] + [UInt8](repeating: 0x31, count: 100) + Array("~q".utf8)).last == .letter(0x71))
    }

    @Test func processesAreReadFromTheLastBracket() throws {
        let text =
            "42 (a) b (c) S 7 1 1 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 5 0 99 1000 25 18446744073709551615 1 1 0 0"
        let entry = try #require(ProcessEntry(pid: 42, text: text, ticksPerSecond: 100, pageSize: 4096))
        #expect(entry.parent == 7)
        #expect(entry.threads == 5)
        #expect(entry.cpuNanoseconds == 1_000_000_000)
        #expect(entry.residentBytes == 25 * 4096)
        #expect(ProcessEntry(pid: 1, text: "1 (x) S 1", ticksPerSecond: 100, pageSize: 4096) == nil)
        #expect(ProcessEntry(pid: 1, text: "", ticksPerSecond: 100, pageSize: 4096) == nil)
    }

    @Test func networksAreSummedWithoutLoopback() {
        let text = """
            Inter-|   Receive                                                |  Transmit
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier
                lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0
              eth0:1000 2 0 0 0 0 0 0 30 3 0 0 0 0 0 0
              eth1: 5 2 0 0 0 0 0 0 6 3 0 0 0 0 0 0

            """
        let total = ProcessTable.networkBytes(text)
        #expect(total.received == 1005)
        #expect(total.sent == 36)
    }

    @Test func cpuIsKnownOnlyBetweenTwoMoments() {
        var (before, after) = (
            ContainerUsage(source: .cgroup, at: 1_000_000_000), ContainerUsage(source: .cgroup, at: 2_000_000_000)
        )
        #expect(after.cpuPercent(since: before) == nil)
        (before.cpuNanoseconds, after.cpuNanoseconds) = (0, 500_000_000)
        #expect(after.cpuPercent(since: before) == 50)
        #expect(before.cpuPercent(since: after) == nil)
        (before.cpuNanoseconds, after.cpuNanoseconds) = (9, 5)
        #expect(after.cpuPercent(since: before) == nil)
        #expect(after.memoryPercent == nil)
        (after.memoryBytes, after.memoryLimit) = (10, 40)
        #expect(after.memoryPercent == 25)
    }
}
