internal import LinuxKernel
internal import Sandbox

/// The forms in which mounts are asked for: `-v`, `--mount`, `--tmpfs`, `--device`.
enum MountValue {
    /// `src:dst[:ro,rw,noexec,idmap,noidmap]`.
    static func volume(_ text: String) throws(Problem) -> Volume {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2 || parts.count == 3, !parts[0].isEmpty else {
            throw Problem(
                "cannot use the volume \(text)", "it must be SOURCE:TARGET[:OPTIONS], or /TARGET",
                hint: "-v ./data:/data:ro")
        }
        var volume = Volume(source: try source(parts[0]), target: try target(parts[1], option: "-v"))
        if parts.count == 3 {
            for option in parts[2].split(separator: ",") { try apply(String(option), to: &volume, text) }
        }
        return volume
    }

    /// One of a learned profile's.
    static func volume(_ path: String, _ mount: LearnedProfile.Mount) throws(Problem) -> Volume {
        var volume = Volume(source: try source(path), target: try target(mount.target, option: "--profile"))
        (volume.readOnly, volume.noExecute) = (mount.readOnly, mount.noExecute)
        volume.mapOwners = mount.mapOwners
        return volume
    }

    /// `--workspace DIR[:DST]`: looked at before anything is made.
    static func workspace(_ text: String) throws(Problem) -> (path: String, target: String) {
        var (path, inside) = (text, "/workspace")
        if let colon = text.lastIndex(of: ":"), text[text.index(after: colon)...].hasPrefix("/") {
            (path, inside) = (String(text[..<colon]), String(text[text.index(after: colon)...]))
        }
        let status = try explaining("cannot use the workspace \(path)") { () throws(KernelError) in
            try Descriptor.status(ofPath: path)
        }
        guard status.kind == .folder else {
            throw Problem("cannot use the workspace \(path)", "it is no folder", hint: "--workspace DIR[:/DST]")
        }
        return (path, try target(inside, option: "--workspace"))
    }

    private static func apply(_ option: String, to volume: inout Volume, _ text: String) throws(Problem) {
        switch option {
        case "ro", "readonly": volume.readOnly = true
        case "rw": volume.readOnly = false
        case "noexec": volume.noExecute = true
        case "exec": volume.noExecute = false
        case "idmap": volume.mapOwners = true
        case "noidmap": volume.mapOwners = false
        case "nosuid", "nodev": break  // always so
        default:
            throw Problem(
                "cannot use the volume \(text)", "the option \(option) is not known",
                hint: "ro, rw, noexec, exec, idmap, noidmap")
        }
    }

    private static func source(_ path: String) throws(Problem) -> HostPath {
        let absolute = path.hasPrefix("/") ? path : "\(Machine.workingFolder)/\(path)"
        let status: FileStatus
        do { status = try Descriptor.status(ofPath: absolute) } catch {
            let hint =
                error.number == Errno.missing
                ? "make it first: mkdir -p \(path)" : "it must be within reach of the user who runs codex32"
            throw Problem("cannot use the volume \(path)", error, hint: hint)
        }
        guard status.kind == .folder || status.kind == .file || status.kind == .socket || status.kind == .pipe else {
            throw Problem("cannot use the volume \(path)", "it is a device", hint: "--device \(path)")
        }
        return HostPath(absolute, status)
    }

    /// Never under what shows the kernel: a fake /proc deceives every program (CVE-2019-16884).
    static func target(_ text: String, option: String) throws(Problem) -> String {
        let path = try Value.inside(text, option: option)
        for reserved in ["/proc", "/sys", "/dev/pts", "/dev/mqueue"]
        where path == reserved || path.hasPrefix(reserved + "/") {
            throw Problem(
                "cannot mount at \(path)", "nothing is mounted below \(reserved)", hint: "choose another target")
        }
        guard path != "/", path != "/dev" else {
            throw Problem(
                "cannot mount at \(path)", "it belongs to the sandbox itself", hint: "--image FOLDER chooses the root")
        }
        return path
    }

