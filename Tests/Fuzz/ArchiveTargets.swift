internal import Glibc
internal import LinuxKernel

@testable internal import Images
@testable internal import OCISpec

/// Bytes in memory, a few at a time.
private final class Memory: ByteSource, ByteSink {
    private(set) var bytes: [UInt8]
    private var at = 0
    private let step: Int

    init(_ bytes: [UInt8] = [], step: Int = .max) { (self.bytes, self.step) = (bytes, step) }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(KernelError) -> Int {
        let count = min(buffer.count, bytes.count - at, step)
        buffer.copyBytes(from: bytes[at..<(at + count)])
        at += count
        return count
    }

    func write(_ bytes: UnsafeRawBufferPointer) throws(KernelError) { self.bytes += bytes }
}

/// A folder of this process's own, empty each time, below the one that the caller of the fuzzer made and takes away.
private enum Scratch {
    static let path = "\(Machine.environment("CODEX32_FUZZ_FOLDER") ?? "/nonexistent")/\(Machine.pid)"

    static func make(_ name: String) -> Descriptor {
        let cleared: Descriptor?
        do throws(KernelError) {
            let own = try makeFolders(path)
            try own.removeTree(name)
            cleared = try makeFolders("\(path)/\(name)")
        } catch {
            StandardStream.error.print("fuzz: CODEX32_FUZZ_FOLDER must name a folder: \(error)\n")
            exit(2)
        }
        return cleared!
    }
}

/// Archives, plain and compressed: as they are, with the sums of their headers put right, which no mutation finds by
/// itself, and unpacked into a folder outside of which nothing may change.
func readTar(_ bytes: [UInt8]) {
    _ = try? TarPax(bytes)
    for form in [bytes, repaired(bytes)] {
        readHeaders(form)
        let count = members(form)
        if count > 0 { unpack(form) }
    }
    let inflating = InflatingSource(Memory(bytes, step: 100))
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    for _ in 0..<64 {
        let count = buffer.withUnsafeMutableBytes { buffer in (try? inflating.read(into: buffer)) ?? 0 }
        if count == 0 { break }
        expect(count <= 1 << 16, "more was inflated than there is room for")
    }
}

private func repaired(_ bytes: [UInt8]) -> [UInt8] {
    var bytes = bytes
    for start in stride(from: 0, to: bytes.count - 511, by: 512)
    where bytes[start + 257..<start + 262].elementsEqual("ustar".utf8) {
        for place in start + 148..<start + 156 { bytes[place] = 0x20 }
        var sum = bytes[start..<start + 512].reduce(0) { $0 + Int($1) }
        for place in (start + 148..<start + 154).reversed() {
            bytes[place] = 0x30 + UInt8(sum & 7)
            sum >>= 3
        }
        bytes[start + 154] = 0
    }
    return bytes
}

private func readHeaders(_ bytes: [UInt8]) {
    for start in stride(from: 0, to: bytes.count - 511, by: 512) {
        guard let header = try? TarHeader(Array(bytes[start..<start + 512])) else { continue }
        expect((try? TarHeader(header.encoded)) != nil, "a header does not come back")
    }
}

/// How many members there are, each read to its end.
private func members(_ bytes: [UInt8]) -> Int {
    let reader = TarReader(Memory(bytes, step: 700))
    var count = 0
    var buffer = [UInt8](repeating: 0, count: 5000)
    while let entry = try? reader.next(), count < 1000 {
        count += 1
        _ = try? TarEntry.parts(of: entry.path)
        expect(entry.stored <= entry.size, "a member has more in the archive than in the file")
        var read: UInt64 = 0
        while let some = buffer.withUnsafeMutableBytes({ try? reader.read(into: $0) }), some > 0 {
            read += UInt64(some)
        }
        expect(read <= entry.stored, "a member is longer than it says")
    }
    return count
}

private func unpack(_ bytes: [UInt8]) {
    let choice = bytes.last ?? 0
    var options = TarUnpacker.Options()
    options.owners = choice & 1 != 0 && Machine.isRoot
    options.setIDs = choice & 2 != 0
    options.attributes = choice & 4 != 0
    options.isFresh = choice & 8 != 0
    options.takesAbsolute = choice & 16 != 0
    options.mostBytes = 1 << 16
    options.mostMembers = 100
    let place = Scratch.make("tar")
    guard let inside = furnished(place, isFresh: options.isFresh), let before = outside(of: place) else {
        return expect(false, "the folder to unpack in cannot be made")
    }
    let unpacker = TarUnpacker(TarReader(Memory(bytes, step: 700)), into: inside, options: options) { _ in }
    if choice & 32 != 0, options.isFresh { unpacker.layer = LayerMarks([]) }
    try? unpacker.unpack()
    expect(outside(of: place) == before, "something changed outside of the folder that was unpacked into")
}

