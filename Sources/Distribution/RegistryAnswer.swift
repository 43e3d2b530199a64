internal import OCISpec

/// What registries answer, read.
public enum RegistryAnswer {
    /// What a registry says went wrong (distribution-spec, "Error Codes"); empty: nothing that can be read.
    static func reason(_ bytes: [UInt8]) -> String {
        guard let answer = try? JSONReader.read(bytes), case .array(let errors)? = answer["errors"],
            let first = errors.first
        else { return "" }
        for name in ["message", "code"] {
            if case .string(let text)? = first[name], !text.isEmpty { return Failure.cut(text, 200) }
        }
        return ""
    }

    /// - Parameters:
    ///   - code: the status of HTTP.
    ///   - bytes: the answer's body.
    ///   - wait: the header `Retry-After`, in seconds; a date is passed over.
    public static func failure(_ code: UInt, _ bytes: [UInt8], wait: String?) -> Failure {
        let said = reason(bytes)
        let why = "it answered \(code)" + (said.isEmpty ? "" : " (\(said))")
        guard code == 429 || code >= 500 else { return Failure(why) }
        return Failure(why, hint: "try again later", isPassing: true, wait: wait.flatMap(seconds))
    }

    /// RFC 9110, 10.2.3: a whole number of seconds; nil: it is none.
    static func seconds(_ text: String) -> Double? {
        guard (1...9).contains(text.utf8.count), text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else {
            return nil
        }
        return Double(text)
    }

    /// The token in the answer of a place that gives them (distribution, "Token Authentication Specification").
    public static func token(_ bytes: [UInt8]) throws(Failure) -> String {
        guard let answer = try? JSONReader.read(bytes) else { throw Failure("its token is no JSON") }
        for name in ["token", "access_token"] {
            // It goes into a header.
            if case .string(let token)? = answer[name], !token.isEmpty,
                token.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f })
            {
                return token
            }
        }
        throw Failure("it gave no token")
    }

    /// Whether a `Content-Range` is of a part that begins at `start` of something of `size` bytes (RFC 9110, 14.4). It may
    /// end before the whole does.
    public static func isPart(_ range: String, from start: UInt64, of size: UInt64) -> Bool {
        let words = range.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 2, words[0].lowercased() == "bytes" else { return false }
        let halves = words[1].split(separator: "/", omittingEmptySubsequences: false)
        guard halves.count == 2, halves[1] == "*" || number(halves[1]) == size else { return false }
        let ends = halves[0].split(separator: "-", omittingEmptySubsequences: false)
        guard ends.count == 2, let first = number(ends[0]), let last = number(ends[1]) else { return false }
        return first == start && last >= first && last < size
    }

    /// Digits alone: Swift's own reader takes signs too.
    public static func number(_ text: some StringProtocol) -> UInt64? {
        guard !text.isEmpty, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        return UInt64(text)
    }
}
