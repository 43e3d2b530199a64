import OCISpec
import Testing

/// A bundle's configuration is anybody's text: it is understood whole, or it is an error that names its place.
struct RuntimeSpecTests {
    private func spec(_ process: String = "", _ more: String = "", linux: String = "{}") throws(DocumentError)
        -> RuntimeSpec
    {
        let text = """
            {"ociVersion":"1.3.0","process":{"args":["sh"],"cwd":"/"\(process)},"root":{"path":"rootfs"}\(more),
            "linux":\(linux)}
            """
        return try RuntimeSpec(try JSONReader.read(Array(text.utf8)))
    }

    private func place(_ process: String = "", _ more: String = "", linux: String = "{}") -> String? {
        do {
            _ = try spec(process, more, linux: linux)
            return nil
        } catch { return error.place }
    }

    @Test func whatIsGivenIsRead() throws {
        let given = try spec(
            #","user":{"uid":1,"gid":2,"additionalGids":[3],"umask":18},"consoleSize":{"height":5,"width":6}"#,
            #","mounts":[{"destination":"/proc","type":"proc"}],"annotations":{"a":"b"}"#,
            linux: #"{"namespaces":[{"type":"network","path":"/n"}],"resources":{"memory":{"limit":1},"cpu":{}}}"#)
        #expect(given.process.uid == 1 && given.process.gid == 2 && given.process.groups == [3])
        #expect(given.process.umask == 18 && given.process.consoleSize! == (5, 6))
        #expect(given.linux.namespaces.map(\.type) == ["network"] && given.linux.namespaces[0].path == "/n")
        #expect(given.linux.resources.names == ["memory"])
        #expect(given.annotations == [JSON.Member("a", .string("b"))])
    }

    @Test func whatAsksForNothingIsNoError() {
        #expect(
            place(#","apparmorProfile":"","selinuxLabel":"""#, #","hooks":{"prestart":[]}"#, linux: #"{"devices":[]}"#)
                == nil)
    }

    @Test func whatIsUnknownOrUnsupportedIsNamed() {
        #expect(place(#","noNewPrivilege":true"#) == "process.noNewPrivilege")
        #expect(place(#","scheduler":{"policy":"SCHED_FIFO","nice":20}"#) == "process.scheduler.nice")
        #expect(place("", #","hooks":{"poststop":[{"path":"x"}]}"#) == "hooks.poststop[0].path")
        #expect(place(linux: #"{"personality":{"domain":"LINUX32","flags":["x"]}}"#) == "linux.personality.flags")
        #expect(place(linux: #"{"rootfsPropagation":"open"}"#) == "linux.rootfsPropagation")
        #expect(place(linux: #"{"namespaces":[{"type":"moon"}]}"#) == "linux.namespaces[0].type")
        #expect(place(linux: #"{"seccomp":{"defaultAction":"SCMP_ACT_MAYBE"}}"#) == "linux.seccomp.defaultAction")
    }

    @Test func numbersAreReadAsLists() throws {
        let given = try spec(#","execCPUAffinity":{"initial":"0-2,7","final":""}"#)
        #expect(given.process.affinity?.initial == [0, 1, 2, 7] && given.process.affinity?.final == nil)
        for text in ["1-", "-1", "2-1", "0-4096", ",", "x", "1,,2", "1-2-3"] {
            #expect(place(#","execCPUAffinity":{"final":"\#(text)"}"#) == "process.execCPUAffinity.final", "\(text)")
        }
    }

    @Test func hooksAreReadWhole() throws {
        let given = try spec(
            "", #","hooks":{"poststop":[{"path":"/a"},{"path":"/b","args":["x","y"],"env":["A=1"],"timeout":3}]}"#)
        #expect(given.hooks.poststop.map(\.arguments) == [["/a"], ["x", "y"]])
        #expect(given.hooks.poststop.map(\.seconds) == [nil, 3] && !given.hooks.isInCreate && !given.hooks.isAtStart)
        #expect(place("", #","hooks":{"prestart":[{"path":"/a","timeout":0}]}"#) == "hooks.prestart[0].timeout")
    }

    @Test func hostileValuesAreRefused() {
        #expect(place(#","user":{"uid":4294967295}"#) == "process.user.uid")
        #expect(place(#","env":["A=\u0000"]"#) == "process.env")
        #expect(place(#","oomScoreAdj":1001"#) == "process.oomScoreAdj")
        #expect(place("", #","mounts":[{"destination":"/a/../.."}]"#) == "mounts[0].destination")
        #expect(place("", #","mounts":[{"destination":"a"}]"#) == "mounts[0].destination")
        #expect(place(linux: #"{"namespaces":[{"type":"pid"},{"type":"pid"}]}"#) == "linux.namespaces[1]")
        #expect(
            place(linux: #"{"uidMappings":[{"containerID":0,"hostID":4294967290,"size":10}]}"#)
                == "linux.uidMappings[0]")
    }
}
