public import LinuxKernel

/// Writes a tar archive: ustar, with pax headers for what does not fit (long names, great sizes, nanoseconds,
/// attributes) and GNU's sparse files 1.0. The same members give the same bytes.
public final class TarWriter {
    private let sink: any ByteSink
    private var left: UInt64 = 0
    private var padding = 0

    public init(_ sink: any ByteSink) { self.sink = sink }

    /// Begins a member. Its contents, without the holes, follow by ``write(_:)``, all of them.
    public func begin(_ entry: TarEntry) throws(KernelError) {
        precondition(left == 0, "the last member's contents were not written")
        var header = TarHeader()
        header.path = entry.path.bytes + (entry.kind == .folder ? [0x2f] : [])
        header.mode = entry.mode & 0o7777
        (header.uid, header.gid) = (UInt64(entry.uid), UInt64(entry.gid))
        header.modified = entry.modified.seconds
        header.type = TarWriter.type(entry.kind)
        header.target = entry.target.bytes
        header.deviceNumber = entry.deviceNumber
        var pax = TarPax()
        var map: [UInt8] = []
        if let extents = entry.extents {
            map = TarWriter.map(extents)
            pax.set("GNU.sparse.major", "1")
            pax.set("GNU.sparse.minor", "0")
            pax.set("GNU.sparse.name", entry.path.bytes)
            pax.set("GNU.sparse.realsize", String(entry.size))
            // What a reader without this extension unpacks must not look like the file itself.
            let name = entry.path.bytes.split(separator: 0x2f).last ?? []
            header.path = Array("GNUSparseFile.0/".utf8) + name
        }
        header.size = entry.kind == .file ? UInt64(map.count) + entry.stored : 0
        if header.path.count > 100, entry.extents == nil { pax.set("path", header.path) }
        if header.target.count > 100 { pax.set("linkpath", header.target) }
        if header.size > TarHeader.greatestSize { pax.set("size", String(header.size)) }
        if header.uid > TarHeader.greatestID { pax.set("uid", String(header.uid)) }
        if header.gid > TarHeader.greatestID { pax.set("gid", String(header.gid)) }
        if entry.modified.nanoseconds != 0 || entry.modified.seconds < 0
            || entry.modified.seconds > Int64(TarHeader.greatestSize)
        {
            pax.set("mtime", TarPax.text(entry.modified))
        }
        for (name, value) in entry.attributes.sorted(by: { $0.name < $1.name }) {
            pax.set("SCHILY.xattr.\(name)", value)
        }
        if !pax.records.isEmpty { try write(extended: pax.encoded, of: entry.path) }
        try put(header.encoded)
        if !map.isEmpty { try put(map) }
        left = entry.kind == .file ? entry.stored : 0
        padding = Int((512 - left % 512) % 512)
    }

    public func write(_ bytes: UnsafeRawBufferPointer) throws(KernelError) {
        precondition(UInt64(bytes.count) <= left, "more than the header said")
        try sink.write(bytes)
        left -= UInt64(bytes.count)
        if left == 0, padding > 0 {
            try put([UInt8](repeating: 0, count: padding))
            padding = 0
        }
    }

    /// The end mark: two blocks of zeros.
    public func finish() throws(KernelError) { try put([UInt8](repeating: 0, count: 1024)) }

    private func write(extended bytes: [UInt8], of path: FileName) throws(KernelError) {
        var header = TarHeader()
        let name = path.bytes.split(separator: 0x2f).last ?? []
        header.path = Array("PaxHeaders/".utf8) + name.prefix(80)
        header.mode = 0o644
        header.type = 0x78
        header.size = UInt64(bytes.count)
        try put(header.encoded)
        try put(bytes + [UInt8](repeating: 0, count: (512 - bytes.count % 512) % 512))
    }

    private func put(_ bytes: [UInt8]) throws(KernelError) {
        var bytes = bytes
        try withBytes(of: &bytes) { bytes throws(KernelError) in try sink.write(UnsafeRawBufferPointer(bytes)) }
    }

    private static func map(_ extents: [TarEntry.Extent]) -> [UInt8] {
        var text = "\(extents.count)\n"
        for extent in extents { text += "\(extent.offset)\n\(extent.count)\n" }
        let bytes = Array(text.utf8)
        return bytes + [UInt8](repeating: 0, count: (512 - bytes.count % 512) % 512)
    }

    private static func type(_ kind: TarEntry.Kind) -> UInt8 {
        switch kind {
        case .file: 0x30
        case .hardLink: 0x31
        case .link: 0x32
        case .character: 0x33
        case .block: 0x34
        case .folder: 0x35
        case .pipe: 0x36
        }
    }
}
