/// What could not be done, in words for codex32 to pass on.
struct Failure: Error {
    let why: String
    var hint: String?
    /// The same again may go well: a connection that broke, a server that is busy.
    var isPassing = false
    /// Seconds that the server asked for before the next try.
    var wait: Double?

    init(_ why: String, hint: String? = nil, isPassing: Bool = false, wait: Double? = nil) {
        (self.why, self.hint, self.isPassing, self.wait) = (why, hint, isPassing, wait)
    }
}
