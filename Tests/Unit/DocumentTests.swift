import LinuxKernel
import OCISpec
import Sandbox
import Testing

@testable import Engine

@Suite struct DocumentTests {
    private func read(_ text: String) throws(DocumentError) -> JSON { try JSONReader.read(Array(text.utf8)) }

    @Test func valuesSurviveTheWayOutAndBack() throws {
        let text = #"{"a":[1,-2,18446744073709551615,1.5,true,false,null],"b":"x\n\"\u00e9\ud83d\ude00"}"#
        let json = try read(text)
        #expect(try read(json.text()) == json)
        #expect(try read(json.text(pretty: true)) == json)
    }

    @Test(arguments: [
        "", "{", "[1,]", "{\"a\":1,\"a\":2}", "01", "1.", "\"\\ud800\"", "\"\u{1}\"", "tru", "[1] 2", "{\"a\" 1}",
        "99999999999999999999",
        String(repeating: "[", count: 100), "\"abc",
    ])
    func brokenDocumentsAreRefused(text: String) {
        #expect(throws: DocumentError.self) { try read(text) }
    }

    @Test func controlCharactersDoNotReachATerminal() {
        #expect(JSON.string("\u{1b}[31m\u{202e}").text() == #""\u001b[31m\u202e""#)
        #expect("\u{1b}[0m".quotedForTerminal == "\\u{1b}[0m")
    }

    @Test(arguments: [
        #"{"defaultAction":"SCMP_ACT_NONE"}"#, #"{"defaultAction":"SCMP_ACT_ALLOW","extra":1}"#,
        #"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":6,"op":"SCMP_CMP_EQ"}]}]}"#,
        #"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"op":"SCMP_CMP_XX"}]}]}"#,
        #"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":[],"action":"SCMP_ACT_ERRNO"}]}"#,
        #"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, #"{"syscalls":[]}"#, #"[]"#,
    ])
    func unknownSeccompPartsAreRefused(text: String) {
        #expect(throws: DocumentError.self) { try SeccompProfile(read(text)) }
    }

    @Test(arguments: IsolationLevel.allCases)
    func ownProfilesCompile(level: IsolationLevel) throws {
        let there = SeccompCompiler.Circumstances(
            capabilities: [], architecture: Machine.architecture, kernel: KernelVersion(6, 1))
        let program = try SeccompCache(folder: nil).program(profile: level.seccompProfile, for: there)
        #expect(program.instructionCount > 20)
    }

    @Test func anUnknownSystemCallIsAnError() throws {
        let profile = try SeccompProfile(
            read(#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["reboott"],"action":"SCMP_ACT_ERRNO"}]}"#))
        let there = SeccompCompiler.Circumstances(
            capabilities: [], architecture: Machine.architecture, kernel: KernelVersion(6, 1))
        #expect(throws: DocumentError.self) { try SeccompCompiler.compile(profile, for: there) }
    }

    @Test(arguments: [UInt32(0), 5, 1000, 65535, 65536, 200_000])
    func exchangedOwnersAreABijection(owner: UInt32) {
        let own = [IdentityRange(inside: 0, outside: 1 << 30, count: 65536)]
        let ranges = OpenedSources.exchange(owner, 0, own).sorted { $0.inside < $1.inside }
        let seen = ranges.first { $0.contains(inside: owner) }
        #expect(seen.map { $0.outside + (owner - $0.inside) } == 1 << 30)
        for (a, b) in zip(ranges, ranges.dropFirst()) { #expect(a.inside + a.count <= b.inside) }
        let outside = ranges.sorted { $0.outside < $1.outside }
        for (a, b) in zip(outside, outside.dropFirst()) { #expect(a.outside + a.count <= b.outside) }
    }

    @Test func subordinateRangesAreFoundByNameAndNumber() {
        let text = "alice:100000:65536\n1001:200000:65536\nbob:1:5\n"
        #expect(SubordinateIDs.parse(text, user: "alice", uid: 1000)?.outside == 100_000)
        #expect(SubordinateIDs.parse(text, user: "carol", uid: 1001)?.outside == 200_000)
        #expect(SubordinateIDs.parse(text, user: "bob", uid: 1002) == nil)
    }

    @Test func timestampsAreRFC3339() {
        #expect(Timestamp.text(0) == "1970-01-01T00:00:00.000000Z")
        #expect(Timestamp.text(1_709_210_096_123_456_789) == "2024-02-29T12:34:56.123456Z")
    }

    @Test func mountinfoIsUnescaped() {
        let line = #"36 35 98:0 /a\040b /mnt\040x rw,noatime master:1 - ext3 /dev/root rw,errors=continue"#
        let record = MountRecord.parse(line).first
        #expect(record?.target == "/mnt x")
        #expect(record?.options == ["rw", "noatime"])
        #expect(record?.type == "ext3")
    }
}
