internal import AsyncHTTPClient
internal import Distribution
internal import Glibc
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOSSL

/// Answers and errors, read.
extension Session {
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

    static func failure(_ response: HTTPClientResponse, _ bytes: [UInt8]) -> Failure {
        RegistryAnswer.failure(
            response.status.code, bytes, wait: response.headers.first(name: "retry-after"))
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
