import OCISpec
import Testing

@testable import Engine

/// They become words of CRIU's command line: nothing but what CRIU knows may come out of a state or an image's folder.
@Suite struct BundleStreamsTests {
    @Test func whatWasWrittenComesBack() throws {
        let words = ["", "pipe:[18446744073709551615]", "file[1f:2a]"]
        let streams = try BundleStreams(words)
        #expect(streams.names == [nil, words[1], words[2]])
        #expect(streams.json == .list(words))
    }

    @Test(arguments: [
        "pipe:[]", "pipe:[x]", "pipe:[1", "pipe:[1:2]", "pipe[1]", "pipe:[1][", "file[1]", "file[1:2:3]", "file[1:]",
        "file[:]",
        "file[g:1]", "file[1:2] --external x", "file[1:2]]", "file[-1:2]", "file[18446744073709551616:1]", "socket:[1]",
        "--root",
        "[", "]", " ",
    ])
    func anotherNameIsRefused(_ name: String) {
        #expect(throws: DocumentError.self) { try BundleStreams([name, "", ""]) }
    }

    @Test(arguments: [0, 2, 4]) func thereAreThree(_ count: Int) {
        #expect(throws: DocumentError.self) { try BundleStreams([String](repeating: "", count: count)) }
    }
}
