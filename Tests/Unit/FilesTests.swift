import Testing

@testable import Engine
@testable import codex32

@Suite struct FilesTests {
    @Test(arguments: [
        ("/a/b", "/a", "b", false, false), ("/a/b/", "/a", "b", true, false), ("/a/b/.", "/a", "b", true, true),
        ("b", "", "b", false, false), ("/", "/", "", true, true), (".", "", "", true, true),
        ("..", "..", "", false, true),
        ("a/../b", "a/..", "b", false, false), ("/a", "/", "a", false, false), ("a/..", "a/..", "", false, true),
    ])
    func cutsPaths(text: String, folder: String, name: String, slash: Bool, contents: Bool) {
        let path = CopyPath(text)
        #expect(path.folder == folder && path.name == name && path.endsInSlash == slash && path.isContents == contents)
    }

    @Test(arguments: ["/a:b", "./a:b", "-", "a", ":a", "a/b:c", "../a:b"])
    func pathsOfTheMachine(text: String) { #expect(ContainerPath(text) == nil) }

    @Test func pathsOfContainers() {
        #expect(ContainerPath("web:/etc")?.path == "/etc")
        #expect(ContainerPath("web:a:b")?.path == "a:b")
        #expect(ContainerPath("web:")?.path == "/")
    }

    @Test func progress() {
        let line = ProgressBar.line("copying", done: 512 << 20, total: 1 << 30, nanoseconds: 2_000_000_000, columns: 80)
        #expect(line.hasPrefix("copying [###") && line.hasSuffix("50 %  512.0 MiB of 1.0 GiB  256.0 MiB/s"))
        #expect(line.count <= 80)
        #expect(
            ProgressBar.line("x", done: 1536, total: nil, nanoseconds: 1_000_000_000, columns: 80)
                == "x  1.5 KiB  1.5 KiB/s")
        #expect(ProgressBar.line("long", done: 5, total: 9, nanoseconds: 1, columns: 20).count <= 20)
        #expect(ProgressBar.size(.max) == "15.9 EiB")
    }
}
