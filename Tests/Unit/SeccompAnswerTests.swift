import LinuxKernel
import Sandbox
import Testing

/// What a filter answers, worked out without the kernel.
@Suite struct SeccompAnswerTests {
    private func program(_ level: IsolationLevel, _ capabilities: CapabilitySet = []) throws -> SeccompProgram {
        let there = SeccompCompiler.Circumstances(
            capabilities: capabilities, architecture: Machine.architecture, kernel: KernelVersion(6, 1))
        return try SeccompCache(folder: nil).program(profile: level.seccompProfile, for: there)
    }

    private func call(_ name: String, _ arguments: UInt64...) throws -> SystemCallData {
        let known = try #require(SystemCallNumber(name: name))
        let all = arguments + [UInt64](repeating: 0, count: 6 - arguments.count)
        return SystemCallData(
            number: known.number, architecture: SeccompBuilder.nativeArchitecture, arguments: all)
    }

    @Test func whatIsRefused() throws {
        let strict = try program(.strict)
        #expect(strict.refusal(of: try call("unshare", 0x1000_0000)) == 1)
        #expect(strict.refusal(of: try call("io_uring_setup")) == 38)
        #expect(strict.refusal(of: try call("read")) == 0)
        #expect(strict.allows(try call("read")))
        #expect(try call("read").name == "read")
        #expect(SystemCallData(number: 5000, architecture: 0xc000_003e, arguments: []).name == "call 5000")
    }

    /// No setuid or setgid bit at strict, by any call whose mode the filter sees; opening is not hindered by what
    /// happens to stand where a mode would.
    @Test func modes() throws {
        let strict = try program(.strict)
        for mode: UInt64 in [0o4755, 0o2755, 0o6755, 0o4000] {
            #expect(strict.refusal(of: try call("fchmod", 3, mode)) == 1)
            #expect(strict.refusal(of: try call("fchmodat", 3, 0, mode)) == 1)
            #expect(strict.refusal(of: try call("fchmodat2", 3, 0, mode)) == 1)
            #expect(strict.refusal(of: try call("mkdirat", 3, 0, mode)) == 1)
            #expect(strict.refusal(of: try call("openat", 3, 0, 0o100, mode)) == 1)
            #expect(strict.refusal(of: try call("openat", 3, 0, 0o20200000, mode)) == 1)
            #expect(strict.refusal(of: try call("mknodat", 3, 0, 0o100000 | mode)) == 1)
            #expect(strict.allows(try call("openat", 3, 0, 0o2000000, mode)))
        }
        for mode: UInt64 in [0, 0o644, 0o1777, 0o755] {
            #expect(strict.allows(try call("fchmod", 3, mode)))
            #expect(strict.allows(try call("mkdirat", 3, 0, mode)))
            #expect(strict.allows(try call("openat", 3, 0, 0o100, mode)))
            #expect(strict.allows(try call("mknodat", 3, 0, 0o100000 | mode)))
        }
        #expect(strict.refusal(of: try call("openat2")) == 38)
    }

    /// The filter that tells differs in its refusals alone.
    @Test(arguments: IsolationLevel.allCases) func notifying(level: IsolationLevel) throws {
        let silent = try program(level)
        let told = try #require(silent.notifying)
        #expect(told.instructionCount == silent.instructionCount)
        for number: Int32 in 0..<480 {
            for first: UInt64 in [0, 0x5412] {
                let call = SystemCallData(
                    number: number, architecture: SeccompBuilder.nativeArchitecture,
                    arguments: [first, first, first, first, 0, 0])
                let (before, after) = (silent.answer(to: call), told.answer(to: call))
                #expect(before != nil)
                if silent.refusal(of: call) != 0 { #expect(after == 0x7fc0_0000) } else { #expect(before == after) }
            }
        }
    }
}
