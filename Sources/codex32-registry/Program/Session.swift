internal import AsyncHTTPClient
internal import Distribution
internal import Glibc
internal import NIOCore
internal import NIOHTTP1
internal import NIOSSL

/// One registry for one purpose: where it is, how it is reached, and the token that it gave.
actor Session {
    struct Settings: Sendable {
        /// HOST[:PORT], as in an image's name.
        let registry: String
        /// Plain HTTP and unverified TLS are taken: asked for by this very name.
        let isInsecure: Bool
        /// A PEM file of certificates that are trusted beside the machine's.
        let authority: String?
        /// Seconds without a byte after which a connection counts as dead.
        let idle: Int64
    }

    nonisolated let settings: Settings
    /// By the way out, and whether it is the registry itself that is spoken to: only that sees who this side is.
    private var clients: [Route: HTTPClient] = [:]
    private let tls: (others: TLSConfiguration, own: TLSConfiguration)
    private var base = ""
    private var credentials: Credentials?
    private var areCredentialsKnown = false
    private var authorization: String?

    static let mostRedirects = 5
    static let largestAnswer = 1 << 20

    init(_ settings: Settings) throws(Failure) {
        self.settings = settings
        let trust = try Trust(settings.registry)
        var tls = TLSConfiguration.makeClientConfiguration()
        if settings.isInsecure { tls.certificateVerification = .none }
        for path in (settings.authority.map { [$0] } ?? []) + trust.authorities {
            do { tls.additionalTrustRoots.append(.certificates(try NIOSSLCertificate.fromPEMFile(path))) } catch {
                throw Failure("cannot use the certificates in \(path)", hint: "it must be a PEM file")
            }
        }
        var own = tls
        try trust.identify(&own)
        self.tls = (tls, own)
    }

    private struct Route: Hashable {
        let proxy: Proxy?
        let isOwn: Bool
    }

    private func client(for url: String) throws(Failure) -> HTTPClient {
        let isOwn = RegistryURL.origin(of: url) == RegistryURL.origin(of: "https://\(host)")
        let route = Route(proxy: try Proxy.find(for: url), isOwn: isOwn)
        if let client = clients[route] { return client }
        var configuration = HTTPClient.Configuration(tlsConfiguration: isOwn ? tls.own : tls.others)
        configuration.redirectConfiguration = .disallow
        configuration.httpVersion = .http1Only
        configuration.timeout = .init(connect: .seconds(10), read: .seconds(settings.idle))
        // One connection's failure is told at once; trying again is ours.
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.proxy = route.proxy.map { proxy in
            .server(
                host: proxy.host, port: proxy.port,
                authorization: proxy.login.map { .basic(credentials: Base64.encode($0)) })
        }
        let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
        clients[route] = client
        return client
    }

    private var host: String {
        // As Docker has it: the name of the registry is not that of its server.
        settings.registry == "docker.io" ? "registry-1.docker.io" : settings.registry
    }

    /// Finds out how the registry is spoken to.
    private func address() async throws(Failure) -> String {
        if !base.isEmpty { return base }
        guard settings.isInsecure else {
            base = "https://\(host)"
            return base
        }
        let request = HTTPClientRequest(url: "https://\(host)/v2/")
        do {
            _ = try await client(for: request.url).execute(request, timeout: .seconds(settings.idle))
            base = "https://\(host)"
        } catch { base = "http://\(host)" }
        return base
    }

    /// The registry's own URL for a path that begins with "/v2/".
    func url(_ path: String) async throws(Failure) -> String { try await address() + path }

    /// Asks the registry, logs in where it wants that, and follows where it points.
    ///
    /// - Parameters:
    ///   - url: of the registry, or where it pointed to.
    ///   - body: made anew for each try.
    ///   - follows: redirections are followed, as for a GET.
    func ask(
        _ method: HTTPMethod, _ url: String, headers: [(String, String)] = [],
        body: (@Sendable () -> HTTPClientRequest.Body)? = nil, follows: Bool = true
    ) async throws(Failure) -> HTTPClientResponse {
        var url = url
        var mayLogIn = true
        for _ in 0...Session.mostRedirects + 1 {
            let isOwn = try await RegistryURL.origin(of: url) == RegistryURL.origin(of: address())
            var request = HTTPClientRequest(url: url)
            request.method = method
            for (name, value) in headers { request.headers.add(name: name, value: value) }
            request.headers.add(name: "user-agent", value: "codex32")
            let used = authorization
            // A token goes to nobody but the one who gave it.
            if isOwn, let used { request.headers.add(name: "authorization", value: used) }
            if let body { request.body = body() }
            let response = try await execute(request)
            switch response.status.code {
            case 401 where isOwn && mayLogIn:
                mayLogIn = false
                let challenges = response.headers["www-authenticate"]
                await drain(response)
                try await logIn(Challenge.best(challenges), rejected: used)
            case 301, 302, 303, 307, 308:
                guard follows, let target = response.headers.first(name: "location") else {
                    throw Failure("the registry sends codex32 elsewhere, where it may not go")
                }
                await drain(response)
                url = try RegistryURL.resolve(target, from: url)
                guard url.hasPrefix("https://") || settings.isInsecure else {
                    throw Failure(
                        "the registry points to \(RegistryURL.shown(url)), which is not encrypted",
                        hint: "--insecure \(settings.registry) allows it")
                }
            default: return response
            }
        }
        throw Failure("the registry redirects more than \(Session.mostRedirects) times")
    }

    private func execute(_ request: HTTPClientRequest) async throws(Failure) -> HTTPClientResponse {
        let client = try client(for: request.url)
        do { return try await client.execute(request, deadline: .distantFuture) } catch {
            throw Session.failure(error, settings)
        }
    }

    // MARK: Logging in

    private func own() throws(Failure) -> Credentials? {
        if !areCredentialsKnown { credentials = try Credentials.find(settings.registry) }
        areCredentialsKnown = true
        return credentials
    }

    /// Of a person who logs in: not looked up.
    func use(_ credentials: Credentials) {
        self.credentials = credentials
        areCredentialsKnown = true
    }

    private func logIn(_ challenge: Challenge?, rejected: String?) async throws(Failure) {
        // Somebody else has done it meanwhile.
        if let authorization, authorization != rejected { return }
        guard let challenge else {
            throw Failure("the registry wants a login of a kind that codex32 does not know")
        }
        let own = try own()
        switch challenge.scheme {
        case .basic:
            guard let own else {
                throw Failure("it wants a login", hint: "codex32 login \(settings.registry)")
            }
            guard own.identityToken == nil else {
                throw Failure(
                    "it wants a user and a password, and the login that is kept has an identity token",
                    hint: "codex32 login \(settings.registry)")
            }
            guard rejected != own.basic else { throw refused() }
            authorization = own.basic
        case .bearer:
            let token = "Bearer " + (try await token(challenge, own))
            guard rejected != token else { throw refused() }
            authorization = token
        }
    }

    private func refused() -> Failure {
        Failure("it refused the login", hint: "codex32 login \(settings.registry), with an account that may do this")
    }

    /// A token from where the registry says (distribution, "Token Authentication Specification").
    private func token(_ challenge: Challenge, _ own: Credentials?) async throws(Failure) -> String {
        let place = try RegistryURL.tokenPlace(challenge)
        guard place.hasPrefix("https://") || settings.isInsecure else {
            throw Failure(
                "the registry gives tokens at \(RegistryURL.shown(place)), which is not encrypted",
                hint: "--insecure \(settings.registry) allows it")
        }
        var request: HTTPClientRequest
        if let identity = own?.identityToken {
            // distribution, "Registry authorization server: OAuth2": the token for long is exchanged for one for now.
            request = HTTPClientRequest(url: place)
            request.method = .POST
            request.headers.add(name: "content-type", value: "application/x-www-form-urlencoded")
            request.body = .bytes(ByteBuffer(string: RegistryURL.form(challenge, identityToken: identity)))
        } else {
            request = HTTPClientRequest(url: try RegistryURL.token(challenge))
            if let own { request.headers.add(name: "authorization", value: own.basic) }
        }
        request.headers.add(name: "user-agent", value: "codex32")
        let response = try await execute(request)
        let bytes = try await collect(response, limit: Session.largestAnswer)
        switch response.status.code {
        case 200: break
        case 400 where own?.identityToken != nil: throw refused()
        case 401, 403:
            throw own == nil
                ? Failure("it wants a login", hint: "codex32 login \(settings.registry)") : refused()
        default: throw Session.failure(response, bytes)
        }
        return try RegistryAnswer.token(bytes)
    }
}
