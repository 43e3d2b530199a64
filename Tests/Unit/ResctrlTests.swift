import LinuxKernel
import OCISpec
import Testing

@testable import Engine

/// A container's group in the kernel's resctrl file system. No machine here has one: files stand in its place.
@Suite struct ResctrlTests {
    private func spec(_ text: String) throws -> SpecResctrl? {
        let config = """
            {"ociVersion":"1.3.0","process":{"args":["sh"],"cwd":"/"},"root":{"path":"r"},"linux":{"intelRdt":\(text)}}
            """
        return try RuntimeSpec(JSONReader.read(Array(config.utf8))).linux.resctrl
    }

    /// A file system's folder, and groups with what the kernel puts into each.
    private func folder(_ groups: [String: String]) throws -> String {
        let root = "/tmp/codex32-resctrl-\(Machine.randomHex(bytes: 8))"
        for (name, schemata) in groups {
            let group = try makeFolders("\(root)/\(name)")
            try group.replace("schemata", with: schemata, durable: false)
            try group.replace("tasks", with: "", durable: false)
        }
        return root
    }

    private func clear(_ root: String) throws {
        try Descriptor.open("/tmp", [.read, .folder]).removeTree(String(root.dropFirst("/tmp/".count)))
    }

    @Test func whatIsAskedFor() throws {
        #expect(try spec("{}") == spec(#"{"enableMonitoring":false}"#))
        let both = try spec(
            #"{"closID":"a","l3CacheSchema":"L3:0=f\nMB:0=10","memBwSchema":"MB:0=20","schemata":["L2:0=1"]}"#)
        #expect(both?.group == "a" && both?.schemata == ["L3:0=f", "MB:0=20", "L2:0=1"] && both?.monitors == false)
        #expect(try spec(#"{"l3CacheSchema":"L3:0=f\nMB:0=10"}"#)?.schemata == ["L3:0=f", "MB:0=10"])
        #expect(try spec(#"{"schemata":"L3:0=1\nL2:0=2"}"#)?.schemata == ["L3:0=1", "L2:0=2"])
        #expect(try spec(#"{"closID":"/","enableCMT":true}"#)?.monitors == true)
        for wrong in [
            #"{"closID":""}"#, #"{"closID":".."}"#, #"{"closID":"a/b"}"#, #"{"closID":"info"}"#, #"{"closID":"a\nb"}"#,
            #"{"memBwSchema":"L3:0=1"}"#, #"{"memBwSchema":"MB:0=1\nL3:0=1"}"#, #"{"schemata":["a\nb"]}"#,
            #"{"schemata":[1]}"#,
            #"{"l2CacheSchema":"x"}"#, #"{"enableMonitoring":"yes"}"#, #"{"closID":1}"#,
        ] {
            #expect(throws: DocumentError.self, "\(wrong)") { try spec(wrong) }
        }
    }

    @Test func aGroupThatIsThere() throws {
        let root = try folder(["": "L3:0=fff\n", "gold": "    L3:0=0ff;1=00f\n    MB:0=30;1=100\n"])
        defer { try? clear(root) }
        try makeFolders("\(root)/info/MB").replace("bandwidth_gran", with: "10\n", durable: false)
        let known = try #require(try spec(#"{"closID":"gold","schemata":["L3:1=f;0=ff","MB:0=25"]}"#))
        let group = try ResctrlGroup(known, id: "one", in: root)
        #expect(group == ResctrlGroup(path: "\(root)/gold", isOwn: false, monitor: nil))
        try group.make(known.schemata)
        for other in [["L3:0=fe"], ["L3:2=ff"], ["L2:0=ff"], ["MB:0=40"], ["MB:0=20"]] {
            #expect(throws: Problem.self, "\(other)") { try group.make(other) }
        }
        try group.remove("cannot delete one")
        #expect(!Descriptor.isMissing("\(root)/gold"))
        // The one that all are in.
        let all = try ResctrlGroup(try #require(try spec(#"{"closID":"/"}"#)), id: "one", in: root)
        #expect(all.path == root && !all.isOwn)
        // One that is not there has to be described, and one by the container's id is its own.
        #expect(throws: Problem.self) {
            try ResctrlGroup(try #require(try spec(#"{"closID":"new"}"#)), id: "one", in: root)
        }
        #expect(throws: Problem.self) { try ResctrlGroup(try #require(try spec("{}")), id: "gold", in: root) }
    }

    @Test func aGroupOfItsOwn() throws {
        let root = try folder(["": "L3:0=fff\n"])
        defer { try? clear(root) }
        let asked = try #require(try spec(#"{"l3CacheSchema":"L3:0=f","enableMonitoring":true}"#))
        let group = try ResctrlGroup(asked, id: "one", in: root)
        #expect(group == ResctrlGroup(path: "\(root)/one", isOwn: true, monitor: "\(root)/one/mon_groups/one"))
        // Where no kernel makes the files of a new group, what cannot be written is told, and the group goes again.
        #expect(throws: Problem.self) { try group.make(asked.schemata) }
        #expect(Descriptor.isMissing("\(root)/one"))
        try group.remove("cannot delete one")
        // One that somebody else has made meanwhile, and in which others are, stays.
        _ = try makeFolders("\(root)/one/mon_groups")
        try Descriptor.open("\(root)/one", [.read, .folder]).replace("tasks", with: "1\n", durable: false)
        #expect(throws: Problem.self) { try group.make([]) }
        try group.remove("cannot delete one")
        #expect(!Descriptor.isMissing("\(root)/one"))
    }

    @Test func whatIsWrittenIsReadBack() throws {
        let root = try folder(["one": "L3:0=fff;1=fff\n", "one/mon_groups/one": ""])
        defer { try? clear(root) }
        let group = ResctrlGroup(path: "\(root)/one", isOwn: true, monitor: "\(root)/one/mon_groups/one")
        // A file takes all that is written, but keeps no more than what lies behind the lines.
        try group.set(["L3:0=00f;1=0ff"])
        #expect(try group.schemata().first == "L3:0=00f;1=0ff")
        try group.join(4711)
        for folder in ["one", "one/mon_groups/one"] {
            #expect(try Descriptor.contents(of: "\(root)/\(folder)/tasks").hasPrefix("4711"))
        }
        // A kernel that takes the words and does something else.
        let deaf = ResctrlGroup(path: "\(root)/deaf", isOwn: true, monitor: nil)
        _ = try makeFolders("\(root)/deaf")
        try Descriptor.open("\(root)/deaf", [.read, .folder]).makeLink("schemata", to: "/dev/null")
        #expect(throws: Problem.self) { try deaf.set(["L3:0=f"]) }
        try Descriptor.open("\(root)/deaf", [.read, .folder]).makeLink("tasks", to: "/dev/null")
        #expect(throws: Problem.self) { try deaf.join(1) }
    }
}
