import LinuxKernel
import OCISpec
import Testing

@testable import Images

/// What says where images come from is read as strictly as what says what they are.
@Suite struct MirrorTests {
    @Test func paths() throws {
        let plain = try RegistryMirror("h.example:5000")
        #expect(plain.repository("library/x") == "library/x" && plain.description == "h.example:5000")
        let deep = try RegistryMirror("h.example/a/b")
        #expect((deep.registry, deep.repository("x/y")) == ("h.example", "a/b/x/y"))
    }

    @Test(arguments: [
        "", "nohost", "http://h.example", "h.example/", "h.example/../x", "h.example/A", "h.example/a:1",
        "h.example/a b",
    ])
    func refused(_ text: String) { #expect(throws: Problem.self) { try RegistryMirror(text) } }

    @Test(arguments: [
        "[]", #"{"mirror": {}}"#, #"{"mirrors": []}"#, #"{"mirrors": {"h.example": "x.y"}}"#,
        #"{"mirrors": {"h.example": [1]}}"#, #"{"mirrors": {"h.example/x": ["x.y"]}}"#,
    ])
    func files(_ text: String) { #expect(throws: DocumentError.self) { try RegistryMirrors(Array(text.utf8)) } }
}