/// Two folders side by side. The inner one, where it is not new, has a link out and a link to the machine's root.
private func furnished(_ place: borrowing Descriptor, isFresh: Bool) -> Descriptor? {
    do throws(KernelError) {
        try place.makeFolder("outside")
        try place.open("outside/file", [.write, .create, .exclusive]).write("mine")
        try place.makeFolder("inside")
        let inside = try place.open("inside", [.read, .folder, .noFollow])
        guard !isFresh else { return inside }
        try inside.makeLink(FileName("a"), to: FileName("../outside"))
        try inside.makeLink(FileName("b"), to: FileName("../outside/file"))
        try inside.makeLink(FileName("c"), to: FileName("/"))
        return inside
    } catch { return nil }
}

/// All that can be seen of what must stay as it is.
private func outside(of place: borrowing Descriptor) -> [String]? {
    do throws(KernelError) {
        let folder = try place.open("outside", [.read, .folder, .noFollow])
        let marks = [try folder.node(), try folder.node(FileName("file"))].map { node in
            "\(node.kind) \(node.mode) \(node.uid) \(node.gid) \(node.size) \(node.modified) \(node.changed) \(node.links)"
        }
        let text = try folder.contents(of: "file", limit: 100)
        return try marks + [text] + folder.entries() + place.entries().sorted()
    } catch { return nil }
}

// MARK: Images

/// What `docker save` and an OCI layout say of themselves, around the same small image.
func loadImage(_ bytes: [UInt8], isIndex: Bool) {
    let image = SmallImage()
    var parts: [(String, [UInt8])] = [
        ("blobs/sha256/\(image.hex(image.config))", image.config),
        ("blobs/sha256/\(image.hex(image.layer))", image.layer),
        ("blobs/sha256/\(image.hex(image.manifest))", image.manifest),
    ]
    if isIndex {
        parts += [("oci-layout", Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8)), ("index.json", bytes)]
    } else {
        parts.append(("manifest.json", bytes))
    }
    let sink = Memory()
    let writer = TarWriter(sink)
    for (name, contents) in parts {
        let entry = TarEntry(
            path: FileName(name), kind: .file, mode: 0o644, uid: 0, gid: 0, size: UInt64(contents.count),
            modified: (0, 0))
        try? writer.begin(entry)
        contents.withUnsafeBytes { try? writer.write($0) }
    }
    try? writer.finish()
    _ = Scratch.make("images")
    let store = ImageStore(data: "\(Scratch.path)/images")
    var limits = ImageStore.Limits()
    (limits.bytes, limits.files) = (1 << 20, 100)
    let load = ImageLoad(store, name: nil, limits, progress: { _ in }, notice: { _ in })
    guard let loaded = try? load.archive(Memory(sink.bytes), "fuzz") else { return }
    for one in loaded {
        expect((try? store.image(one.digest)) != nil, "an image that was loaded is not there")
        for name in one.names { expect(store.meaning(of: name) != nil, "\(name) was loaded and has no meaning") }
    }
}

private struct SmallImage {
    let layer = [UInt8](repeating: 0, count: 1024)
    var config: [UInt8] {
        let platform = Platform.machine
        return Array(
            """
            {"os":"linux","architecture":"\(platform.architecture)",\
            "rootfs":{"type":"layers","diff_ids":["sha256:\(hex(layer))"]}}
            """.utf8)
    }
    var manifest: [UInt8] {
        Array(
            ImageManifest(
                config: descriptor(ImageManifest.configType, config),
                layers: [descriptor(ImageManifest.layerType, layer)]
            ).document.text().utf8)
    }

    private func descriptor(_ type: String, _ bytes: [UInt8]) -> BlobDescriptor {
        BlobDescriptor(mediaType: type, digest: Digest(hex: hex(bytes))!, size: UInt64(bytes.count))
    }

    func hex(_ bytes: [UInt8]) -> String {
        guard let sum = try? SHA256() else { return "" }
        sum.update(bytes)
        return sum.finish()
    }
}
