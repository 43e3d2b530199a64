internal import AsyncHTTPClient
internal import Distribution
internal import NIOCore
internal import NIOHTTP1
internal import OCISpec

/// Bringing manifests and blobs.
struct Download: Sendable {
    let session: Session
    let outlet: Outlet
    /// `tools/bot`.
    let repository: String

    static let mostTries = 5
    /// In all, of a blob whose connection breaks again and again with a little more each time.
    static let mostConnections = 200
    /// A connection that brings less than this in twice the idle time is as good as dead.
    static let leastBytes = 1024

    static let manifestTypes = [
        "application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    ]

    struct Blob: Sendable {
        let number: Int
        let digest: String
        let size: UInt64
        let offset: UInt64
    }

    /// Something small, whole.
    func document(_ path: String, limit: Int) async throws(Failure) -> [UInt8] {
        try await Download.retrying { () throws(Failure) in
            let url = try await session.url("/v2/\(repository)/\(path)")
            let response = try await session.ask(.GET, url, headers: Download.manifestTypes.map { ("accept", $0) })
            if response.status == .ok { return try await session.collect(response, limit: limit) }
            let bytes = try await session.collect(response, limit: Session.largestAnswer)
            throw Download.failure(response, bytes, session.settings.registry)
        }
    }

    static func failure(_ response: HTTPClientResponse, _ bytes: [UInt8], _ registry: String) -> Failure {
        switch response.status.code {
        case 404: Failure("the registry does not have it", hint: "is the name right, with its tag?")
        case 401, 403:
            Failure("it is not allowed to this login", hint: "codex32 login \(registry), with an account that may")
        default: Session.failure(response, bytes)
        }
    }

    static func retrying<Result: Sendable>(
        _ body: () async throws(Failure) -> Result
    ) async throws(Failure) -> Result {
        var tries = 1
        while true {
            do throws(Failure) { return try await body() } catch {
                guard error.isPassing, tries < mostTries else { throw error }
                await pause(tries, error)
                tries += 1
            }
        }
    }

    static func pause(_ tries: Int, _ failure: Failure) async {
        let own = 0.1 * Double(1 << tries)
        try? await Task.sleep(for: .seconds(max(own, min(failure.wait ?? 0, 30))))
    }

    /// Blobs, some at a time. The frames of several come mixed.
    func blobs(_ blobs: [Blob], atOnce: Int) async throws(Failure) {
        do {
            try await withThrowingTaskGroup(of: Void.self) { group in
                var rest = blobs[...]
                for blob in rest.prefix(atOnce) { group.addTask { try await self.blob(blob) } }
                rest = rest.dropFirst(atOnce)
                while try await group.next() != nil {
                    if let next = rest.popFirst() { group.addTask { try await self.blob(next) } }
                }
            }
        } catch let failure as Failure { throw failure } catch { throw Failure("\(error)") }
    }

    private func blob(_ blob: Blob) async throws(Failure) {
        var at = blob.offset
        var (tries, connections) = (1, 1)
        while true {
            let began = at
            do throws(Failure) {
                try await part(blob, &at)
                await outlet.send(.members(["end": .number(blob.number)]))
                return
            } catch {
                // What brought something may do so again.
                if at > began { tries = 0 }
                guard error.isPassing, tries < Download.mostTries, connections < Download.mostConnections else {
                    throw Failure("the blob \(blob.digest): \(error.why)", hint: error.hint)
                }
                tries += 1
                connections += 1
                await Download.pause(tries, error)
            }
        }
    }

    /// As much as one connection brings, from a place on.
    private func part(_ blob: Blob, _ at: inout UInt64) async throws(Failure) {
        if at == blob.size, at > 0 { return }
        let url = try await session.url("/v2/\(repository)/blobs/\(blob.digest)")
        let headers = at > 0 ? [("range", "bytes=\(at)-")] : []
        let response = try await session.ask(.GET, url, headers: headers)
        switch response.status {
        case .partialContent:
            guard at > 0, let range = response.headers.first(name: "content-range"),
                RegistryAnswer.isPart(range, from: at, of: blob.size)
            else {
                throw Failure("its answer is another part than the one asked for")
            }
        case .ok, .rangeNotSatisfiable:
            if at > 0 { await outlet.send(.members(["restart": .number(blob.number)])) }
            at = 0
            if response.status == .rangeNotSatisfiable { throw Failure("it does not have so much", isPassing: true) }
        default:
            let bytes = try await session.collect(response, limit: Session.largestAnswer)
            throw Download.failure(response, bytes, session.settings.registry)
        }
        if let said = response.headers.first(name: "content-length").flatMap({ RegistryAnswer.number($0) }),
            said != blob.size - at
        {
            throw Failure("it has \(at &+ said) bytes, and should have \(blob.size)", hint: Download.damaged)
        }
        try await take(response, blob, &at)
    }

    static let damaged = "it was cut off or changed on its way, or at the registry"

    private func take(_ response: HTTPClientResponse, _ blob: Blob, _ at: inout UInt64) async throws(Failure) {
        let clock = ContinuousClock()
        var (since, bytes) = (clock.now, 0)
        do {
            for try await part in response.body {
                let count = UInt64(part.readableBytes)
                guard count <= blob.size - at else {
                    throw Failure("it has more than \(blob.size) bytes", hint: Download.damaged)
                }
                let header = JSON.members(["blob": .number(blob.number), "bytes": .number(count)])
                await outlet.send(header, part)
                at += count
                bytes += part.readableBytes
                guard clock.now - since > .seconds(2 * session.settings.idle) else { continue }
                guard bytes >= Download.leastBytes else {
                    throw Failure("only \(bytes) bytes came in \(2 * session.settings.idle) seconds", isPassing: true)
                }
                (since, bytes) = (clock.now, 0)
            }
        } catch let failure as Failure { throw failure } catch {
            var failure = Session.failure(error, session.settings)
            failure.isPassing = true
            throw failure
        }
        guard at == blob.size else { throw Failure("it was cut off", isPassing: true) }
    }
}
