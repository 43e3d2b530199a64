import LinuxKernel
import OCISpec
import Testing

@testable import codex32

@Suite struct FormatTests {
    private let document = JSON.members([
        "id": .string("abc"), "state": .members(["status": .string("running")]), "labels": .members(["a": .integer(1)]),
        "health": .null, "name": .string("evil\u{1b}[2J"),
    ])

    @Test(arguments: [
        ("{{.ID}}", "abc"), ("{{.State.Status}}", "running"), ("{{ .id }}-{{json .Labels}}", "abc-{\"a\":1}"),
        ("table {{.ID}}\\t{{.Health}}|", "abc\t|"), ("{{.Name}}", "evil\\u{1b}[2J"), ("a\\nb{{.ID}}", "a\nbabc"),
    ])
    func fields(template: String, text: String) throws {
        #expect(try Template(template).text(document) == text)
    }

    @Test(arguments: ["{{.ID", "{{}}", "{{ID}}", "{{range .}}", "{{.ID .Name}}"])
    func badTemplates(text: String) { #expect(throws: Problem.self) { try Template(text) } }

    @Test func anUnknownFieldNamesTheOthers() {
        let problem = #expect(throws: Problem.self) { try Template("{{.Nope}}").text(document) }
        #expect(problem?.why.holds("state") == true)
    }

    @Test(arguments: ["yaml", "{.ID}", ""])
    func badFormats(text: String) { #expect(throws: Problem.self) { try Format(text) } }

    @Test(arguments: [("ctrl-p,ctrl-q", [16, 17]), ("a", [97]), ("ctrl-],x", [29, 120])])
    func detachKeys(text: String, keys: [UInt8]) throws { #expect(try DetachKeys.parse(text) == keys) }

    @Test(arguments: ["", "ctrl-", "ctrl-pq", "ab", ",", "ü"])
    func badDetachKeys(text: String) { #expect(throws: Problem.self) { try DetachKeys.parse(text) } }

    @Test(arguments: ["name", "=x", "colour=red", ""])
    func badFilters(text: String) { #expect(throws: Problem.self) { try Filter(text) } }
}
