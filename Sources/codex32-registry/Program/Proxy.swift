internal import Distribution
internal import Glibc

/// The way out of this machine's network, from the variables that other programs read too: HTTPS_PROXY for what is
/// encrypted, HTTP_PROXY for what is not, each also in small letters, and NO_PROXY for who is spoken to directly.
struct Proxy: Hashable, Sendable {
    let host: String
    let port: Int
    /// USER:PASSWORD.
    let login: String?

    /// - Parameter url: what is asked for.
    /// - Returns: nil: it is spoken to directly.
    /// - Throws: the variable makes no sense. Going around a proxy that somebody wanted would be worse.
    static func find(for url: String) throws(Failure) -> Proxy? {
        guard let target = Target(url) else { return nil }
        let names = target.isEncrypted ? ["HTTPS_PROXY", "https_proxy"] : ["HTTP_PROXY", "http_proxy"]
        guard let (name, value) = variable(names), !isLoopback(target.host) else { return nil }
        if let (_, list) = variable(["NO_PROXY", "no_proxy"]), isExcepted(target, list) { return nil }
        return try Proxy(value, name)
    }

    private static func variable(_ names: [String]) -> (name: String, value: String)? {
        for name in names {
            if let value = getenv(name), value.pointee != 0 { return (name, String(cString: value)) }
        }
        return nil
    }

    /// `http://[USER:PASSWORD@]HOST[:PORT]`, or without the scheme.
    init(_ text: String, _ name: String) throws(Failure) {
        let wrong = Failure("\(name) is no proxy's URL", hint: "\(name)=http://[USER:PASSWORD@]HOST:PORT")
        var rest = text[...]
        if let scheme = text.utf8.firstRange(of: "://") {
            guard text[..<scheme.lowerBound].lowercased() == "http" else {
                throw Failure(
                    "\(name) wants a proxy of a kind that codex32 does not know",
                    hint: "one that is reached by plain HTTP, which then passes on what is encrypted: http://HOST:PORT")
            }
            rest = text[scheme.upperBound...]
        }
        rest = rest.prefix { $0 != "/" }
        if let at = rest.lastIndex(of: "@") {
            guard let decoded = Proxy.decode(rest[..<at]) else { throw wrong }
            login = decoded.contains(":") ? decoded : decoded + ":"
            rest = rest[rest.index(after: at)...]
        } else {
            login = nil
        }
        guard let target = Target("http://\(rest)") else { throw wrong }
        (host, port) = (target.host, target.port)
    }

    /// Without %XX for a byte.
    private static func decode(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == 0x25 else {
                bytes.append(byte)
                continue
            }
            guard rest.count >= 2, let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) else {
                return nil
            }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return String(validating: bytes, as: UTF8.self)
    }

    /// This machine itself is behind no proxy, as with Go's programs.
    private static func isLoopback(_ host: String) -> Bool {
        host == "localhost" || host == "[::1]" || (Address(host)?.bytes).map { $0.count == 4 && $0[0] == 127 } == true
    }

    /// By a name, which stands for those below it too; an address, or a block of them as ADDRESS/BITS; each perhaps with
    /// a port; "*" is everybody.
    private static func isExcepted(_ target: Target, _ list: String) -> Bool {
        for word in list.split(whereSeparator: { $0 == "," || $0 == " " }).prefix(1000).map({ $0.lowercased() }) {
            if word == "*" { return true }
            if let address = Address(target.host), let slash = word.lastIndex(of: "/") {
                if let block = Address(String(word[..<slash])), let bits = Int(word[word.index(after: slash)...]),
                    address.isIn(block, bits)
                {
                    return true
                }
                continue
            }
            var name = word
            if let colon = word.lastIndex(of: ":"), let port = Int(word[word.index(after: colon)...]),
                Address(word) == nil
            {
                guard port == target.port else { continue }
                name = String(word[..<colon])
            }
            if let address = Address(target.host) {
                if Address(name)?.bytes == address.bytes { return true }
                continue
            }
            while name.hasPrefix("*") || name.hasPrefix(".") { name.removeFirst() }
            if !name.isEmpty, target.host == name || target.host.hasSuffix("." + name) { return true }
        }
        return false
    }

    /// Where a URL leads.
    private struct Target {
        let isEncrypted: Bool
        /// In small letters; an address of IPv6 in brackets.
        let host: String
        let port: Int

        init?(_ url: String) {
            guard let origin = RegistryURL.origin(of: url) else { return nil }
            isEncrypted = origin.hasPrefix("https://")
            let rest = origin.dropFirst(isEncrypted ? 8 : 7)
            let bracket = rest.lastIndex(of: "]") ?? rest.startIndex
            guard let colon = rest[bracket...].lastIndex(of: ":") else {
                (host, port) = (String(rest), isEncrypted ? 443 : 80)
                return
            }
            guard let port = Int(rest[rest.index(after: colon)...]), (1...65535).contains(port),
                rest.startIndex < colon
            else { return nil }
            (host, self.port) = (String(rest[..<colon]), port)
        }
    }

    /// Of IPv4 or IPv6, as bytes.
    private struct Address {
        let bytes: [UInt8]

        init?(_ text: String) {
            let plain = text.hasPrefix("[") && text.hasSuffix("]") ? String(text.dropFirst().dropLast()) : text
            var bytes = [UInt8](repeating: 0, count: 16)
            if inet_pton(AF_INET, plain, &bytes) == 1 {
                self.bytes = Array(bytes[..<4])
            } else if inet_pton(AF_INET6, plain, &bytes) == 1 {
                self.bytes = bytes
            } else {
                return nil
            }
        }

        func isIn(_ block: Address, _ bits: Int) -> Bool {
            guard bytes.count == block.bytes.count, (0...bytes.count * 8).contains(bits) else { return false }
            return (0..<bits).allSatisfy { bit in
                (bytes[bit / 8] ^ block.bytes[bit / 8]) & (0x80 >> UInt8(bit % 8)) == 0
            }
        }
    }
}

extension String.UTF8View {
    /// Where a text begins and ends; the library's own is Foundation's, or needs a newer one.
    fileprivate func firstRange(of text: String) -> Range<String.Index>? {
        var at = startIndex
        while at != endIndex {
            if self[at...].starts(with: text.utf8), let end = index(at, offsetBy: text.utf8.count, limitedBy: endIndex)
            {
                return at..<end
            }
            at = index(after: at)
        }
        return nil
    }
}