    /// `type=bind,source=S,target=T[,readonly][,noexec]` or `type=tmpfs,target=T[,tmpfs-size=N][,tmpfs-mode=M]`.
    static func mount(_ text: String, into request: inout SandboxRequest) throws(Problem) {
        let fields = try mountFields(text)
        guard let target = fields["target"] else {
            throw Problem(
                "cannot use --mount \(text)", "target is missing", hint: "--mount type=bind,source=./data,target=/data")
        }
        var isOn: [String: Bool] = [:]
        for key in ["readonly", "noexec", "idmap"] {
            if let value = fields[key] { isOn[key] = try boolean(value, key, text) }
        }
        switch fields["type"] ?? "bind" {
        case "bind":
            guard let from = fields["source"] else {
                throw Problem(
                    "cannot use --mount \(text)", "source is missing",
                    hint: "--mount type=bind,source=./data,target=/data")
            }
            var volume = Volume(source: try source(from), target: try self.target(target, option: "--mount"))
            volume.readOnly = isOn["readonly"] ?? false
            volume.noExecute = isOn["noexec"] ?? false
            volume.mapOwners = isOn["idmap"]
            request.volumes.append(volume)
        case "tmpfs":
            var mount = TemporaryMount(
                target: try self.target(target, option: "--mount"), size: 64 << 20, mode: 0o1777,
                executable: isOn["noexec"] == false)
            if let size = fields["tmpfs-size"] { mount.size = try Value.size(size, option: "tmpfs-size") }
            guard mount.size > 0 else {
                throw Value.wrong("--mount", text, "of a size above 0: 0 would mean without limit")
            }
            if let mode = fields["tmpfs-mode"] { mount.mode = try octal(mode, text) }
            mount.readOnly = isOn["readonly"] ?? false
            request.temporary.append(mount)
        case let type:
            throw Problem("cannot use --mount \(text)", "the type \(type) is not known", hint: "bind or tmpfs")
        }
    }

