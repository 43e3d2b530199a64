/// The 32-bit words that have `value` in the bits of `mask`.
struct MaskedPattern {
    let mask: UInt32
    let value: UInt32

    /// What all words that none of the patterns fits have in the bits of `mask`, in its order; nil: that is more than so
    /// many values, or hard to find. The other bits count in no pattern.
    static func values(outside patterns: [MaskedPattern], atMost most: Int) -> (mask: UInt32, values: [UInt32])? {
        // A pattern with bits outside its mask fits no word.
        let patterns = patterns.filter { $0.value & ~$0.mask == 0 }
        let mask = patterns.reduce(0) { $0 | $1.mask }
        var search = Search(most: most)
        return search.add(patterns, known: ~mask, bits: 0) ? (mask, search.found.sorted()) : nil
    }

    private struct Search {
        let most: Int
        var found: [UInt32] = []
        /// Patterns can be such that to find what is outside them takes for ever.
        var stepsLeft = 4096

        /// Adds the words that have `bits` where `known` has ones.
        mutating func add(_ patterns: [MaskedPattern], known: UInt32, bits: UInt32) -> Bool {
            stepsLeft -= 1
            guard stepsLeft > 0 else { return false }
            let possible = patterns.filter { ($0.value ^ bits) & $0.mask & known == 0 }
            guard let first = possible.first else { return addAll(open: ~known, bits) }
            let open = first.mask & ~known
            guard open != 0 else { return true }
            let bit = open & (~open &+ 1)
            return add(possible, known: known | bit, bits: bits) && add(possible, known: known | bit, bits: bits | bit)
        }

        /// Adds a word for each way to fill the open bits.
        private mutating func addAll(open: UInt32, _ bits: UInt32) -> Bool {
            guard open.nonzeroBitCount < 8, found.count + 1 << open.nonzeroBitCount <= most else { return false }
            var filled: UInt32 = 0
            repeat {
                found.append(bits | filled)
                filled = (filled &- open) & open
            } while filled != 0
            return true
        }
    }
}
