extension String {
    /// Whether a text stands somewhere in this one. The standard library's own `contains` for texts comes with its
    /// regular expressions, which are a sixth of a static program.
    public func holds(_ part: String) -> Bool {
        let (all, wanted) = (Array(utf8), Array(part.utf8))
        guard wanted.count <= all.count else { return false }
        return (0...(all.count - wanted.count)).contains { all[$0..<$0 + wanted.count].elementsEqual(wanted) }
    }
}
