import Foundation
import Testing

/// The rooms of the hot path import neither Foundation nor NIO, and only rooms below them.
@Suite struct ArchitectureTests {
    private static let rooms: [String: Set<String>] = [
        "LinuxKernel": ["CShims", "Glibc"], "OCISpec": [], "Distribution": ["OCISpec"],
        "Sandbox": ["LinuxKernel", "OCISpec"],
        "Images": ["LinuxKernel", "OCISpec", "RootfsTemplates"],
        "Engine": ["LinuxKernel", "OCISpec", "Sandbox", "Images"],
        "Attacks": ["AttackPrograms", "Glibc", "LinuxKernel", "OCISpec", "Sandbox"],
        "codex32": ["LinuxKernel", "OCISpec", "Sandbox", "Images", "Engine", "Attacks"],
    ]

    @Test(arguments: rooms.keys.sorted())
    func importsPointDown(room: String) throws {
        let sources = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("Sources/\(room)")
        // A room's folders are parts of it: none of them is left out.
        let files = try #require(FileManager.default.enumerator(at: sources, includingPropertiesForKeys: nil))
            .compactMap { $0 as? URL }.filter { $0.pathExtension == "swift" }
        #expect(!files.isEmpty)
        for file in files {
            for line in try String(contentsOf: file, encoding: .utf8).split(separator: "\n")
            where line.contains("import ") {
                let words = line.split(separator: " ")
                guard let index = words.firstIndex(of: "import"), index <= 1, index + 1 < words.count else { continue }
                let module = String(words[index + 1])
                #expect(Self.rooms[room]!.contains(module), "\(file.lastPathComponent) imports \(module)")
            }
        }
    }
}
