internal import LinuxKernel

@testable internal import Distribution
@testable internal import Images
@testable internal import OCISpec

/// What registries, and the files and helpers that keep logins, say: headers, bodies, URLs; and what codex32-registry,
/// which talks to them, says to codex32.
func readRegistry(_ bytes: [UInt8]) {
    let text = String(decoding: bytes, as: UTF8.self)
    readHeaders(text)
    readAnswer(bytes)
    if let json = try? JSONReader.read(bytes) { readLogins(LoginDocument(json)) }
    if let found = try? Credentials(helper: "fuzz", said: bytes) { readCredentials(found) }
    if let decoded = Base64.decode(text) {
        expect(Base64.decode(Base64.encode(decoded)) == decoded, "what was in Base64 does not come back")
    }
    expect(Base64.decode(Base64.encode(text)) == text, "text does not come back from Base64")
    if let header = try? RegistryProcess.header(bytes, "fuzz"), let frame = RegistryProcess.frame(header) {
        if case .part(let blob, let bytes) = frame { expect(min(blob, bytes) >= 0 && bytes <= 64 << 20, "a frame") }
    }
    if let entries = try? ImagePull.index(bytes) { for entry in entries { _ = (entry.isIndex, entry.platform) } }
}

private func isPlain(_ text: String) -> Bool { text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f } }

private func readHeaders(_ text: String) {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false).prefix(8).map(String.init)
    if let challenge = Challenge.best(lines) {
        expect(lines.contains { $0.lowercased().contains("b") }, "a challenge out of nothing")
        if let url = try? RegistryURL.token(challenge) {
            // A registry chooses where; what else it says may not change that, nor add to a request.
            expect(isPlain(url), "a URL with more than itself")
            expect(
                RegistryURL.origin(of: url) == challenge.parameters["realm"].flatMap(RegistryURL.origin),
                "a token from elsewhere")
        }
    }
    for line in lines {
        for from in ["https://registry.example:5000/v2/", line] {
            guard let url = try? RegistryURL.resolve(line, from: from) else { continue }
            expect(isPlain(url) && RegistryURL.origin(of: url) != nil, "the place \(url)")
            let isOwn = line.hasPrefix("/")
            expect(!isOwn || RegistryURL.origin(of: url) == RegistryURL.origin(of: from), "a place that is another's")
        }
        let escaped = RegistryURL.escape(line)
        expect(
            isPlain(escaped) && !escaped.utf8.contains { [0x26, 0x3d, 0x23, 0x3f].contains($0) }, "what was escaped")
        if let origin = RegistryURL.origin(of: line) {
            expect(RegistryURL.origin(of: origin) == origin, "an origin's own origin")
        }
        expect(RegistryURL.shown(line).utf8.count <= max(line.utf8.count, 9), "what is shown of a URL")
        if let wait = RegistryAnswer.seconds(line) { expect(wait >= 0 && wait < 1e9, "a time to wait") }
        for start in [0, 5, UInt64.max] where RegistryAnswer.isPart(line, from: start, of: 10) {
            expect(start < 10 && line.utf8.contains(0x2d), "a part of something")
        }
    }
}

private func readAnswer(_ bytes: [UInt8]) {
    for code in [UInt(401), 404, 429, 500] {
        let failure = RegistryAnswer.failure(code, bytes, wait: String(decoding: bytes.prefix(16), as: UTF8.self))
        expect(failure.isPassing == (code >= 429), "what may go well the next time")
        // codex32 takes no longer line.
        let line = Array(failure.document.text().utf8)
        expect(line.count < 1 << 16 && !line.contains(10), "a failure is no line")
        do throws(Problem) {
            _ = try RegistryProcess.header(line, "fuzz")
            expect(false, "a failure is taken for none")
        } catch { expect(error.why == failure.why && error.hint == failure.hint, "a failure does not come back") }
    }
    if let token = try? RegistryAnswer.token(bytes) { expect(!token.isEmpty && isPlain(token), "a token") }
}

private func readCredentials(_ found: Credentials) {
    expect(isPlain(String(found.basic.dropFirst(6))), "a header with more than a login")
}

private func readLogins(_ document: LoginDocument) {
    for registry in ["docker.io", "quay.io", "localhost:5000"] {
        let key = LoginDocument.keys(registry)[0]
        if case .login(let found)? = try? document.entry(registry, path: "fuzz") { readCredentials(found) }
        var kept = document
        let own = Credentials(user: "user", password: "pass:word")
        guard (try? kept.keep(own, key, path: "fuzz")) != nil else { continue }
        if document.json["credHelpers"]?[key] == nil {
            expect((try? kept.entry(registry, path: "fuzz")) == .login(own), "a login was kept and is not there")
        }
        expect(kept.forget(key) && kept.json["auths"]?[key] == nil, "a login was forgotten and is there")
        expect(!kept.forget(key), "a login was forgotten twice")
    }
}
