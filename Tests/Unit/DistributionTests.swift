import OCISpec
import Testing

@testable import Distribution
@testable import Images
@testable import LinuxKernel

/// What registries, and files of logins, say.
@Suite struct DistributionTests {
    @Test func aChallengeIsRead() throws {
        let header = #"Bearer realm="https://auth.example/t",service="a b",scope="repository:x:pull,push""#
        let challenge = try #require(Challenge.best([header]))
        #expect(challenge.scheme == .bearer)
        #expect(
            challenge.parameters == [
                "realm": "https://auth.example/t", "service": "a b", "scope": "repository:x:pull,push",
            ])
        #expect(
            try RegistryURL.token(challenge)
                == "https://auth.example/t?service=a%20b&scope=repository%3Ax%3Apull%2Cpush")
        #expect(Challenge.best(["Basic realm=\"a\\\"b", "Digest x=1"])?.parameters == ["realm": "a\"b"])
        for text in [
            "", "Digest realm=x", "bearerrealm=x", "=", ",,", "\"", String(repeating: "Bearer a=b,", count: 500),
        ] {
            #expect(Challenge.best([text]) == nil, "\(text.prefix(20))")
        }
    }

    /// RFC 9110, 11.6.1: one header may have several, and spaces around "=" are to be taken (11.2).
    @Test func aTokenIsPreferredInOneHeaderToo() throws {
        let found = Challenge.list(
            #"Basic realm="x, Bearer", Digest a=1, BEARER Realm = https://a.example ,service="s""#)
        #expect(found.map(\.scheme) == [.basic, .bearer])
        #expect(found[0].parameters == ["realm": "x, Bearer"])
        #expect(found[1].parameters == ["realm": "https://a.example", "service": "s"])
        #expect(Challenge.best([#"Basic realm="x", Bearer realm="https://a.example""#])?.scheme == .bearer)
    }

    @Test(arguments: [
        "", "/", "//evil.example/x", "evil.example/x", "ftp://a/x", "https://", "https://user@evil.example/",
        "https:///x",
        "https://a b/", "https://a/\u{e9}", "https://a/\r\nX: y", "https:/a/", "https:/\u{338}/a/",
    ])
    func aPlaceThatIsNoURLIsRefused(_ text: String) {
        #expect(throws: Failure.self) { try RegistryURL.resolve(text, from: "nowhere") }
        #expect(throws: Failure.self) {
            try RegistryURL.token(Challenge(scheme: .bearer, parameters: ["realm": text]))
        }
    }

    @Test func aPlaceIsResolved() throws {
        #expect(
            try RegistryURL.resolve("/v2/x?a=b", from: "https://R.example:5000/v2/")
                == "https://r.example:5000/v2/x?a=b")
        #expect(try RegistryURL.resolve("http://cdn.example/x#y", from: "https://r/") == "http://cdn.example/x#y")
        #expect(RegistryURL.origin(of: "HTTPS://A.example?x") == "https://a.example")
        #expect(RegistryURL.shown("https://a.example/secret") == "https://a.example")
    }

    @Test func aPartIsTheOneAskedForOrNone() {
        for text in ["bytes 5-9/10", "bytes 5-9/*", "Bytes 5-7/10"] {
            #expect(RegistryAnswer.isPart(text, from: 5, of: 10))
        }
        for text in [
            "", "bytes", "bytes 5-", "bytes 5-9", "bytes 5-10/10", "bytes 4-9/10", "bytes 5-4/10", "bytes 5-9/11",
            "bytes +5-9/10", "bytes 5-9/10/", "bytes  5-9/10", "bytes */10", "octets 5-9/10",
            "bytes 5-99999999999999999999/*",
        ] { #expect(!RegistryAnswer.isPart(text, from: 5, of: 10), "\(text)") }
    }

    @Test func whatWentWrongIsBounded() {
        // A character of Swift's, of any number of scalars: by characters it is one.
        let long = "a" + String(repeating: "\u{301}", count: 100_000)
        let body = JSON.members(["errors": .array([.members(["code": .string("X"), "message": .string(long)])])])
        let failure = RegistryAnswer.failure(503, Array(body.text().utf8), wait: "7")
        #expect(failure.isPassing && failure.wait == 7 && failure.why.unicodeScalars.count < 250)
        #expect(
            RegistryAnswer.failure(400, Array(#"{"errors":[{"code":"DENIED"}]}"#.utf8), wait: nil).why
                == "it answered 400 (DENIED)")
        for text in ["", "-1", "nan", "inf", "1e9", "0x10", "1.5", "Fri, 31 Dec 1999 23:59:59 GMT", "9999999999"] {
            #expect(RegistryAnswer.failure(429, [], wait: text).wait == nil, "\(text)")
        }
        // Whoever reads it takes no longer line than this; a helper's name of a login's file may be as long as the file.
        let line = Array(Failure(long, hint: long).document.text().utf8)
        #expect(line.count < 1 << 16)
        #expect(throws: Problem.self) { try RegistryProcess.header(line, "x") }
    }

    @Test func aTokenGoesIntoAHeader() throws {
        #expect(try RegistryAnswer.token(Array(#"{"token":"","access_token":"x.y"}"#.utf8)) == "x.y")
        for text in [#"{"token":"a\r\nX: y"}"#, #"{"token":"a b"}"#, #"{"token":1}"#, "[]", "", "{"] {
            #expect(throws: Failure.self) { try RegistryAnswer.token(Array(text.utf8)) }
        }
    }

    @Test func anIdentityTokenStandsForALogin() throws {
        let text =
            #"{"auths":{"quay.io":{"auth":"dTpw","identitytoken":"a&b"},"b.io":{"auth":"dTpw","identitytoken":""}}}"#
        let file = LoginDocument(try JSONReader.read(Array(text.utf8)))
        #expect(try file.entry("quay.io", path: "f") == .login(Credentials(identityToken: "a&b")))
        #expect(try file.entry("b.io", path: "f") == .login(Credentials(user: "u", password: "p")))
        let said = { (text: String) in try Credentials(helper: "x", said: Array(text.utf8)) }
        #expect(try said(#"{"Username":"<token>","Secret":"t"}"#) == Credentials(identityToken: "t"))
        #expect(try said(#"{"Username":"u","Secret":"t"}"#) == Credentials(user: "u", password: "t"))
        #expect(throws: Failure.self) { try said(#"{"Username":"u"}"#) }
        let challenge = Challenge(scheme: .bearer, parameters: ["realm": "https://a.io/t", "service": "s&x=1"])
        #expect(try RegistryURL.tokenPlace(challenge) == "https://a.io/t")
        #expect(
            RegistryURL.form(challenge, identityToken: "a&b")
                == "service=s%26x%3D1&grant_type=refresh_token&client_id=codex32&refresh_token=a%26b")
    }

    @Test func loginsAreKeptAndForgotten() throws {
        let text =
            #"{"x":1,"auths":{"https://quay.io":{"auth":"dTpwOnE="},"bad.io":{"auth":"dQ=="}},"credHelpers":{"a.io":"pass"},"credsStore":"all"}"#
        var file = LoginDocument(try JSONReader.read(Array(text.utf8)))
        #expect(try file.entry("quay.io", path: "f") == .login(Credentials(user: "u", password: "p:q")))
        #expect(try file.entry("a.io", path: "f") == .helper("pass", key: "a.io"))
        #expect(try file.entry("other.io", path: "f") == nil && file.usualHelper == "all")
        #expect(throws: Failure.self) { try file.entry("bad.io", path: "f") }
        try file.keep(Credentials(user: "a", password: "\u{301}b"), "new.io", path: "f")
        #expect(try file.entry("new.io", path: "f") == .login(Credentials(user: "a", password: "\u{301}b")))
        let isForgotten = file.forget("new.io")
        let before = try JSONReader.read(Array(text.utf8))
        #expect(isForgotten && file.json == before)
    }

    /// It said that it was kept, and nothing was.
    @Test(arguments: ["[]", "1", #"{"auths":[]}"#, #"{"auths":"x"}"#, #"{"auths":null}"#])
    func aLoginIsNotKeptWhereThereIsNoPlaceForIt(_ text: String) throws {
        var file = LoginDocument(try JSONReader.read(Array(text.utf8)))
        #expect(throws: Failure.self) { try file.keep(Credentials(user: "a", password: "b"), "quay.io", path: "f") }
    }

    @Test func framesAreReadOrNone() throws {
        let frame = { (text: String) -> RegistryProcess.Frame? in
            try RegistryProcess.header(Array(text.utf8), "x").flatMap(RegistryProcess.frame)
        }
        #expect(try frame(#"{"blob":1,"bytes":5}"#) == .part(blob: 1, bytes: 5))
        #expect(try frame(#"{"restart":2}"#) == .restart(blob: 2) && frame(#"{"end":3}"#) == .end(blob: 3))
        #expect(try frame(#"{"ok":true}"#) == .done)
        for text in ["", "{}", "[]", "1", #"{"blob":1}"#, #"{"blob":-1,"bytes":5}"#, #"{"blob":1,"bytes":67108865}"#] {
            #expect(try frame(text) == nil, "\(text)")
        }
        #expect(throws: Problem("x", "gone", hint: "again")) { try frame(#"{"error":{"why":"gone","hint":"again"}}"#) }
    }
}
