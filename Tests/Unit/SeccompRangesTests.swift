import LinuxKernel
import OCISpec
import Sandbox
import Testing

/// A filter that asks for ranges answers as the one that libseccomp made.
@Suite struct SeccompRangesTests {
    private static let architectures: [UInt32] = [0xc000_003e, 0x4000_0003, 0xc000_00b7, 0]
    private static let numbers: [UInt32] =
        Array(0..<620) + (0..<620).map { 0x4000_0000 | $0 }
        + [0x3fff_ffff, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, .max, 983_041, 983_045]
    private static let values: [UInt64] = [
        0, 1, 2, 3, 15, 16, 40, 41, 0x8000, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0001, 0x7e02_0000, 1 << 63, .max,
    ]
    private static let actions: [UInt32] = [0x7fff_0000, 0x0005_0001, 0x0005_0026, 0x8000_0000, 0x7ffc_0000]

    private func compare(_ before: SeccompProgram, _ after: SeccompProgram, _ generator: inout Seeded) {
        #expect(after.instructionCount <= before.instructionCount)
        for architecture in Self.architectures {
            for number in Self.numbers {
                for _ in 0..<3 {
                    let arguments = (0..<6).map { _ in Self.values.randomElement(using: &generator)! }
                    let (old, new) = (
                        before.answer(architecture, number, arguments), after.answer(architecture, number, arguments)
                    )
                    // Not an expectation for each of the millions: only for those that fail.
                    if old == nil || old != new {
                        Issue.record(
                            "\(architecture) \(number) \(arguments): \(old.debugDescription), \(new.debugDescription)")
                        return
                    }
                }
            }
        }
    }

    @Test(arguments: [IsolationLevel.standard, .strict])
    func ownProfilesBecomeHalfAsLong(level: IsolationLevel) throws {
        let profile = try SeccompProfile(try JSONReader.read(level.seccompProfile))
        guard let builder = SeccompBuilder(defaultAction: 0x0005_0001) else {
            throw KernelError("seccomp_init", number: 22)
        }
        for name in ["x86_64", "x86", "x32"] where Machine.architecture == "x86_64" {
            try builder.add(architecture: try #require(SeccompBuilder.architecture(named: name)))
        }
        for rule in profile.rules where rule.action == .allow && rule.arguments.isEmpty {
            for name in rule.names {
                try builder.add(action: 0x7fff_0000, call: try #require(SystemCallNumber(name: name)), conditions: [])
            }
        }
        let before = try builder.compile()
        var generator = Seeded(state: 1)
        compare(before, before.byRanges, &generator)
        #expect(before.byRanges.instructionCount * 2 < before.instructionCount)
    }

    @Test(arguments: 1...24)
    func programsOfRandomRulesAnswerAsBefore(seed: UInt64) throws {
        var generator = Seeded(state: seed)
        guard let builder = SeccompBuilder(defaultAction: Self.actions.randomElement(using: &generator)!) else {
            throw KernelError("seccomp_init", number: 22)
        }
        if Machine.architecture == "x86_64", Bool.random(using: &generator) {
            try builder.add(architecture: try #require(SeccompBuilder.architecture(named: "x86")))
        }
        let profile = try SeccompProfile(try JSONReader.read(IsolationLevel.strict.seccompProfile))
        let names = Array(Set(profile.rules.flatMap(\.names))).sorted().shuffled(using: &generator)
        for name in names.prefix(Int.random(in: 0...names.count, using: &generator)) {
            let call = try #require(SystemCallNumber(name: name))
            let conditions = (0..<UInt32.random(in: 0...2, using: &generator)).map { index in
                SeccompCondition(
                    argument: index * 2,
                    comparison: SeccompCondition.Comparison(rawValue: UInt32.random(in: 1...7, using: &generator))!,
                    value: Self.values.randomElement(using: &generator)!,
                    second: Self.values.randomElement(using: &generator)!)
            }
            // What libseccomp takes for a contradiction or a repetition is not this test's matter.
            try? builder.add(
                action: Self.actions.randomElement(using: &generator)!, call: call,
                conditions: Int.random(in: 0...3, using: &generator) == 0 ? conditions : [])
        }
        let before = try builder.compile()
        compare(before, before.byRanges, &generator)
    }

    /// All requests of ioctl but a few, said in the only way there is for it: by the bits in which others differ.
    @Test(arguments: [IsolationLevel.standard, .strict])
    func aFewRefusedValuesAreAskedForOneByOne(level: IsolationLevel) throws {
        let profile = try SeccompProfile(try JSONReader.read(level.seccompProfile))
        guard let builder = SeccompBuilder(defaultAction: 0x0005_0001) else {
            throw KernelError("seccomp_init", number: 22)
        }
        let call = try #require(SystemCallNumber(name: "ioctl"))
        let rules = profile.rules.filter { $0.names == ["ioctl"] }
        for rule in rules {
            let conditions = rule.arguments.map {
                SeccompCondition(
                    argument: UInt32($0.index), comparison: .maskedEqual, value: $0.value, second: $0.valueTwo)
            }
            try builder.add(action: 0x7fff_0000, call: call, conditions: conditions)
        }
        let before = try builder.compile()
        let after = before.byRanges
        #expect(rules.count > 10 && after.instructionCount < 24)
        let architecture = Self.architectures[Machine.architecture == "x86_64" ? 0 : 2]
        let number: UInt32 = Machine.architecture == "x86_64" ? 16 : 29
        let refused: Set<UInt64> = level == .strict ? [0x5412, 0x541c, 0x5423] : [0x5412, 0x541c]
        var generator = Seeded(state: 7)
        let near = (0..<32).flatMap { bit in refused.map { $0 ^ 1 << bit } }
        let any = (0..<4000).map { _ in generator.next() }
        for request in Array(0..<0x10000) + near + any {
            let arguments = [0, request, 0, 0, 0, 0]
            let answer = after.answer(architecture, number, arguments)
            if answer != before.answer(architecture, number, arguments)
                || (answer == 0x0005_0001) != refused.contains(request & 0xc000_ffff)
            {
                Issue.record("\(request): \(answer.debugDescription)")
                return
            }
        }
    }

    /// Programs that nobody compiled: kept as they are, and no trap on the way.
    @Test(arguments: 1...40)
    func nonsenseIsLeftAlone(seed: UInt64) {
        var generator = Seeded(state: seed)
        let codes: [UInt8] = [0x20, 0x05, 0x15, 0x25, 0x35, 0x45, 0x06, 0x54, 0x1d, 0x16]
        let bytes: [UInt8] = (0..<Int.random(in: 1...60, using: &generator)).flatMap { _ -> [UInt8] in
            let code = codes.randomElement(using: &generator)!
            let small = (0..<2).map { _ in UInt8.random(in: 0...6, using: &generator) }
            let value = code == 0x20 ? 0 : UInt8.random(in: 0...6, using: &generator)
            return [code, 0] + small + [value, 0, 0, code == 0x05 && Bool.random(using: &generator) ? 0xff : 0]
        }
        let program = SeccompProgram(bytes: bytes)!
        let short = program.byRanges
        for number: UInt32 in 0...8 {
            if let answer = program.answer(0, number) { #expect(short.answer(0, number) == answer) }
        }
    }
}

/// Numbers that are the same each time (xorshift).
struct Seeded: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return state &* 0x2545_f491_4f6c_dd1d
    }
}
