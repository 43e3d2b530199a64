public import LinuxKernel

/// Reads a tar archive, member by member, with bounded memory: ustar, pax, GNU's long names and sparse files 1.0.
///
/// Whatever stands in an archive is somebody else's: every number, length and name is checked, and what is not
/// understood is an error. Where its members go is ``TarUnpacker``'s business.
public final class TarReader {
    private let source: any ByteSource
    /// Bytes of the member's contents that were not read yet, and of the padding behind them.
    private var left: UInt64 = 0
    private var padding: UInt64 = 0
    private var defaults = TarPax()
    private var isOver = false
    private var block = [UInt8](repeating: 0, count: TarHeader.size)
    /// Read ahead from the source: small files would cost three calls each otherwise. Not more than a cache holds.
    private let ahead = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 4096)
    private var (from, to) = (0, 0)

    static let longestName: UInt64 = 65536
    static let mostExtents: UInt64 = 65536

    public init(_ source: any ByteSource) { self.source = source }
    deinit { ahead.deallocate() }

    /// The next member; nil: the archive ends. What is left of the last one's contents is passed over.
    public func next() throws(Problem) -> TarEntry? {
        do throws(TarError) { return try read() } catch {
            throw Problem("cannot read the archive", error.why, hint: TarReader.hint(block))
        }
    }

    /// Reads some of the member's contents as they are stored, without the holes of ``TarEntry/extents``; 0: the end.
    public func read(into buffer: UnsafeMutableRawBufferPointer) throws(Problem) -> Int {
        do throws(TarError) { return try contents(into: buffer) } catch {
            throw Problem("cannot read the archive", error.why)
        }
    }

    // MARK: Members

    private func read() throws(TarError) -> TarEntry? {
        if isOver { return nil }
        var extended: TarPax?
        var longPath: [UInt8]?
        var longTarget: [UInt8]?
        while true {
            try skip()
            guard try fill(&block, mayEnd: extended == nil && longPath == nil && longTarget == nil) else {
                // Without the blocks of zeros at its end it was cut off, if only between two members.
                throw TarError("it ends before its end mark")
            }
            guard let header = try TarHeader(block) else {
                try drain()
                return nil
            }
            switch header.type {
            case 0x78:  // x
                guard extended == nil else { throw TarError("two extended headers follow each other") }
                extended = try TarPax(try whole(header.size, limit: TarPax.limit, "an extended header"))
            case 0x67:  // g
                for record in try TarPax(try whole(header.size, limit: TarPax.limit, "a global header")).records {
                    // What holds for all of them may not say where one of them goes, or how long it is.
                    guard record.key == "comment" || record.key == "mtime" || record.key == "uid" || record.key == "gid"
                    else { continue }
                    defaults.set(record.key, record.value)
                }
            case 0x4c: longPath = try name(header.size)  // L
            case 0x4b: longTarget = try name(header.size)  // K
            default: return try entry(header, extended ?? TarPax(), longPath, longTarget)
            }
        }
    }

    private func entry(
        _ header: TarHeader, _ pax: TarPax, _ longPath: [UInt8]?, _ longTarget: [UInt8]?
    ) throws(TarError) -> TarEntry {
        let sparse = pax.records.contains { $0.key.hasPrefix("GNU.sparse.") }
        var path = (sparse ? pax["GNU.sparse.name"] : nil) ?? pax["path"] ?? longPath ?? header.path
        var kind = try TarReader.kind(header.type)
        // Before ustar a folder was known by its name alone.
        if kind == .file, path.last == 0x2f { kind = .folder }
        while path.last == 0x2f, path.count > 1 { path.removeLast() }
        guard !path.isEmpty, let name = FileName(path) else { throw TarError("a member has no name, or NUL in it") }
        guard let target = FileName(pax["linkpath"] ?? longTarget ?? header.target) else {
            throw TarError("\(name) has a target with NUL in it")
        }
        let (uid, gid) = (
            try number("uid", pax, header.uid), try number("gid", pax, header.gid)
        )
        // The last number means "no id" to the kernel (CVE-2024-40635).
        guard uid < UInt32.max, gid < UInt32.max else { throw TarError("\(name) has an owner that no machine has") }
        var size = header.size
        if let longer = try pax.number("size") { size = longer }
        let holds = kind == .file
        guard holds || size == 0 || kind == .hardLink || kind == .folder else {
            throw TarError("\(name) has contents, which its kind cannot have")
        }
        if kind == .link || kind == .hardLink, target.isEmpty { throw TarError("the link \(name) has no target") }
        var entry = TarEntry(
            path: name, kind: kind, mode: header.mode, uid: UInt32(uid), gid: UInt32(gid), size: holds ? size : 0,
            modified: (header.modified, 0))
        if let time = try defaults.time("mtime") { entry.modified = time }
        if let time = try pax.time("mtime") { entry.modified = time }
        entry.target = target
        entry.deviceNumber = header.deviceNumber
        for record in pax.records where record.key.hasPrefix("SCHILY.xattr.") {
            entry.attributes.append((String(record.key.dropFirst(13)), record.value))
        }
        begin(kind == .hardLink || kind == .folder ? (holds ? size : 0) : size)
        if sparse {
            guard kind == .file else { throw TarError("\(name) has holes, which its kind cannot have") }
            try readMap(&entry, pax)
        }
        return entry
    }

    private func number(_ key: String, _ pax: TarPax, _ usual: UInt64) throws(TarError) -> UInt64 {
        if let own = try pax.number(key) { return own }
        if let common = try defaults.number(key) { return common }
        return usual
    }

    private static func kind(_ type: UInt8) throws(TarError) -> TarEntry.Kind {
        switch type {
        case 0, 0x30, 0x37: return .file
        case 0x31: return .hardLink
        case 0x32: return .link
        case 0x33: return .character
        case 0x34: return .block
        case 0x35: return .folder
        case 0x36: return .pipe
        case 0x53: throw TarError("it has files with holes in GNU's old form: make it with tar --format=pax")
        default: throw TarError("it has a member of a kind that is not known (\(type))")
        }
    }

    /// GNU's sparse format 1.0: the map stands in front of the contents, as numbers in lines, up to a whole block.
    private func readMap(_ entry: inout TarEntry, _ pax: TarPax) throws(TarError) {
        guard try pax.number("GNU.sparse.major") == 1, try pax.number("GNU.sparse.minor") == 0,
            let size = try pax.number("GNU.sparse.realsize"), pax["GNU.sparse.name"] != nil
        else { throw TarError("\(entry.path) has holes in a form that is not known: make it with tar --format=pax") }
        var bytes: [UInt8] = []
        var at = 0
        let number = { () throws(TarError) -> UInt64 in
            var value: UInt64 = 0
            var digits = 0
            while true {
                if at == bytes.count {
                    guard self.left >= UInt64(TarHeader.size) else { throw TarError("a map of holes is cut off") }
                    var next = [UInt8](repeating: 0, count: TarHeader.size)
                    guard try self.fill(&next, mayEnd: false) else { throw TarError("a map of holes is cut off") }
                    self.left -= UInt64(TarHeader.size)
                    (bytes, at) = (next, 0)
                }
                let byte = bytes[at]
                at += 1
                if byte == 0x0a, digits > 0 { return value }
                guard (0x30...0x39).contains(byte), digits < 18 else { throw TarError("a map of holes is no map") }
                value = value * 10 + UInt64(byte - 0x30)
                digits += 1
            }
        }
        let count = try number()
        guard count <= TarReader.mostExtents else { throw TarError("\(entry.path) has too many holes") }
        var extents: [TarEntry.Extent] = []
        var end: UInt64 = 0
        for _ in 0..<count {
            let extent = TarEntry.Extent(offset: try number(), count: try number())
            guard extent.offset >= end, extent.offset <= size, extent.count <= size - extent.offset else {
                throw TarError("a map of holes is no map")
            }
            end = extent.offset + extent.count
            extents.append(extent)
        }
        entry.size = size
        entry.extents = extents
        guard entry.stored == left else { throw TarError("a map of holes does not fit its file") }
    }

    // MARK: Bytes

    private func begin(_ size: UInt64) {
        left = size
        padding = (512 - size % 512) % 512
    }

    private func contents(into buffer: UnsafeMutableRawBufferPointer) throws(TarError) -> Int {
        guard left > 0, buffer.count > 0 else { return 0 }
        let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<min(buffer.count, Int(clamping: left))])
        let count = try some(part)
        guard count > 0 else { throw TarError("it ends inside of a member") }
        left -= UInt64(count)
        return count
    }

    /// Passes over what is left of a member.
    private func skip() throws(TarError) {
        var rest = left + padding
        (left, padding) = (0, 0)
        while rest > 0 {
            if from == to { try refill() }
            let count = Int(min(rest, UInt64(to - from)))
            guard count > 0 else { throw TarError("it ends inside of a member") }
            from += count
            rest -= UInt64(count)
        }
    }

    /// Reads what the writer pads its last record with, so that it does not meet a closed pipe.
    private func drain() throws(TarError) {
        isOver = true
        // Some pad to tapes' sizes, a mebibyte at the most; whatever follows is no part of the archive.
        for _ in 0..<64 {
            try refill()
            if from == to { return }
        }
    }

    private func whole(_ size: UInt64, limit: UInt64, _ what: String) throws(TarError) -> [UInt8] {
        guard size <= limit else { throw TarError("\(what) is larger than \(limit) bytes") }
        begin(size)
        var bytes = [UInt8](repeating: 0, count: Int(size))
        guard try fill(&bytes, mayEnd: false) || size == 0 else { throw TarError("it ends inside of \(what)") }
        left = 0
        return bytes
    }

    private func name(_ size: UInt64) throws(TarError) -> [UInt8] {
        Array(try whole(size, limit: TarReader.longestName, "a long name").prefix { $0 != 0 })
    }

    /// Fills all of it. False: the source had ended before the first byte.
    private func fill(_ bytes: inout [UInt8], mayEnd: Bool) throws(TarError) -> Bool {
        let wanted = bytes.count
        let done = try withBytes(of: &bytes) { buffer throws(TarError) -> Int in
            var done = 0
            while done < wanted {
                let count = try some(UnsafeMutableRawBufferPointer(rebasing: buffer[done...]))
                if count == 0 { break }
                done += count
            }
            return done
        }
        if done == wanted { return true }
        guard done == 0 && mayEnd else { throw TarError(done == 0 ? "it ends too early" : "it is cut off") }
        return false
    }

    private func some(_ buffer: UnsafeMutableRawBufferPointer) throws(TarError) -> Int {
        // What is as large as the buffer would only be copied twice.
        if from == to, buffer.count >= ahead.count { return try take(buffer) }
        if from == to { try refill() }
        let count = min(buffer.count, to - from)
        buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: ahead[from..<(from + count)]))
        from += count
        return count
    }

    private func refill() throws(TarError) {
        (from, to) = (0, 0)
        to = try take(ahead)
    }

    private func take(_ buffer: UnsafeMutableRawBufferPointer) throws(TarError) -> Int {
        do throws(KernelError) { return try source.read(into: buffer) } catch { throw TarError(error.description) }
    }

    /// Compressed archives are told by their first bytes.
    static func hint(_ block: [UInt8]) -> String? {
        let known: [(bytes: [UInt8], program: String)] = [
            ([0x1f, 0x8b], "gzip"), ([0x28, 0xb5, 0x2f, 0xfd], "zstd"), ([0xfd, 0x37, 0x7a, 0x58], "xz"),
            ([0x42, 0x5a, 0x68], "bzip2"),
        ]
        guard let found = known.first(where: { block.starts(with: $0.bytes) }) else { return nil }
        return "it is compressed: \(found.program) -dc FILE | codex32 import - FOLDER"
    }
}
