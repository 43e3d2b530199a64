internal import Distribution
internal import Glibc
internal import NIOSSL

/// What a machine and a person keep for one registry, as Docker and Podman do, in a folder of its name (HOST[:PORT]) below
/// `certs.d`: `*.crt` are certificates of those who may sign the registry's; `NAME.cert` and `NAME.key` are this side's own.
struct Trust {
    private(set) var authorities: [String] = []
    /// PEM files.
    private(set) var own: (certificate: String, key: String)?

    /// - Throws: there is half of what belongs together.
    init(_ registry: String) throws(Failure) {
        for folder in Trust.folders {
            let place = "\(folder)/\(registry)"
            let names = Trust.names(place)
            for name in names where name.hasSuffix(".crt") && access("\(place)/\(name)", R_OK) == 0 {
                authorities.append("\(place)/\(name)")
            }
            for name in names where name.hasSuffix(".cert") && own == nil {
                let key = "\(place)/\(name.dropLast(5)).key"
                guard access(key, F_OK) == 0 else {
                    throw Failure(
                        "\(place)/\(name) has no key beside it",
                        hint: "\(key), or, if it is whom to trust, the name must end with .crt")
                }
                own = ("\(place)/\(name)", key)
            }
        }
    }

    /// A person's own first.
    private static var folders: [String] {
        var folders: [String] = []
        if let home = getenv("HOME"), home.pointee == 0x2f {
            for name in ["containers", "docker"] { folders.append("\(String(cString: home))/.config/\(name)/certs.d") }
        }
        return folders + ["/etc/docker/certs.d", "/etc/containers/certs.d"]
    }

    private static func names(_ path: String) -> [String] {
        guard let folder = opendir(path) else { return [] }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder), names.count < 1000 {
            names.append(
                withUnsafePointer(to: &entry.pointee.d_name) {
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                })
        }
        return names.sorted()
    }

    /// Shows this side's own certificate to whoever asks for one.
    func identify(_ tls: inout TLSConfiguration) throws(Failure) {
        guard let own else { return }
        do {
            tls.certificateChain = try NIOSSLCertificate.fromPEMFile(own.certificate).map { .certificate($0) }
            tls.privateKey = .privateKey(try NIOSSLPrivateKey(file: own.key, format: .pem))
        } catch {
            throw Failure(
                "cannot use the certificate \(own.certificate) with its key",
                hint: "both must be PEM files that you can read, the key without a password: \(own.key)")
        }
    }
}
