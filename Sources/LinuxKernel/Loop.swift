internal import CShims
internal import Glibc

/// A file system in a file: the file behind a loop device (loop(4)), and that mounted where only a descriptor leads.
///
/// Nothing has to be taken down: the kernel takes the loop device away when the last mount and descriptor of it are gone
/// (LO_FLAGS_AUTOCLEAR), and those end with the processes that have them.
extension Descriptor {
    /// Mounts the file system in a file of this folder (fsopen(2), fsmount(2)).
    ///
    /// A file that is behind a loop device already is mounted from that one: the kernel then has one file system for
    /// both, where two that know nothing of each other would ruin what is in the file. Whoever mounts locks the folder
    /// (flock(2)), so that of two who come at once the second finds what the first has attached.
    public borrowing func mountFile(
        _ name: String, type: String, options: [String], attributes: MountAttributes
    ) throws(KernelError) -> Descriptor {
        let lock = try open(".", [.read, .folder])
        _ = try lock.lock(wait: true)
        let file = try open(name, [.readWrite, .noFollow, .nonblocking])
        let status = try file.status()
        guard status.kind == .file else { throw KernelError("open", name, number: EINVAL) }
        let device = try LoopDevice.of(file, status)
        let mount = try device.mount(type, options, attributes)
        // Its path could have led elsewhere: what is mounted must be in this very device.
        guard try mount.status().device == device.descriptor.status().deviceNumber else {
            throw KernelError("fsmount", device.path, number: ESTALE)
        }
        return mount
    }
}

/// A loop device that is held open, so that it stays what it is.
private struct LoopDevice: ~Copyable {
    let descriptor: Descriptor
    let number: Int32

    var path: String { "/dev/loop\(number)" }

    /// What a file's device is called: the kernel keeps 63 bytes for us, and a path would not fit, nor be the file.
    private static func name(_ file: FileStatus) -> String { "codex32 \(file.device):\(file.inode)" }

    static func of(_ file: borrowing Descriptor, _ status: FileStatus) throws(KernelError) -> LoopDevice {
        if let device = try find(status) { return device }
        return try attach(file, status)
    }

    /// The device that a file is behind already.
    private static func find(_ file: FileStatus) throws(KernelError) -> LoopDevice? {
        let wanted = name(file)
        // Not to see them is not to know: then nothing may be attached.
        for entry in try Descriptor.open("/sys/block", [.read, .folder]).entries() where entry.hasPrefix("loop") {
            guard let number = Int32(entry.dropFirst(4)), !Descriptor.isMissing("/sys/block/\(entry)/loop/backing_file")
            else { continue }
            let opened = codex_loop_open(number, 0)
            // Gone since it was listed.
            if opened == -ENOENT || opened == -ENXIO { continue }
            let device = Descriptor(owning: try KernelError.check(opened, "open", "/dev/\(entry)"))
            var bytes = [CChar](repeating: 0, count: Int(CODEX_LOOP_NAME))
            let result = codex_loop_name(device.number, &bytes)
            if result == -ENXIO { continue }
            try KernelError.check(result, "ioctl LOOP_GET_STATUS64", "/dev/\(entry)")
            let name = String(decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            // Open, it is not taken away any more: what it is called now, it stays.
            if name == wanted { return LoopDevice(descriptor: device, number: number) }
        }
        return nil
    }

    private static func attach(_ file: borrowing Descriptor, _ status: FileStatus) throws(KernelError) -> LoopDevice {
        var number: Int32 = -1
        let device = Descriptor(
            owning: try KernelError.check(
                codex_loop_attach(file.number, name(status), &number), "ioctl LOOP_CONFIGURE", "/dev/loop-control"))
        return LoopDevice(descriptor: device, number: number)
    }

    borrowing func mount(
        _ type: String, _ options: [String], _ attributes: MountAttributes
    ) throws(KernelError) -> Descriptor {
        let result = withCStrings(options) { list in
            list.withMemoryRebound(to: UnsafePointer<CChar>?.self, capacity: options.count + 1) {
                codex_mount_device(type, number, $0, attributes.rawValue)
            }
        }
        return Descriptor(owning: try KernelError.check(result, "mount", path))
    }
}
