import LinuxKernel
import OCISpec
import Sandbox
import Testing

/// What a filter answers, found by running it as the kernel would (Documentation/networking/filter.rst).
@Suite struct SeccompTests {
    private static let x86: UInt32 = 0xc000_003e
    private static let i386: UInt32 = 0x4000_0003
    private static let arm64: UInt32 = 0xc000_00b7
    private static let allow: UInt32 = 0x7fff_0000
    private static let refused: UInt32 = 0x0005_0001
    private static let noCall: UInt32 = 0x0005_0026

    private func answer(_ program: SeccompProgram, _ architecture: UInt32, _ number: UInt32) -> UInt32? {
        program.answer(architecture, number)
    }

    private func compiled(_ text: [UInt8]) throws -> SeccompProgram {
        let there = SeccompCompiler.Circumstances(
            capabilities: [], architecture: Machine.architecture, kernel: KernelVersion(6, 1))
        return try SeccompCache(folder: nil).program(profile: text, for: there)
    }

    @Test func onlyNumbersInTheRangeGetTheNewAnswer() throws {
        let all = SeccompProgram(bytes: [0x06, 0, 0, 0, 0x01, 0, 0x05, 0])!
        let made = try #require(all.answering(Self.noCall, from: 471, below: 0x4000_0000, on: [Self.x86, Self.i386]))
        for architecture in [Self.x86, Self.i386] {
            for number: UInt32 in [471, 472, 1000, 0x3fff_ffff] {
                #expect(answer(made, architecture, number) == Self.noCall, "\(architecture) \(number)")
            }
            for number: UInt32 in [0, 1, 470, 0x4000_0000, 0x4000_0000 | 500, UInt32.max] {
                #expect(answer(made, architecture, number) == Self.refused, "\(architecture) \(number)")
            }
        }
        #expect(answer(made, Self.arm64, 500) == Self.refused)
    }

    @Test func aProgramThatBecomesTooLongIsNone() {
        let longest = SeccompProgram(bytes: [UInt8](repeating: 0, count: 4096 * 8))!
        #expect(longest.answering(Self.noCall, from: 471, below: 0x4000_0000, on: [Self.x86]) == nil)
        #expect(longest.answering(Self.noCall, from: 471, below: 0x4000_0000, on: []) == nil)
    }

    /// Callers may come with another list each time.
    @Test func aCacheKeepsSoManyAndTheNewest() throws {
        let name = "codex32-unit.\(Machine.randomHex(bytes: 8))"
        defer { try? Descriptor.open("/tmp", [.read, .folder]).removeTree(name) }
        let cache = SeccompCache(folder: "/tmp/\(name)")
        let there = SeccompCompiler.Circumstances(
            capabilities: [], architecture: Machine.architecture, kernel: KernelVersion(6, 1))
        func names() throws -> Set<String> { Set(try Descriptor.open("/tmp/\(name)", [.read, .folder]).entries()) }
        var before: Set<String> = []
        for number in 1...80 {
            let text = #"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": \#(number), "syscalls": []}"#
            let program = try cache.program(profile: Array(text.utf8), for: there)
            #expect(try cache.program(profile: Array(text.utf8), for: there) == program)
            #expect(answer(program, SeccompBuilder.nativeArchitecture, 1) == 0x0005_0000 | UInt32(number))
            let now = try names()
            #expect(now.count == min(number, 64) && now.subtracting(before).count == 1, "\(number)")
            before = now
        }
    }

    @Test(arguments: [IsolationLevel.standard, .strict])
    func ownAllowListsKnowNewCallsFromRefusedOnes(level: IsolationLevel) throws {
        let program = try compiled(level.seccompProfile)
        let native = SeccompBuilder.nativeArchitecture
        let next = UInt32(SystemCallNumber.highestKnown) + 1
        #expect(answer(program, native, next) == Self.noCall)
        #expect(answer(program, native, next + 100) == Self.noCall)
        // kexec_load: known, and refused.
        let refused = try #require(SystemCallNumber(name: "kexec_load"))
        #expect(answer(program, native, UInt32(refused.number)) == Self.refused)
        let read = try #require(SystemCallNumber(name: "read"))
        #expect(answer(program, native, UInt32(read.number)) == Self.allow)
        #expect(answer(program, native, 0x4000_0000 | next) != Self.noCall)
    }

    @Test func anArchitectureThatTheProfileDoesNotNameEndsTheProgramAsBefore() throws {
        let program = try compiled(Array(#"{"defaultAction":"SCMP_ACT_ERRNO"}"#.utf8))
        let foreign = SeccompBuilder.nativeArchitecture == Self.x86 ? Self.arm64 : Self.x86
        #expect(answer(program, foreign, 1000) == 0x8000_0000)
        #expect(answer(program, SeccompBuilder.nativeArchitecture, 1000) == Self.noCall)
    }

    @Test(arguments: [
        #"{"defaultAction":"SCMP_ACT_ALLOW"}"#, #"{"defaultAction":"SCMP_ACT_KILL"}"#,
        #"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":13}"#,
    ])
    func otherDefaultsAreLeftAsTheyAre(text: String) throws {
        #expect(answer(try compiled(Array(text.utf8)), SeccompBuilder.nativeArchitecture, 1000) != Self.noCall)
    }

    @Test func dockersOwnAnswerIsTheSame() throws {
        let program = try compiled(Array(#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1}"#.utf8))
        #expect(answer(program, SeccompBuilder.nativeArchitecture, 1000) == Self.noCall)
    }
}

extension SeccompProgram {
    /// The action for a call; nil for an instruction that filters do not have.
    func answer(_ architecture: UInt32, _ number: UInt32, _ arguments: [UInt64] = []) -> UInt32? {
        // struct seccomp_data: nr, arch, instruction_pointer, args[6], each low half first.
        var data: [UInt32] = [number, architecture, 0, 0]
        for index in 0..<6 {
            let argument = index < arguments.count ? arguments[index] : 0
            data += [UInt32(truncatingIfNeeded: argument), UInt32(argument >> 32)]
        }
        var accumulator: UInt32 = 0
        var at = 0
        return bytes.withUnsafeBytes { bytes in
            while at * 8 < bytes.count {
                let code = bytes.loadUnaligned(fromByteOffset: at * 8, as: UInt16.self)
                let (yes, no) = (Int(bytes[at * 8 + 2]), Int(bytes[at * 8 + 3]))
                let value = bytes.loadUnaligned(fromByteOffset: at * 8 + 4, as: UInt32.self)
                at += 1
                switch code {
                case 0x20: accumulator = data[Int(value) / 4]
                case 0x54: accumulator &= value
                case 0x05: at += Int(value)
                case 0x15: at += accumulator == value ? yes : no
                case 0x25: at += accumulator > value ? yes : no
                case 0x35: at += accumulator >= value ? yes : no
                case 0x45: at += accumulator & value != 0 ? yes : no
                case 0x06: return value
                default: return nil
                }
            }
            return nil
        }
    }
}
