internal import LinuxKernel

/// A layer's archive as it comes out of its blob, and the sum of it: inflated and summed up beside the unpacking, on a
/// processor of its own.
final class InflatedLayer: ByteSource {
    private let inflating: InflatingSource
    private let summing: SummingSource
    private let ahead: ReadingAhead
    private let what: String

    init(_ blob: ByteStream, _ what: String) throws(Problem) {
        let inflating = InflatingSource(blob)
        let summing = try explaining(what) { () throws(KernelError) in try SummingSource(inflating) }
        ahead = ReadingAhead { buffer throws(KernelError) in try summing.read(into: buffer) }
        (self.inflating, self.summing, self.what) = (inflating, summing, what)
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(KernelError) -> Int {
        try ahead.read(into: buffer)
    }

    /// Why the blob could not be inflated. Nothing more is read then.
    var failure: String? {
        ahead.stop()
        return inflating.failure
    }

    /// Reads what is left behind the archive's end, and compares the sum of all of it.
    ///
    /// - Throws: it is another one, or there is more left than `most` bytes.
    func check(against expected: Digest, within most: UInt64) throws(Problem) {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 16)
        defer { buffer.deallocate() }
        var left: UInt64 = 0
        do throws(KernelError) {
            while left <= most {
                let count = try ahead.read(into: buffer)
                if count == 0 { break }
                left += UInt64(count)
            }
        } catch { throw Problem(what, failure ?? error.description) }
        guard left <= most else {
            throw Problem(
                what, "it goes on behind its end for more than \(most) bytes",
                hint: "it was put together wrongly, or means harm")
        }
        ahead.stop()
        let sum = summing.sum
        guard sum == expected else {
            throw Problem(
                what, "unpacked its sum is \(sum), and the image's config has \(expected)",
                hint: "the image was put together wrongly, or changed: fetch it again")
        }
    }
}
