/// Looks for the keys that end an attachment, in what is typed.
struct DetachWatch {
    /// The bytes, in their order; empty: none end it.
    let keys: [UInt8]
    private var matched = 0

    init(_ keys: [UInt8]) { self.keys = keys }

    /// What is to be passed on of these bytes: keys that may be the first ones are kept back until the next one says.
    /// Nil: that was the last key.
    mutating func pass(_ bytes: [UInt8]) -> [UInt8]? {
        guard !keys.isEmpty else { return bytes }
        var typed: [UInt8] = []
        for byte in bytes {
            guard byte == keys[matched] else {
                typed += keys[..<matched]
                matched = byte == keys[0] ? 1 : 0
                if matched == 0 { typed.append(byte) }
                continue
            }
            matched += 1
            if matched == keys.count { return nil }
        }
        return typed
    }
}
