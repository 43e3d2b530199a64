import LinuxKernel
import OCISpec
import Testing

@testable import Images

@Suite("Images of the store")
struct ImageStoreTests {
    private let machine = Platform.machine.architecture

    private func hash(_ bytes: [UInt8]) throws -> Digest {
        let sum = try SHA256()
        sum.update(bytes)
        return try #require(Digest(hex: sum.finish()))
    }

    @Test(
        "names of images",
        arguments: [
            ("busybox", "busybox", "latest"), ("busybox:1.36", "busybox", "1.36"), ("a/b/c:T_1", "a/b/c", "T_1"),
            ("localhost:5000/a", "localhost:5000/a", "latest"), ("localhost:5000/a:b", "localhost:5000/a", "b"),
        ])
    func name(_ text: String, _ repository: String, _ tag: String) throws {
        let name = try #require(ImageName(text))
        #expect(name.repository == repository && name.tag == tag)
        #expect(ImageName(fileName: name.fileName) == name)
        #expect(!name.fileName.contains("/"))
    }

    @Test(
        "what is no name of an image",
        arguments: [
            "", "A", "a//b", "/a", "a/", "../a", "a/../b", ".a", "a:", "a:b:c", "a:-b", "a b", "a%b", "a@b", "a:\u{e9}",
            "a:5x/b",
            String(repeating: "a", count: 201), "a:" + String(repeating: "b", count: 129),
        ])
    func noName(_ text: String) { #expect(ImageName(text) == nil) }

    @Test("digests are sha256, of 64 lower-case digits")
    func digests() {
        let hex = String(repeating: "0a", count: 32)
        #expect(Digest("sha256:\(hex)")?.hex == hex)
        for text in [hex, "sha512:\(hex)", "sha256:\(hex)0", "sha256:" + hex.uppercased(), "sha256:../../etc"] {
            #expect(Digest(text) == nil)
        }
    }

    /// The example of FIPS 180-4, and a chain by hand.
    @Test("sums and chain ids")
    func sums() throws {
        #expect(
            try hash(Array("abc".utf8)).hex == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        let (a, b) = (try hash([1]), try hash([2]))
        #expect(try ImageStore.chain([a]) == [a])
        #expect(try ImageStore.chain([a, b]) == [a, try hash(Array("\(a) \(b)".utf8))])
    }

    private func config(_ more: String) throws(DocumentError) -> ImageConfig {
        let text = #"{"os":"linux","architecture":"x","rootfs":{"type":"layers","diff_ids":[]},"config":{\#(more)}}"#
        return try ImageConfig(bytes: Array(text.utf8))
    }

    @Test("health checks in Docker's forms")
    func health() throws {
        #expect(try config(#""Healthcheck":{"Test":["NONE"]}"#).health?.command == [])
        let shell = try #require(
            try config(#""Healthcheck":{"Test":["CMD-SHELL","x y"],"Interval":0,"Retries":2}"#).health)
        #expect(shell.command == ["/bin/sh", "-c", "x y"] && shell.interval == nil && shell.retries == 2)
    }

    @Test(
        "configs that make no sense",
        arguments: [
            #""Env":["NOVALUE"]"#, #""Env":["=x"]"#, #""WorkingDir":"relative""#, #""Healthcheck":{"Test":["FLY"]}"#,
            #""Healthcheck":{"Test":["CMD"]}"#, #""Healthcheck":{"Test":["CMD","x"],"Interval":-1}"#, #""Cmd":"text""#,
            #""Volumes":["/x"]"#, #""Labels":{"a":1}"#,
        ])
    func badConfig(_ text: String) { #expect(throws: DocumentError.self) { try config(text) } }

    @Test("manifests that make no sense")
    func manifests() {
        let digest = "sha256:" + String(repeating: "0", count: 64)
        let part = { (type: String) in #"{"mediaType":"\#(type)","digest":"\#(digest)","size":1}"# }
        let text = { (layers: [String]) in
            #"{"schemaVersion":2,"config":\#(part("x")),"layers":[\#(layers.joined(separator: ","))]}"#
        }
        #expect(throws: Never.self) { try ImageManifest(bytes: Array(text([part(ImageManifest.layerType)]).utf8)) }
        for layers in [[], [part("application/x")], [String](repeating: part(ImageManifest.layerType), count: 101)] {
            #expect(throws: DocumentError.self) { try ImageManifest(bytes: Array(text(layers).utf8)) }
        }
    }
}
