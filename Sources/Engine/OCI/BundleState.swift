internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// What is written down of a container that came by `oci create` (runtime.md, "State").
struct BundleState: Equatable {
    enum Status: String { case creating, created, running, paused, stopped }

    let version: String
    let id: String
    let bundle: String
    /// Nil until the child is there.
    var process: ProcessIdentity?
    let createdAt: Int64
    let annotations: [JSON.Member]
    /// The host path of its cgroup; nil: it has none of its own.
    var cgroup: String?
    /// The scope of systemd's that its cgroup is; nil: codex32 made the cgroup itself.
    var scope: ScopeUnit?
    /// Which rules for devices it was made with (``BundleRuntime/digest(_:)``); nil: it has, or may have, others now.
    var devices: String?
    /// Its share of the processor's caches; nil: nobody asked for one.
    var resctrl: ResctrlGroup?
    /// Where its mounts are, if in no namespace of its own.
    var shared: SharedMounts?
    /// What its streams are outside of it; nil: a container of before, or of a user's, whom CRIU does not serve.
    var streams: BundleStreams?
    /// What was put on top of the bundle; nil: nothing.
    var tightening: BundleTightening?
    /// Whether `delete` has hooks to run.
    let hasPoststop: Bool
    /// Whether `start` has.
    let hasPoststart: Bool

    static let file = "state.json"
    /// The bundle's `config.json` as it was at `create`: what holds for the container holds for all that `exec` adds.
    static let configuration = "config.json"
    /// It is there from `create` to `start`.
    static let pipe = "exec.fifo"
    /// The pipe on which `start` learns of a failure behind it.
    static let outcome = "outcome.fifo"

    var json: JSON {
        .members([
            "ociVersion": .string(version), "id": .string(id), "bundle": .string(bundle),
            "pid": .number(process?.pid), "startTime": .number(process?.startTime), "boot": .text(process?.boot),
            "createdAt": .number(createdAt), "annotations": .object(annotations),
            "cgroup": .text(cgroup), "devices": .text(devices), "poststop": .bool(hasPoststop),
            "poststart": .bool(hasPoststart), "isolation": tightening == nil ? .null : .string("strict"),
            "landlock": .number(tightening?.landlockABI), "streams": streams?.json ?? .null,
            "resctrl": resctrl.map {
                .members(["path": .string($0.path), "own": .bool($0.isOwn), "monitor": .text($0.monitor)])
            } ?? .null,
            "mounts": shared.map {
                .members(["path": .text($0.path), "inode": .number($0.inode), "mark": .text($0.mark)])
            } ?? .null,
            "scope": scope.map {
                .members([
                    "name": .string($0.name), "slice": .string($0.slice), "manager": .string($0.manager.rawValue),
                ])
            } ?? .null,
        ])
    }

    init(spec: RuntimeSpec, id: String, bundle: String) {
        version = spec.version
        self.id = id
        self.bundle = bundle
        createdAt = Clock.realtime
        annotations = spec.annotations
        hasPoststop = !spec.hooks.poststop.isEmpty
        hasPoststart = !spec.hooks.poststart.isEmpty
    }

    init(_ text: String) throws(DocumentError) {
        let top = try JSONObject(try JSONReader.read(Array(text.utf8)), at: "")
        version = try top.required("ociVersion")
        id = try top.required("id")
        bundle = try top.required("bundle")
        createdAt = try top.integer("createdAt") ?? 0
        guard createdAt >= 0 else { throw DocumentError("createdAt", "is no time") }
        cgroup = try top.string("cgroup")
        devices = try top.string("devices")
        hasPoststop = try top.bool("poststop") ?? false
        hasPoststart = try top.bool("poststart") ?? false
        if try top.string("isolation") != nil {
            tightening = BundleTightening(landlockABI: try top.unsigned("landlock").map { Int(truncatingIfNeeded: $0) })
        }
        if top.value("streams") != nil { streams = try BundleStreams(try top.strings("streams")) }
        if let unit = try top.object("scope") {
            guard let manager = BusConnection.Manager(rawValue: try unit.required("manager")) else {
                throw DocumentError("scope.manager", "is not known")
            }
            scope = ScopeUnit(name: try unit.required("name"), slice: try unit.required("slice"), manager: manager)
        }
        if let group = try top.object("resctrl") {
            resctrl = ResctrlGroup(
                path: try group.required("path"), isOwn: try group.bool("own") ?? false,
                monitor: try group.string("monitor"))
        }
        if let mounts = try top.object("mounts") {
            shared = SharedMounts(
                path: try mounts.string("path"), inode: try mounts.unsigned("inode") ?? 0,
                mark: try mounts.string("mark"))
        }
        guard let given = try top.object("annotations") else { throw DocumentError("annotations", "is missing") }
        annotations = try given.pairs().map { JSON.Member($0.name, .string($0.value)) }
        if let pid = try top.integer("pid"), let number = Int32(exactly: pid), let start = try top.unsigned("startTime")
        {
            process = ProcessIdentity(pid: number, startTime: start, boot: try top.required("boot"))
        }
    }

    /// - Parameter waits: whether the pipe is there on which it waits for `start`.
    func status(waits: Bool) -> Status {
        guard let process else { return .creating }
        guard process.isAlive else { return .stopped }
        if waits { return .created }
        guard let cgroup, let group = try? Cgroup(existing: cgroup), group.isFrozen() else { return .running }
        return .paused
    }

    /// As `state` prints it.
    func shown(_ status: Status) -> JSON {
        let isThere = status != .creating && status != .stopped
        return .members([
            "ociVersion": .string("1.3.0"), "id": .string(id), "status": .string(status.rawValue),
            "pid": .number(isThere ? process?.pid ?? 0 : 0), "bundle": .string(bundle),
            "created": .string(Timestamp.text(createdAt)), "annotations": .object(annotations),
        ])
    }
}
