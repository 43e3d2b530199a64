internal import AsyncHTTPClient
internal import Glibc
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOSSL
internal import OCISpec

/// URLs, answers and errors, read.
extension Session {
    /// SCHEME://HOST[:PORT] of a URL; nil: it is none that is spoken here.
    static func origin(of url: String) -> String? {
        for scheme in ["https://", "http://"] where url.lowercased().hasPrefix(scheme) {
            let rest = url.dropFirst(scheme.utf8.count)
            let host = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
            // A user's name in it is a way to look like another host.
            guard !host.isEmpty, !host.contains("@") else { return nil }
            let isPlain = host.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f }
            return isPlain ? scheme + host.lowercased() : nil
        }
        return nil
    }

    static func resolve(_ target: String, from url: String) throws(Failure) -> String {
        guard target.utf8.count <= 16384, target.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
            throw Failure("the registry points to a place that is no URL")
        }
        if target.hasPrefix("/"), !target.hasPrefix("//"), let origin = origin(of: url) { return origin + target }
        guard origin(of: target) != nil else { throw Failure("the registry points to a place that is no URL") }
        return target
    }

    /// For messages: without what may be a secret.
    static func shown(_ url: String) -> String { origin(of: url) ?? "somewhere" }

    static func escape(_ text: String) -> String {
        var output = ""
        for byte in text.utf8 {
            let isPlain =
                (0x61...0x7a).contains(byte) || (0x41...0x5a).contains(byte) || (0x30...0x39).contains(byte)
                || [0x2d, 0x2e, 0x5f, 0x7e].contains(byte)
            if isPlain {
                output.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                let digits = String(byte, radix: 16, uppercase: true)
                output += "%" + (digits.utf8.count == 1 ? "0" : "") + digits
            }
        }
        return output
    }

    nonisolated func collect(_ response: HTTPClientResponse, limit: Int) async throws(Failure) -> [UInt8] {
        var bytes: [UInt8] = []
        do {
            for try await part in response.body {
                bytes += part.readableBytesView
                if bytes.count > limit { throw Failure("its answer is larger than \(limit) bytes") }
            }
        } catch {
            var failure = Session.failure(error, settings)
            if !(error is Failure) { failure.isPassing = true }
            throw failure
        }
        return bytes
    }

    /// Reads an answer away, so that its connection can be used again; a long one is not waited for.
    nonisolated func drain(_ response: HTTPClientResponse) async { _ = try? await collect(response, limit: 1 << 16) }

    /// What a registry says went wrong (distribution-spec, "Error Codes").
    static func failure(_ response: HTTPClientResponse, _ bytes: [UInt8]) -> Failure {
        let code = response.status.code
        var said = ""
        if let answer = try? JSONReader.read(bytes), case .array(let errors)? = answer["errors"],
            let first = errors.first
        {
            if case .string(let message)? = first["message"] { said = message }
            if said.isEmpty, case .string(let code)? = first["code"] { said = code }
        }
        let why = "it answered \(code)" + (said.isEmpty ? "" : " (\(said.prefix(200)))")
        if code == 429 || code >= 500 {
            let wait = response.headers.first(name: "retry-after").flatMap { Double($0) }
            return Failure(why, hint: "try again later", isPassing: true, wait: wait)
        }
        return Failure(why)
    }

    static func failure(_ error: any Error, _ settings: Settings) -> Failure {
        if let failure = error as? Failure { return failure }
        if error is NIOSSLError || error is BoringSSLError || error is NIOSSLExtraError {
            let text = "\(error)"
            if has(text, "CERTIFICATE_VERIFY_FAILED") || has(text, "failedToValidateHostname") {
                return Failure(
                    "its certificate is not to be trusted",
                    hint: "--tls-ca FILE with the certificate of who signed it, if that is right")
            }
            return Failure(
                "it does not speak TLS as it should",
                hint: "for a registry without: --insecure \(settings.registry)", isPassing: false)
        }
        if let known = error as? HTTPClientError {
            switch known {
            case .connectTimeout: return Failure("it does not answer", isPassing: true)
            case .readTimeout, .deadlineExceeded:
                return Failure("nothing came for \(settings.idle) seconds", isPassing: true)
            case .remoteConnectionClosed: return Failure("it closed the connection", isPassing: true)
            case .proxyAuthenticationRequired:
                return Failure(
                    "the proxy wants a login", hint: "HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT, with %XX for others")
            case .invalidProxyResponse, .httpProxyHandshakeTimeout:
                return Failure(
                    "the proxy lets codex32 not through", hint: "HTTPS_PROXY names it; NO_PROXY goes around it")
            case .tlsHandshakeTimeout: return Failure("it does not speak TLS", isPassing: true)
            default: return Failure("the connection failed: \(known)", isPassing: true)
            }
        }
        if let known = error as? NIOConnectionError {
            let reasons = known.connectionErrors.map { text($0.error) }
            if let reason = reasons.first { return Failure("cannot connect: \(reason)", isPassing: true) }
            return Failure(
                "there is no host \(known.host)", hint: "is the name right, and does this machine's network work?")
        }
        return Failure("the connection failed: \(text(error))", isPassing: true)
    }

    private static func text(_ error: any Error) -> String {
        if let system = error as? IOError { return String(cString: strerror(system.errnoCode)) }
        return "\(error)"
    }

    private static func has(_ text: String, _ part: String) -> Bool {
        let (text, part) = (Array(text.utf8), Array(part.utf8))
        guard text.count >= part.count else { return false }
        return (0...(text.count - part.count)).contains { text[$0..<($0 + part.count)].elementsEqual(part) }
    }
}