    /// The fields of `--mount` by name: each once, and none that its type does not have.
    private static func mountFields(_ text: String) throws(Problem) -> [String: String] {
        let what = "cannot use --mount \(text)"
        let aliases = ["src": "source", "dst": "target", "destination": "target", "ro": "readonly"]
        var fields: [String: String] = [:]
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            let key = aliases[pair[0]] ?? pair[0]
            guard fields.updateValue(pair.count == 2 ? pair[1] : "true", forKey: key) == nil else {
                throw Problem(what, "it has \(key) twice", hint: "give each field once")
            }
        }
        var known: Set<String> = ["type", "target", "readonly", "noexec"]
        known.formUnion(fields["type"] == "tmpfs" ? ["tmpfs-size", "tmpfs-mode"] : ["source", "idmap"])
        if let other = fields.keys.sorted().first(where: { !known.contains($0) }) {
            throw Problem(
                what, "a mount of type \(fields["type"] ?? "bind") has no field \(other)",
                hint: "its fields are \(known.sorted().joined(separator: ", "))")
        }
        return fields
    }

    private static func boolean(_ value: String, _ key: String, _ text: String) throws(Problem) -> Bool {
        switch value {
        case "true", "1": return true
        case "false", "0": return false
        default: throw Problem("cannot use --mount \(text)", "\(key) is true or false", hint: "or just \(key)")
        }
    }

    /// `TARGET[:size=N,mode=M,exec,ro]`.
    static func temporary(_ text: String) throws(Problem) -> TemporaryMount {
        let parts = text.split(separator: ":", maxSplits: 1).map(String.init)
        guard let first = parts.first else {
            throw Problem("cannot use --tmpfs", "its target is missing", hint: "--tmpfs /cache:size=64m")
        }
        var mount = TemporaryMount(
            target: try target(first, option: "--tmpfs"), size: 64 << 20, mode: 0o1777, executable: false)
        for option in parts.count == 2 ? parts[1].split(separator: ",").map(String.init) : [] {
            if option.hasPrefix("size=") {
                mount.size = try Value.size(String(option.dropFirst(5)), option: "--tmpfs size")
            } else if option.hasPrefix("mode=") {
                mount.mode = try octal(String(option.dropFirst(5)), text)
            } else {
                switch option {
                case "exec": mount.executable = true
                case "noexec": mount.executable = false
                case "ro": mount.readOnly = true
                case "rw", "nosuid", "nodev": break
                default:
                    throw Problem(
                        "cannot use --tmpfs \(text)", "the option \(option) is not known",
                        hint: "size=, mode=, exec, noexec, ro, rw")
                }
            }
        }
        guard mount.size > 0 else {
            throw Value.wrong("--tmpfs", text, "of a size above 0: 0 would mean without limit")
        }
        return mount
    }

    private static func octal(_ text: String, _ whole: String) throws(Problem) -> UInt32 {
        guard let mode = UInt32(text, radix: 8), mode <= 0o7777 else {
            throw Value.wrong("mode", whole, "octal, such as 1777")
        }
        return mode
    }

    /// `PATH[:TARGET]`: a device node of the machine.
    static func device(_ text: String) throws(Problem) -> DeviceNode {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard parts.count <= 2, let path = parts.first, path.hasPrefix("/dev/") else {
            throw Problem("cannot use --device \(text)", "it must be /dev/NAME[:/dev/NAME]", hint: "--device /dev/fuse")
        }
        let status: FileStatus
        do { status = try Descriptor.status(ofPath: path) } catch {
            throw Problem("cannot use --device \(text)", error, hint: "the machine must have it: ls -l /dev")
        }
        guard status.kind == .character || status.kind == .block else {
            throw Problem("cannot use --device \(text)", "it is not a device", hint: "-v shows files and folders")
        }
        let target = try Value.inside(parts.count == 2 ? parts[1] : path, option: "--device")
        guard target.hasPrefix("/dev/") else {
            throw Problem("cannot use --device \(text)", "devices go below /dev", hint: "--device \(path):/dev/NAME")
        }
        return DeviceNode(path: path, target: target, number: status.deviceNumber)
    }

    /// `DEVICE:rbps=N,wbps=N,riops=N,wiops=N`; DEVICE is a block device, or a path on one.
    static func ioLimit(_ text: String) throws(Problem) -> (device: String, limits: [String: UInt64]) {
        guard let colon = text.lastIndex(of: ":") else {
            throw Problem(
                "cannot use --io-limit \(text)", "it must be DEVICE:LIMITS",
                hint: "--io-limit /dev/sda:rbps=10m,wiops=100")
        }
        var limits: [String: UInt64] = [:]
        for part in text[text.index(after: colon)...].split(separator: ",") {
            let pair = part.split(separator: "=").map(String.init)
            guard pair.count == 2, ["rbps", "wbps", "riops", "wiops"].contains(pair[0]) else {
                throw Problem(
                    "cannot use --io-limit \(text)", "\(part) is not known",
                    hint: "rbps=, wbps= (bytes), riops=, wiops= (operations), for each second")
            }
            limits[pair[0]] = try Value.limit(pair[1]) { text throws(Problem) in
                try Value.size(text, option: "--io-limit \(pair[0])")
            }
            guard limits[pair[0]] != 0 else { throw Value.wrong("--io-limit", text, "limits above 0") }
        }
        guard !limits.isEmpty else {
            throw Problem(
                "cannot use --io-limit \(text)", "it has no limit in it", hint: "rbps=, wbps=, riops=, wiops=")
        }
        return (try disk(String(text[..<colon])), limits)
    }

    /// "major:minor" of the whole disk: io.max takes no partitions.
    private static func disk(_ path: String) throws(Problem) -> String {
        let status: FileStatus
        do { status = try Descriptor.status(ofPath: path) } catch {
            throw Problem("cannot use --io-limit \(path)", error, hint: "name a block device, or a folder on one")
        }
        let raw = status.kind == .block ? status.deviceNumber : status.device
        let number = "\((raw >> 8) & 0xfff):\((raw & 0xff) | ((raw >> 12) & 0xfff00))"
        let sys = "/sys/dev/block/\(number)"
        guard Descriptor.exists(sys) else {
            throw Problem(
                "cannot use --io-limit \(path)", "it is on no block device (\(number))",
                hint: "name a disk, or a folder on one")
        }
        if Descriptor.exists("\(sys)/partition"), let whole = try? Descriptor.contents(of: "\(sys)/../dev") {
            return String(whole.prefix { $0 != "\n" })
        }
        return number
    }
}
