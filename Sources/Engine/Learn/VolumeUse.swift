internal import LinuxKernel

/// Which volumes a program used and how, and what it looked for elsewhere in vain.
///
/// What is looked at is the program's own view, at a moment before the kernel does the same for it: another thread of
/// the program may exchange what stands there in between. It can only deceive itself: a volume that it hides its use of
/// is not given to it the next time.
struct VolumeUse {
    enum Use { case none, read, written }

    private let targets: [String]
    private(set) var uses: [String: Use] = [:]
    private(set) var missing: [String] = []
    /// Bytes of the largest file that was opened to be written, as it was then.
    private(set) var largestOpened: UInt64 = 0
    /// A volume's target, or nil for a mount that is none, by the mount's number.
    private var mounts: [UInt64: String?] = [:]

    private static let mostMissing = 16
    /// What programs look for without needing it, or what no volume may give.
    private static let ordinary = [
        "/app", "/bin", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/root", "/run", "/sbin",
        "/sys",
        "/tmp", "/usr", "/var",
    ]

    init(_ targets: [String]) { self.targets = targets }

    func use(of target: String) -> Use { uses[target] ?? .none }

    /// Reads where the program's mounts are, once it runs.
    mutating func meet(_ pid: Int32) {
        guard let text = try? Descriptor.contents(of: "/proc/\(pid)/mountinfo", limit: 8 << 20) else { return }
        for record in MountRecord.parse(text) { mounts[record.id] = .some(volume(above: record.target)) }
    }

    /// The volume that a path is in, by its name: the innermost one.
    private func volume(above path: String) -> String? {
        targets.filter { VolumeUse.isBelow(path, $0) }.max { $0.utf8.count < $1.utf8.count }
    }

    private static func isBelow(_ path: String, _ folder: String) -> Bool {
        path == folder || (path.utf8.starts(with: folder.utf8) && path.utf8.dropFirst(folder.utf8.count).first == 0x2f)
    }

    mutating func note(_ call: ObservedCall, _ named: PathCall) {
        let text = named.text(call)
        if text == "" { return }
        let writes = named.writes(call)
        switch find(call, named, text) {
        case .mount(let id, let path):
            if let known = mounts[id] { note(known, writes) } else { note(path.flatMap(volume), writes) }
        case .missing(let path): look(for: path)
        // It may be within reach of the program, and not of codex32: by name then.
        case .unknown(let path): note(path.flatMap(volume), writes)
        }
    }

    private mutating func note(_ target: String?, _ writes: Bool) {
        guard let target else { return }
        if writes { uses[target] = .written } else if use(of: target) == .none { uses[target] = .read }
    }

    private enum Found {
        case mount(UInt64, path: String?)
        case missing(String)
        case unknown(String?)
    }

    /// On which mount a call's file is, or, of one that is not there yet, its folder.
    private mutating func find(_ call: ObservedCall, _ named: PathCall, _ text: String?) -> Found {
        let process = "/proc/\(call.pid)"
        let place: String
        if let folder = named.folder, call.data.arguments[folder] & 0xffff_ffff != 0xffff_ff9c {  // AT_FDCWD
            place = "\(process)/fd/\(UInt32(truncatingIfNeeded: call.data.arguments[folder]))"
        } else {
            place = "\(process)/cwd"
        }
        guard let text else {
            guard let id = try? Descriptor.open(place, [.pathOnly]).mountID() else { return .unknown(nil) }
            return .mount(id, path: nil)
        }
        var path = text
        if path.utf8.first != UInt8(ascii: "/") {
            guard let folder = try? Descriptor.link(place), folder.utf8.first == UInt8(ascii: "/") else {
                return .unknown(nil)
            }
            path = folder + "/" + text
        }
        guard let root = try? Descriptor.open("\(process)/root", [.pathOnly, .folder]) else { return .unknown(path) }
        do {
            let file = try root.open(inRoot: path, [.pathOnly])
            if named.writes(call), let status = try? file.status(), status.kind == .file, status.size > 0 {
                largestOpened = max(largestOpened, UInt64(status.size))
            }
            return .mount(try file.mountID(), path: path)
        } catch {
            guard error.number == Errno.missing || error.number == Errno.notFolder else { return .unknown(path) }
        }
        // Something that is to be made, or to be moved here, is on its folder's mount.
        let folder = VolumeUse.folder(of: path)
        if folder != "/" || named.writes(call), let id = try? root.open(inRoot: folder, [.pathOnly]).mountID() {
            return .mount(id, path: path)
        }
        return .missing(path)
    }

    private static func folder(of path: String) -> String {
        var bytes = Array(path.utf8)
        while bytes.count > 1, bytes.last == 0x2f { bytes.removeLast() }
        while let last = bytes.last, last != 0x2f { bytes.removeLast() }
        return bytes.isEmpty ? "/" : String(decoding: bytes, as: UTF8.self)
    }

    /// Keeps a path whose very folder is not there, or that is a folder of the root itself, in words that a terminal can show.
    private mutating func look(for path: String) {
        guard missing.count < VolumeUse.mostMissing, path.utf8.count < 256,
            !VolumeUse.ordinary.contains(where: { VolumeUse.isBelow(path, $0) }), !missing.contains(path)
        else { return }
        missing.append(path)
    }
}
