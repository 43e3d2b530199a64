import Foundation
import LinuxKernel
import OCISpec
import Sandbox
import Testing

@testable import Attacks

/// What the README counts is so.
@Suite struct ReadmeTests {
    private static let text = try! String(
        contentsOf: URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("README.md"), encoding: .utf8)

    /// The numbers that stand before a word, in each place.
    private static func numbers(before word: String) -> [Int] {
        text.components(separatedBy: word).dropLast().compactMap { part in
            Int(String(part.reversed().drop { $0 == " " }.prefix { $0.isNumber }.reversed()))
        }
    }

    @Test func attacks() { #expect(Self.numbers(before: " attacks, each with its control") == [Corpus.all.count]) }

    @Test func systemCalls() throws {
        guard Machine.architecture == "x86_64" else { return }
        let kernel = try #require(KernelVersion("6.18"))
        let own = try IsolationLevel.allCases.map { try CallList($0, kernel: kernel).allowed.count }
        let line = try #require(
            Self.text.split(separator: "\n").first { $0.hasPrefix("| system calls let through") })
        let counts = line.split(separator: "|").compactMap { Int($0.filter(\.isNumber)) }
        #expect(counts == own + CallList.others.compactMap(\.calls))
    }

    /// Nobody needs to guess why strict lets a call through, or why it answers one in a way of its own.
    @Test(arguments: IsolationLevel.allCases)
    func everyGroupSaysWhy(level: IsolationLevel) throws {
        let list = try CallList(level, kernel: try #require(KernelVersion("6.18")))
        #expect(!list.groups.isEmpty)
        for group in list.groups { #expect(group.why.count > 15, "\(group.calls)") }
        let told = Set(list.groups.filter(\.isAllowed).flatMap(\.calls))
        if level != .minimal { #expect(told == list.allowed) }
    }

    /// What a level lets through, the filter that is loaded lets through too, with some arguments, and nothing else.
    @Test(arguments: [IsolationLevel.standard, .strict])
    func theListIsTheFilter(level: IsolationLevel) throws {
        let kernel = try #require(KernelVersion("6.18"))
        let list = try CallList(level, kernel: kernel)
        let profile = try SeccompProfile(JSONReader.read(level.seccompProfile))
        let program = try SeccompCompiler.compile(
            profile,
            for: .init(
                capabilities: level.usualCapabilities, architecture: Machine.architecture, kernel: kernel))
        let conditional = Set(list.groups.filter(\.isConditional).flatMap(\.calls))
        for name in CallList.known.subtracting(conditional) {
            let call = SystemCallData(
                number: SystemCallNumber(name: name)!.number, architecture: SeccompBuilder.nativeArchitecture,
                arguments: [UInt64](repeating: 0, count: 6))
            #expect(program.allows(call) == list.allowed.contains(name), "\(name)")
        }
    }
}
