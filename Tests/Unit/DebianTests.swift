import Testing

@testable import Images

@Suite struct DebianTests {
    @Test func stanzasBecomeLines() {
        let text = """
            # the machine's own
            Types: deb deb-src
            URIs: http://deb.debian.org/debian
            # a comment in between
            Suites: bookworm bookworm-updates
            Components: main contrib
            Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

            Types: deb-src
            URIs: http://example.org/sources
            Suites: bookworm
            Components: main

            Enabled: no
            Types: deb
            URIs: http://example.org/off
            Suites: bookworm
            Components: main

            Types: deb
            URIs: http://example.org/inline
            Suites: bookworm
            Components: main
            Signed-By:
             -----BEGIN PGP PUBLIC KEY BLOCK-----
            """
        let head = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian"
        #expect(
            DebianSources.stanzas(text) == ["\(head) bookworm main contrib", "\(head) bookworm-updates main contrib"])
    }

    @Test(arguments: [
        ("deb http://deb.debian.org/debian bookworm main", true),
        ("deb [arch=amd64 signed-by=/k.gpg] http://mirror/debian bookworm-security main contrib", true),
        ("deb [ arch=amd64 ] http://mirror/debian bookworm/updates main", true),
        ("deb http://mirror/debian trixie main", false), ("deb-src http://mirror/debian bookworm main", false),
        ("# deb http://mirror/debian bookworm main", false), ("deb http://mirror/docker bookworm stable", false),
        ("deb http://mirror/debian bookworm-backports main", false), ("deb [", false), ("", false),
    ])
    func onlyTheSuiteItselfIsTaken(line: String, isTaken: Bool) {
        #expect(DebianSources.isOf("bookworm", line) == isTaken)
    }

    @Test func theReasonIsAptsOwn() {
        let offline = "I: x...\nErr:1 http://m bookworm InRelease\n  Could not connect\nE: Some index files failed\n"
        #expect(DebianTemplate.reason(offline) == "Could not connect")
        #expect(
            DebianTemplate.reason("W: a\nE: Unable to locate package foo\nE: failed\n")
                == "Unable to locate package foo")
        #expect(DebianTemplate.reason("Err:1 only\n") == "only")
        #expect(DebianTemplate.reason("") == nil)
    }

    @Test func stagesAreProgressAndNothingElseIs() {
        #expect(DebianTemplate.isProgress("I: installing essential packages..."))
        #expect(!DebianTemplate.isProgress("I: success in 26.4 seconds"))
        #expect(!DebianTemplate.isProgress("I: running --setup-hook in shell: sh -c 'x'..."))
    }
}
