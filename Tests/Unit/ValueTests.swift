import LinuxKernel
import Sandbox
import Testing

@testable import codex32

@Suite struct ValueTests {
    @Test(arguments: [
        ("512", 512 << 20), ("512m", 512 << 20), ("1g", 1 << 30), ("65536k", 64 << 20), ("1GiB", 1 << 30),
    ])
    func memorySizes(text: String, bytes: UInt64) throws {
        #expect(try Value.memory(text, option: "-m") == bytes)
    }

    @Test(arguments: ["4k", "10x", "-1", "", "m", "99999999999999999999", "9999999999g", "1.5.2", "0x10", "+5"])
    func badMemorySizes(text: String) {
        #expect(throws: Problem.self) { try Value.memory(text, option: "-m") }
    }

    @Test(arguments: [("50", 50_000), ("50.0", 50_000), ("0.5", 500), ("12.25", 12_250)])
    func percentages(text: String, quota: UInt64) throws {
        #expect(try Value.decimal(text, option: "--cpu-limit", scale: 1000) == quota)
    }

    @Test(arguments: ["", ".", "5.", "-5", "nan", "1e3", "1..2", "99999999999999999"])
    func badPercentages(text: String) {
        #expect(throws: Problem.self) { try Value.decimal(text, option: "--cpu-limit", scale: 1000) }
    }

    @Test(arguments: [("30s", 30_000_000_000), ("500ms", 500_000_000), ("1.5", 1_500_000_000), ("2m", 120_000_000_000)])
    func durations(text: String, nanoseconds: Int64) throws {
        #expect(try Value.duration(text, option: "--timeout") == nanoseconds)
    }

    @Test(arguments: ["0", "-1", "5y", "", "ms", "1e9s"])
    func badDurations(text: String) {
        #expect(throws: Problem.self) { try Value.duration(text, option: "--timeout") }
    }

    @Test(arguments: ["4294967296", "4294967295", "-1", "", "1a", "+1"])
    func badIds(text: String) {
        #expect(throws: Problem.self) { try Value.identity(text, option: "-u") }
    }

    @Test(arguments: ["data", "/a/../b", "/..", "/a\nb", ""])
    func badTargets(text: String) {
        #expect(throws: Problem.self) { try Value.inside(text, option: "-v") }
    }

    @Test(arguments: ["/proc", "/proc/self/attr", "/sys/fs", "/", "/dev"])
    func reservedTargets(text: String) {
        #expect(throws: Problem.self) { try MountValue.target(text, option: "--tmpfs") }
    }

    @Test(arguments: ["a b", "\u{1b}[31m", "", "-x", "a/b", String(repeating: "a", count: 129)])
    func badNames(text: String) {
        #expect(throws: Problem.self) { try Value.name(text, option: "--name") }
    }

    @Test(arguments: ["kernel.core_pattern=x", "vm.swappiness=1", "net/../kernel.x=1", "net.x"])
    func foreignSysctls(text: String) {
        #expect(throws: Problem.self) { try SysctlValue.parse(text) }
    }

    @Test func optionForms() throws {
        var draft = RunDraft()
        let rest = try RunOptions.command.parse(
            ["-itm", "64", "--cpus=0.5", "-eA=1", "-w=/x", "image", "-x", "--y"], into: &draft
        ) { draft, word throws(Problem) in
            draft.image = word
            return false
        }
        #expect(draft.interactive && draft.request.terminal)
        #expect(draft.request.limits.memoryMax == 64 << 20)
        #expect(draft.request.limits.cpuQuota == 50_000)
        #expect(draft.workingFolder == "/x")
        #expect(rest == ["-x", "--y"])
    }

    @Test func anUnknownOptionIsNamedWithItsNeighbour() {
        var draft = RunDraft()
        let problem = #expect(throws: Problem.self) {
            _ = try RunOptions.command.parse(["--memory-limt", "5"], into: &draft) { _, _ in false }
        }
        #expect(problem?.hint == "did you mean --memory-limit?")
    }

    /// One definition of each option: no name stands for two.
    @Test func optionNamesAreUnique() {
        let names = RunOptions.command.options.flatMap(\.names)
        #expect(Set(names).count == names.count)
    }
}
