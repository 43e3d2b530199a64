internal import Glibc
internal import LinuxKernel

/// libFuzzer's own main, without its main().
@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
    _ count: UnsafeMutablePointer<Int32>,
    _ words: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
    _ body: @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32
) -> Int32

/// A reader of what others wrote, and the bytes that it is given.
///
/// It must take them or throw; whatever else it does is found here: a trap, a read of freed or foreign memory, a
/// hang, memory without bound. Where what it reads can be written again, both must be the same (``expect(_:_:)``).
struct Target: Sendable {
    let name: String
    let read: @Sendable ([UInt8]) -> Void

    static let all: [Target] = [
        Target(name: "config", read: readConfig), Target(name: "image", read: readImage),
        Target(name: "tar", read: readTar), Target(name: "record", read: readRecord),
        Target(name: "seccomp", read: readSeccomp), Target(name: "options", read: readOptions),
        Target(name: "kernel", read: readKernel), Target(name: "messages", read: readMessages),
        Target(name: "registry", read: readRegistry),
    ]
}

/// Stops the fuzzer, which keeps what it gave.
func expect(_ holds: Bool, _ what: @autoclosure () -> String) {
    guard !holds else { return }
    StandardStream.error.print("fuzz: \(what())\n")
    abort()
}

/// The program of `make fuzz`: CODEX32_FUZZ_TARGET names the target, the words are libFuzzer's, or `list`. A variable,
/// for it starts itself again with the same words.
@main
enum Fuzz {
    nonisolated(unsafe) private static var target = Target.all[0]

    static func main() {
        if Array(CommandLine.arguments.dropFirst()) == ["list"] {
            StandardStream.output.print(Target.all.map { $0.name + "\n" }.joined())
            exit(0)
        }
        let name = Machine.environment("CODEX32_FUZZ_TARGET") ?? ""
        guard let found = Target.all.first(where: { $0.name == name }) else {
            StandardStream.error.print(
                "fuzz: CODEX32_FUZZ_TARGET must be one of \(Target.all.map(\.name).joined(separator: ", "))\n")
            exit(2)
        }
        target = found
        var count = CommandLine.argc
        var words = CommandLine.unsafeArgv
        exit(runDriver(&count, &words, testOneInput))
    }

    fileprivate static func read(_ bytes: [UInt8]) { target.read(bytes) }
}

/// Under the name by which the library's own main() knows it, which is linked too.
@_cdecl("LLVMFuzzerTestOneInput")
func testOneInput(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    Fuzz.read(Array(UnsafeBufferPointer(start: bytes, count: count)))
    return 0
}
