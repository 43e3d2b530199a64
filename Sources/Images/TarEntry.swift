public import LinuxKernel

/// One member of a tar archive (pax(1), "ustar interchange format"), with what extended headers said of it.
public struct TarEntry: Sendable {
    public enum Kind: Sendable { case file, hardLink, link, folder, pipe, character, block }
    /// Data at a place of a file that has holes.
    public struct Extent: Equatable, Sendable {
        public let offset: UInt64
        public let count: UInt64
        public init(offset: UInt64, count: UInt64) {
            self.offset = offset
            self.count = count
        }
    }

    /// As the archive has it, without the "/" at the end of a folder's.
    public var path: FileName
    public var kind: Kind
    /// Permission bits with setuid, setgid and sticky.
    public var mode: UInt32
    public var uid: UInt32
    public var gid: UInt32
    /// Bytes of the file's contents, its holes too.
    public var size: UInt64
    /// Seconds since 1970, and nanoseconds.
    public var modified: (seconds: Int64, nanoseconds: UInt32)
    /// Where a link points; for a hard link the path of an earlier member.
    public var target = FileName("")
    public var deviceNumber: (major: UInt32, minor: UInt32) = (0, 0)
    /// Extended attributes (xattr(7)), in the order of their names.
    public var attributes: [(name: String, value: [UInt8])] = []
    /// Nil: the contents have no holes.
    public var extents: [Extent]?

    public init(
        path: FileName, kind: Kind, mode: UInt32, uid: UInt32, gid: UInt32, size: UInt64,
        modified: (seconds: Int64, nanoseconds: UInt32)
    ) {
        self.path = path
        self.kind = kind
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        self.modified = modified
    }

    /// The bytes that stand in the archive for its contents.
    public var stored: UInt64 { extents.map { $0.reduce(0) { $0 + $1.count } } ?? size }

    /// Where it goes below a folder: its path's parts, without those that mean nothing.
    ///
    /// - Throws: the path leads elsewhere, or is longer than the kernel takes.
    public static func parts(of path: FileName) throws(Problem) -> [FileName] {
        func what() -> String { "cannot unpack \(path)" }
        guard path.bytes.first != 0x2f else {
            throw Problem(
                what(), "its path begins with /", hint: "make the archive with relative paths: tar -C FOLDER -c .")
        }
        guard path.bytes.count < 4096 else { throw Problem(what(), "its path is longer than 4095 bytes") }
        var parts: [FileName] = []
        let bytes = path.bytes
        var start = 0
        while start < bytes.count {
            var end = start
            while end < bytes.count, bytes[end] != 0x2f { end += 1 }
            let (from, count) = (start, end - start)
            start = end + 1
            if count == 0 || count == 1 && bytes[from] == 0x2e { continue }
            guard count != 2 || bytes[from] != 0x2e || bytes[from + 1] != 0x2e else {
                throw Problem(
                    what(), "its path has .. in it", hint: "such an archive wants to write outside of its folder")
            }
            guard count <= 255, let name = FileName(Array(bytes[from..<end])) else {
                throw Problem(what(), "a name in it is too long")
            }
            parts.append(name)
        }
        return parts
    }
}

/// Where an archive's bytes come from.
public protocol ByteSource: AnyObject {
    /// Fills a part of the buffer and says how much; 0: the end.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws(KernelError) -> Int
}

/// Where an archive's bytes go.
public protocol ByteSink: AnyObject {
    func write(_ bytes: UnsafeRawBufferPointer) throws(KernelError)
}

/// A file, pipe or socket to read an archive from, or to write one to.
public final class ByteStream: ByteSource, ByteSink {
    private var descriptor: Descriptor?
    /// Told how many bytes have passed so far.
    private let passed: (UInt64) -> Void
    private var count: UInt64 = 0

    public init(_ descriptor: consuming Descriptor, passed: @escaping (UInt64) -> Void = { _ in }) {
        self.descriptor = consume descriptor
        self.passed = passed
    }

    public func read(into buffer: UnsafeMutableRawBufferPointer) throws(KernelError) -> Int {
        let read: Int
        switch descriptor {
        case .some(let descriptor): read = try descriptor.read(into: buffer)
        case .none: return 0
        }
        count += UInt64(read)
        passed(count)
        return read
    }

    public func write(_ bytes: UnsafeRawBufferPointer) throws(KernelError) {
        var done = 0
        while done < bytes.count {
            switch descriptor {
            case .some(let descriptor):
                done += try descriptor.write(some: UnsafeRawBufferPointer(rebasing: bytes[done...]))
            case .none: throw KernelError("write", number: Errno.canceled)
            }
        }
        count += UInt64(bytes.count)
        passed(count)
    }

    public func sync() throws(KernelError) {
        switch descriptor {
        case .some(let descriptor): try descriptor.sync()
        case .none: break
        }
    }

    /// Closes it: the other end of a pipe learns that nothing more comes, or is read.
    public func discard() { descriptor = nil }
}

/// The bytes of an array for a call that throws one kind of error, which the library's own functions do not carry.
func withBytes<Result, Failure: Error>(
    of array: inout [UInt8], _ body: (UnsafeMutableRawBufferPointer) throws(Failure) -> Result
) throws(Failure) -> Result {
    var outcome: Swift.Result<Result, Failure>?
    array.withUnsafeMutableBytes { bytes in
        do throws(Failure) { outcome = .success(try body(bytes)) } catch { outcome = .failure(error) }
    }
    return try outcome!.get()
}
