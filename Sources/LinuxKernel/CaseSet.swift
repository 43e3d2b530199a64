/// A set of an enumeration's cases, a bit for each: at most 64, by their raw values.
///
/// Not Set: of every type of its own that one has, Swift's runtime makes a class when the program begins to use
/// it, and hashes what is a bit here. With the few sets that a plan has, that was a twentieth of a start.
@frozen
public struct CaseSet<Case: CaseIterable & RawRepresentable<UInt8> & Hashable & Sendable>: SetAlgebra, Sequence,
    Hashable, Sendable
{
    @usableFromInline var bits: UInt64

    @inlinable public init() { bits = 0 }
    @inlinable init(bits: UInt64) { self.bits = bits }

    /// Every case.
    @inlinable public static var all: CaseSet {
        var all = CaseSet()
        for one in Case.allCases { all.insert(one) }
        return all
    }

    @inlinable static func bit(_ one: Case) -> UInt64 { 1 &<< UInt64(one.rawValue) }

    @inlinable public var isEmpty: Bool { bits == 0 }
    @inlinable public var count: Int { bits.nonzeroBitCount }
    @inlinable public func contains(_ one: Case) -> Bool { bits & Self.bit(one) != 0 }

    @inlinable @discardableResult
    public mutating func insert(_ one: Case) -> (inserted: Bool, memberAfterInsert: Case) {
        let isNew = !contains(one)
        bits |= Self.bit(one)
        return (isNew, one)
    }

    @inlinable @discardableResult
    public mutating func update(with one: Case) -> Case? { insert(one).inserted ? nil : one }

    @inlinable @discardableResult
    public mutating func remove(_ one: Case) -> Case? {
        guard contains(one) else { return nil }
        bits &= ~Self.bit(one)
        return one
    }

    /// The one with the least raw value.
    @inlinable public var first: Case? { Iterator(bits: bits).following }

    /// With one more.
    @inlinable public func with(_ one: Case) -> CaseSet { CaseSet(bits: bits | Self.bit(one)) }

    @inlinable public func union(_ other: CaseSet) -> CaseSet { CaseSet(bits: bits | other.bits) }
    @inlinable public func intersection(_ other: CaseSet) -> CaseSet { CaseSet(bits: bits & other.bits) }
    @inlinable public func symmetricDifference(_ other: CaseSet) -> CaseSet { CaseSet(bits: bits ^ other.bits) }
    @inlinable public mutating func formUnion(_ other: CaseSet) { bits |= other.bits }
    @inlinable public mutating func formIntersection(_ other: CaseSet) { bits &= other.bits }
    @inlinable public mutating func formSymmetricDifference(_ other: CaseSet) { bits ^= other.bits }

    /// In the order of the raw values.
    @frozen
    public struct Iterator: IteratorProtocol {
        @usableFromInline var bits: UInt64

        @inlinable init(bits: UInt64) { self.bits = bits }

        @inlinable var following: Case? {
            var copy = self
            return copy.next()
        }

        @inlinable public mutating func next() -> Case? {
            while bits != 0 {
                let number = UInt8(truncatingIfNeeded: bits.trailingZeroBitCount)
                bits &= bits - 1
                if let one = Case(rawValue: number) { return one }
            }
            return nil
        }
    }

    @inlinable public func makeIterator() -> Iterator { Iterator(bits: bits) }
}
