import LinuxKernel
import OCISpec
import Sandbox
import Testing

@testable import Engine
@testable import Images
@testable import codex32

/// Each of these once ended codex32, or came back as something else: what Tests/Fuzz found.
@Suite struct FoundByFuzzingTests {
    /// Written with its tag, such a name was longer than one that is read.
    @Test(arguments: 190...201)
    func anImageNameIsReadBackAsItWasWritten(length: Int) {
        let text = String(repeating: "a", count: length)
        let name = ImageName(text)
        #expect((name != nil) == (length <= 193))
        if let name { #expect(ImageName(fileName: name.fileName) == name) }
        #expect(ImageName(text.dropLast(2) + ":b").map { $0.description.utf8.count <= 200 } ?? (length > 200))
    }

    /// Nine digits times the nanoseconds of a day are more than 64 bits hold.
    @Test(arguments: [
        ("0.9999999d", 86_399_991_360_000), ("0.9999999h", 3_599_999_640_000),
        ("99999.999d", 8_639_999_913_600_000_000),
    ])
    func aFractionOfALongUnit(text: String, nanoseconds: Int64) throws {
        let time = try? Value.duration(text, option: "--timeout")
        #expect(time == (nanoseconds < 1 << 62 ? nanoseconds : nil))
    }

    private func configuration(_ more: String) throws(DocumentError) -> ContainerConfiguration {
        let text = #"{"image":"template:busybox","hostname":"h",\#(more)}"#
        return try ContainerConfiguration(
            try JSONReader.read(Array(text.utf8)), name: "n", labels: [], storage: Storage(data: "/d", runtime: "/r"))
    }

    @Test(arguments: ["wallTime", "cpuTime", "stopTimeout"], [-1, Int64.min, Int64.max, 1 << 62])
    func aRecordsTimeIsOneThatCanBeWaitedFor(name: String, nanoseconds: Int64) throws {
        #expect(throws: DocumentError("configuration.\(name)", "is no time")) {
            try configuration(#""\#(name)":\#(nanoseconds)"#)
        }
        #expect(try configuration(#""cpuTime":1"#).run.request.cpuSeconds == 1)
    }

    @Test(arguments: ["interval", "timeout", "startPeriod"], [-1, Int64.max])
    func aHealthChecksTimeIsOneThatCanBeWaitedFor(name: String, nanoseconds: Int64) {
        #expect(throws: DocumentError("configuration.health.\(name)", "is no time")) {
            try configuration(#""health":{"command":["true"],"\#(name)":\#(nanoseconds)}"#)
        }
    }

    @Test(arguments: [
        ("9223372036854775807", 0), ("18446744073709551615", 0), ("4611686018427387904", 0), ("-1", 0),
        ("4611686018427387903", 4_611_686_018_427_387_903), ("7", 7),
    ])
    func aJournalsBaseHasRoomAboveIt(text: String, base: Int64) {
        #expect(EventJournal.base(Array("{\"base\":\(text)}\n".utf8)) == base)
    }

    /// As the kernel reads it, but for the carriage return that editors of other systems leave at the end.
    @Test(arguments: [
        ("#!\r/bin/sh\n", ["\r/bin/sh"]), ("#!/bin/sh\r\n", ["/bin/sh"]),
        ("#! /usr/bin/env  python3 -u \n", ["/usr/bin/env", "python3 -u"]),
        ("#!/bin/sh\t-e\r\nx", ["/bin/sh", "-e"]), ("#!/bin/sh\r-e\n", ["/bin/sh\r-e"]),
        ("#!/a\u{301} b", ["/a\u{301}", "b"]),
        ("#!/bin/sh \u{301}b", ["/bin/sh", "\u{301}b"]),
    ])
    func aScriptsFirstLine(text: String, command: [String]) {
        #expect(ScriptImage.parse(Array(text.utf8)).map { $0.map { Array($0.utf8) } } == command.map { Array($0.utf8) })
    }

    @Test(arguments: ["#!", "#!\n/bin/sh", "#! \t\r\n", "#/bin/sh"])
    func noScriptsFirstLine(text: String) { #expect(ScriptImage.parse(Array(text.utf8)) == nil) }

    /// A program may ask for a call of any number, and `--explain` names it.
    @Test(arguments: [Int32.min, -1, Int32.max])
    func aCallOfAnyNumberHasAName(number: Int32) {
        let call = SystemCallData(number: number, architecture: SeccompBuilder.nativeArchitecture, arguments: [])
        #expect(call.name == "call \(number)")
    }

    @Test(arguments: ["-9999999999999", "-9223372036854775808", "-1000000000"])
    func aMomentBeforeAllOthers(text: String) {
        #expect(throws: Problem.self) { try Moment.parse(text, "--since") }
    }

    @Test func aBundlesStateFromBeforeTheEpoch() {
        let text = #"{"ociVersion":"1.0.0","id":"a","bundle":"/b","annotations":{},"createdAt":-1}"#
        #expect(throws: DocumentError("createdAt", "is no time")) { try BundleState(text) }
    }

    @Test func aWorkspaceFromBeforeTheEpochIsNoWorkspace() throws {
        let path = "/tmp/codex32-unit.\(Machine.randomHex(bytes: 8))"
        defer { try? Descriptor.open("/tmp", [.read, .folder]).removeTree(String(path.dropFirst(5))) }
        let storage = Storage(data: path, runtime: path)
        for (id, started) in [("0123456789abcdef", 1), ("1123456789abcdef", Int64.min)] {
            let record = #"{"schema":1,"source":"/s","started":\#(started)}"#
            try makeFolders("\(path)/workspaces/\(id)").replace("record.json", with: record, durable: false)
        }
        #expect(Workspace.all(storage).map(\.started) == [1])
    }

    /// A container's record had the name twice, and was read by nobody.
    @Test func aSettingOfTheKernelThatIsGivenTwice() throws {
        var draft = RunDraft()
        let words = ["--sysctl=net.a.b=1", "--sysctl=net.c=3", "--sysctl=net.a.b=2"]
        _ = try RunOptions.command.parse(words, into: &draft) { _, _ in false }
        #expect(draft.request.sysctls.map(\.name) == ["net.c", "net.a.b"])
        #expect(draft.request.sysctls.map(\.value) == ["3", "2"])
    }

    /// One more start would have been one too many.
    @Test func aRecordsRestartsCanBeCounted() throws {
        let text = { (restarts: UInt64) in
            """
            {"schema":1,"id":"0123456789abcdef","name":"a","createdAt":"2026-01-02T03:04:05Z","configuration":{},
            "state":{"status":"created"},"restarts":\(restarts)}
            """
        }
        #expect(try ContainerRecord(try JSONReader.read(Array(text(7).utf8))).restarts == 7)
        #expect(throws: DocumentError("restarts", "is out of bounds")) {
            try ContainerRecord(try JSONReader.read(Array(text(.max).utf8)))
        }
    }
}
