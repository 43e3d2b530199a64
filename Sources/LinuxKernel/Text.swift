extension UInt64 {
    /// In digits of base 16, lower case.
    public var hexadecimal: String { digits(bits: 4) }
    /// In digits of base 8.
    public var octal: String { digits(bits: 3) }

    /// The standard library's conversion is made for every kind of number, and costs a start as much as several
    /// system calls.
    private func digits(bits: UInt64) -> String {
        var digits: [UInt8] = []
        var rest = self
        repeat {
            let digit = UInt8(rest & (1 << bits - 1))
            digits.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
            rest >>= bits
        } while rest > 0
        digits.reverse()
        return String(decoding: digits, as: UTF8.self)
    }
}

extension String {
    /// Whether a text stands somewhere in this one. The standard library's own `contains` for texts comes with its
    /// regular expressions, which are a sixth of a static program.
    public func holds(_ part: String) -> Bool {
        let (all, wanted) = (Array(utf8), Array(part.utf8))
        guard wanted.count <= all.count else { return false }
        return (0...(all.count - wanted.count)).contains { all[$0..<$0 + wanted.count].elementsEqual(wanted) }
    }
}
