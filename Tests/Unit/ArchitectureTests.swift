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

    private static let top = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// What a room has only by way of another, and does not name itself, changes without its being built again: then it
    /// calls what is not there any more.
    @Test(arguments: rooms.keys.sorted())
    func theManifestNamesEach(room: String) throws {
        let manifest = try String(contentsOf: Self.top.appendingPathComponent("Package.swift"), encoding: .utf8)
        let command = try #require(
            manifest.components(separatedBy: "let command: [Target.Dependency] = [").dropFirst().first)
        let lists = manifest.components(separatedBy: "name: \"\(room)\",").dropFirst().compactMap {
            part -> Substring? in
            let words = part.drop { $0.isWhitespace }
            guard words.hasPrefix("dependencies: ") else { return nil }
            let list = words.dropFirst("dependencies: ".count)
            return (list.hasPrefix("command,") ? command[...] : list.dropFirst()).prefix { $0 != "]" }
        }
        let asked = Self.rooms[room]!.subtracting(["Glibc"])
        #expect(!lists.isEmpty || asked.isEmpty)
        for list in lists {
            let named = list.split(separator: ",").map {
                $0.trimmingCharacters(in: .whitespacesAndNewlines.union(["\""]))
            }
            #expect(asked.isSubset(of: named), "\(room) names \(named.joined(separator: ", "))")
        }
    }

    @Test(arguments: rooms.keys.sorted())
    func importsPointDown(room: String) throws {
        let sources = Self.top.appendingPathComponent("Sources/\(room)")
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
