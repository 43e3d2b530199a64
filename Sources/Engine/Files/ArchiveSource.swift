public import Images
public import LinuxKernel

/// An archive as it comes: plain, or compressed, which its first bytes tell.
///
/// What is compressed goes through the host's own gzip, zstd, xz or bzip2, in a process that has no rights: nothing of
/// the formats is read here. A bomb is as large as whoever reads from here lets it become.
public final class ArchiveSource: ByteSource {
    /// A format, by the bytes that every file of it begins with.
    struct Format: Sendable {
        let magic: [UInt8]
        let program: String
        /// Debian's package of it.
        let package: String
        let options: [String]

        /// RFC 1952, RFC 8878, the .xz file format 1.2.1, and bzip2's, which has no other description than itself.
        static let all = [
            Format(magic: [0x1f, 0x8b], program: "gzip", package: "gzip", options: []),
            Format(
                magic: [0x28, 0xb5, 0x2f, 0xfd], program: "zstd", package: "zstd", options: ["-q", "--no-progress"]),
            Format(magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], program: "xz", package: "xz-utils", options: ["-T1"]),
            Format(magic: [0x42, 0x5a, 0x68], program: "bzip2", package: "bzip2", options: []),
        ]

        static func of(_ bytes: [UInt8]) -> Format? { all.first { bytes.starts(with: $0.magic) } }
    }

    private let stream: ByteStream
    private let format: Format?
    private var helper: HelperProcess?
    private var hasEnded = false

    /// Whether a file is of a format that has to be decompressed first.
    public static func isCompressed(_ file: borrowing Descriptor) throws(KernelError) -> Bool {
        Format.of(try file.peek(6)) != nil
    }

    /// - Parameter passed: told how many bytes were read; of a compressed one, decompressed ones.
    /// - Throws: the format is known, and the program for it is missing.
    public init(_ file: consuming Descriptor, passed: @escaping (UInt64) -> Void = { _ in }) throws(Problem) {
        let what = "cannot read the archive"
        let first = try explaining(what) { () throws(KernelError) in try file.peek(6) }
        format = Format.of(first)
        guard let format else {
            stream = ByteStream(file, passed: passed)
            return
        }
        guard let path = HostProgram.find(format.program) else {
            throw Problem(
                what, "it is compressed, and this machine has no \(format.program)",
                hint: "apt-get install \(format.package)")
        }
        let pipe = try explaining(what) { () throws(KernelError) in try Descriptor.pipe() }
        let reading = Descriptor(owning: pipe.read)
        let writing = Descriptor(owning: pipe.write)
        helper = try explaining(what) { () throws(KernelError) in
            try HelperProcess(
                filter: path, [format.program, "-dc"] + format.options, input: file.number, output: writing.number)
        }
        stream = ByteStream(reading, passed: passed)
    }

    public func read(into buffer: UnsafeMutableRawBufferPointer) throws(KernelError) -> Int {
        let count = try stream.read(into: buffer)
        if count == 0 { hasEnded = true }
        return count
    }

    /// Looks whether all that was read was whole. One that was left before its end is not asked.
    /// - Throws: the program that decompresses it found it damaged or cut off.
    public func finish() throws(Problem) {
        guard let format, let helper, hasEnded else { return }
        self.helper = nil
        let status = try explaining("cannot read the archive") { () throws(KernelError) in try helper.wait() }
        guard status == 0 else {
            throw Problem(
                "cannot read the archive", "\(format.program) cannot decompress it: it is cut off or damaged",
                hint: "\(format.program) -t FILE tells more; status \(status)")
        }
    }
}
