import Images
import LinuxKernel
import Testing

@testable import Images

/// Requirements files are somebody else's words, and pip's configuration has a form of its own.
@Suite struct RequirementsTests {
    private func read(_ text: String) throws(Problem) -> RequirementsFile {
        try RequirementsFile(Array(text.utf8), path: "requirements.txt")
    }

    @Test(arguments: [
        ("", 0, false), ("# nothing\n\n   # more\n", 0, false), ("requests\n", 1, false),
        ("requests>=2,<3 ; python_version < '4'  # why\r\nsix [x] == 1\n", 2, false),
        ("a==1 \\\n    --hash=sha256:00 \\\n    --hash=sha256:01\nb\n", 2, false),
        ("# a comment \\\nsix\n", 1, false), ("--pre\n--only-binary :all:\nsix(>=1)\n", 1, false),
        ("--extra-index-url https://h/simple\nsix", 1, true), ("-i https://h/simple\nsix", 1, true),
        ("--index-url=https://h/simple\nsix", 1, true), ("x @ https://h/x.whl\n", 1, true),
        ("https://h/x.whl\n", 1, true), ("git+https://h/x.git@v1#egg=x\n", 1, true), ("\u{feff}six\n", 1, false),
    ])
    func taken(_ text: String, _ count: Int, _ namesAddresses: Bool) throws {
        let file = try read(text)
        #expect((file.count, file.namesAddresses) == (count, namesAddresses))
        #expect(file.pieces.joined() == text + "\n")
    }

    @Test(arguments: [
        "--index-url http://h/simple\nsix", "x @ http://h/x.whl", "http://h/x.whl",
        "-r other.txt", "--requirement=/etc/passwd", "-r/etc/passwd", "-c limits.txt", "-e .", "-e/x", "--editable .",
        "-f /wheels", "--find-links=/wheels", "./local", "/abs/x.whl", "~/x.whl", "file:///etc/passwd",
        "x @ file:///etc",
        "x @ FILE:/etc", "../up", "folder/below", "six --global-option=x", "six --config-settings=a=b", "six -r x",
        "--index-url /srv/simple", "--index-url file:///x", "--index-url", "--trusted-host", "--pre=1",
        "--use-feature x",
        "--log /x", "six==${HOME}", "x @ ssh://h/x", "x @ git+ssh://h/x", "git+file:///x", "six\u{0}", "six\u{1b}[1m",
        "six \\", "a b", "a#b", "{", "six==1 \\\n-r x", "--no-index x",
    ])
    func refused(_ text: String) { #expect(throws: Problem.self) { try read(text) } }

    @Test func bounds() throws {
        #expect(throws: Problem.self) { try read(String(repeating: "a", count: 1 << 16)) }
        #expect(throws: Problem.self) { try RequirementsFile([0x61, 0xff, 0x0a], path: "r") }
        let line = "a" + String(repeating: "b", count: 998) + "\n"
        let text = String(repeating: line, count: 400)
        let file = try read(text)
        #expect(file.pieces.count > 1 && file.pieces.allSatisfy { $0.utf8.count <= 1 << 16 })
        #expect(file.pieces.joined() == text + "\n" && file.count == 400)
    }

    @Test func configuration() throws {
        let text = """
            # of this machine
            [global]
            index-url = https://user:secret@h/simple
            find_links =
                https://a/links
                https://b/links
            target: /somewhere
            [list]
            index-url = https://other/
            [install]
            no-index = true
            """
        let file = try PipFile(Array(text.utf8), path: "pip.conf")
        var settings = PipSettings()
        for (name, value) in file.general + file.install { try settings.set(name, value, from: "pip.conf") }
        try settings.settle()
        #expect(
            settings.lines == [
                "find-links=https://a/links https://b/links", "index-url=https://user:secret@h/simple", "no-index=true",
            ])
        #expect(settings.index == "https://h/simple" && !settings.isLocal)
        #expect(throws: Problem.self) { try settings.set("constraint", "/x", from: "pip.conf") }
        for wrong in ["index-url = x", "[global]\nnothing"] {
            #expect(throws: Problem.self) { try PipFile(Array(wrong.utf8), path: "pip.conf") }
        }
    }

    @Test func theKeyHasEveryByte() throws {
        let base = Digest(hex: String(repeating: "a", count: 64))!
        let other = Digest(hex: String(repeating: "b", count: 64))!
        var index = PipSettings()
        try index.set("index-url", "https://h/", from: "")
        var slow = PipSettings()
        try slow.set("timeout", "99", from: "")
        let key = { (text: String, settings: PipSettings, base: Digest, version: String) throws -> String in
            try RequirementsKey.make(try read(text), settings, base: base, version: version)
        }
        let plain = try key("six\n", PipSettings(), base, "1")
        #expect(try plain == key("six\n", slow, base, "1") && plain.utf8.count == 64)
        let others = [
            try key("six \n", PipSettings(), base, "1"), try key("six\n", index, base, "1"),
            try key("six\n", PipSettings(), other, "1"), try key("six\n", PipSettings(), base, "2"),
        ]
        #expect(Set(others + [plain]).count == 5)
    }
}
