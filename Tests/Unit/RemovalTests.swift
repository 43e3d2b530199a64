import Glibc
import Testing

@testable import LinuxKernel

@Suite struct RemovalTests {
    /// As a command that discards a workspace and the supervisor that clears up behind its container may.
    @Test func twoMayRemoveOneTree() async throws {
        let name = "codex32-removal.\(Machine.randomHex(bytes: 8))"
        for _ in 0..<20 {
            let tree = try makeFolders("/tmp/\(name)")
            for number in 0..<20 {
                try tree.makeFolder("\(number)")
                let folder = try tree.open("\(number)", [.read, .folder])
                for inner in 0..<10 {
                    try folder.makeFolder("\(inner)")
                    _ = try folder.open("\(inner)/file", [.write, .create])
                }
            }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<4 {
                    group.addTask { try Descriptor.open("/tmp", [.read, .folder]).removeTree(name) }
                }
                try await group.waitForAll()
            }
            #expect(Descriptor.isMissing("/tmp/\(name)"))
        }
    }
}
