internal import AsyncHTTPClient
internal import Distribution
internal import Glibc
internal import NIOCore
internal import NIOHTTP1
internal import OCISpec

/// `codex32-registry`: speaks to registries, for codex32, which starts it, and for nobody else. It has no words: what
/// is asked for comes in on the standard input, and what was brought goes out on the standard output; it ends with
/// the first. What it brings is verified there and not here: this program is the one that strangers talk to.
@main
enum Main {
    static func main() async {
        signal(SIGPIPE, SIG_IGN)
        guard isatty(0) == 0, CommandLine.arguments.count == 1 else {
            let text = "codex32-registry: it is for codex32 itself: use codex32 image pull, push, login and logout\n"
            _ = text.withCString { write(2, $0, strlen($0)) }
            exit(125)
        }
        let outlet = Outlet()
        var session: Session?
        for await request in Inlet.requests() {
            do {
                let answer = try await carryOut(request, &session, outlet)
                await outlet.send(answer.header, answer.data.map { ByteBuffer(bytes: $0) })
            } catch {
                // A document of codex32's that makes no sense is told in its own words.
                let failure = error as? Failure ?? Failure("\(error)")
                await outlet.send(failure.document)
            }
        }
    }

    private typealias Answer = (header: JSON, data: [UInt8]?)
    private static var fine: Answer { (.members(["ok": .bool(true)]), nil) }

    private static func carryOut(
        _ request: Inlet.Request, _ session: inout Session?, _ outlet: Outlet
    ) async throws -> Answer {
        let header = try JSONObject(request.header, at: "request")
        let verb = try header.required("verb")
        switch verb {
        case "open":
            session = try Session(
                .init(
                    registry: try header.required("registry"), isInsecure: try header.bool("insecure") ?? false,
                    authority: try header.string("authority"), idle: try header.integer("idle") ?? 30))
            return fine
        case "logout":
            return (.members(["found": .bool(try Credentials.forget(try header.required("registry")))]), nil)
        default: break
        }
        guard let session else { throw DocumentError("request", "open comes first") }
        switch verb {
        case "login":
            let own = Credentials(user: try header.required("user"), password: try header.required("password"))
            return (.members(["kept": .string(try await logIn(own, session))]), nil)
        case "manifest", "document", "blobs":
            return try await download(
                Download(session: session, outlet: outlet, repository: try header.required("repository")), verb, header)
        case "put", "putManifest":
            let place = Upload(session: session, repository: try header.required("repository"))
            guard verb == "put" else {
                try await place.manifest(
                    request.data, type: try header.required("mediaType"), as: try header.required("reference"))
                return fine
            }
            let blob = Upload.Blob(
                digest: try header.required("digest"), size: try header.unsigned("size") ?? 0,
                file: Int32(try header.integer("file") ?? -1))
            return (.members(["existed": .bool(try await place.blob(blob))]), nil)
        default: throw DocumentError("request.verb", "\(verb) is not known")
        }
    }

    private static func download(_ place: Download, _ verb: String, _ header: JSONObject) async throws -> Answer {
        guard verb != "blobs" else {
            var blobs: [Download.Blob] = []
            for (number, blob) in try header.objects("blobs").enumerated() {
                blobs.append(
                    Download.Blob(
                        number: number, digest: try blob.required("digest"), size: try blob.unsigned("size") ?? 0,
                        offset: try blob.unsigned("offset") ?? 0))
            }
            try await place.blobs(blobs, atOnce: 4)
            return fine
        }
        let path = verb == "manifest" ? "manifests" : "blobs"
        let bytes = try await place.document(
            "\(path)/\(try header.required("reference"))", limit: Int(try header.unsigned("limit") ?? 0))
        return (.members(["bytes": .number(bytes.count)]), bytes)
    }

    /// Kept once the registry took them.
    private static func logIn(_ own: Credentials, _ session: Session) async throws(Failure) -> String {
        await session.use(own)
        let response = try await session.ask(.GET, try await session.url("/v2/"))
        let bytes = try await session.collect(response, limit: Session.largestAnswer)
        guard response.status == .ok else {
            throw Download.failure(response, bytes, session.settings.registry)
        }
        return try own.keep(session.settings.registry)
    }
}
