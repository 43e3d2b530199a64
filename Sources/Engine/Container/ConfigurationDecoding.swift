internal import Images
internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// Reading a configuration back. A record may have been edited by hand, or torn by a disk: every
/// value is checked as an option would be, and what makes no sense is an error that names it.
extension ContainerConfiguration {
    /// - Throws: for a value that makes no sense, and for a host path that is gone.
    init(
        _ json: JSON, name: String?, labels: [(key: String, value: String)], storage: Storage
    ) throws(DocumentError) {
        let top = try JSONObject(json, at: "configuration")
        let image: ImageReference
        do { image = try ImageReference(try top.required("image")) } catch let problem as Problem {
            throw DocumentError("configuration.image", problem.why)
        } catch {
            throw DocumentError("configuration.image", "\(error)")
        }
        var run = RunConfiguration(image: try image.pinned(by: top), storage: storage)
        run.name = name
        run.arguments = try top.strings("arguments")
        if top.value("entrypoint") != nil { run.entrypoint = try top.strings("entrypoint") }
        run.workingFolder = try top.string("workingFolder")
        run.readOnly = try top.bool("readOnly")
        run.wallTime = try top.nanoseconds("wallTime")
        run.cpuTime = try top.nanoseconds("cpuTime")
        run.outputLimit = try top.unsigned("outputLimit")
        run.interactive = try top.bool("interactive") ?? false
        let signal = try top.integer("stopSignal") ?? Int64(Signal.terminate)
        guard (1...64).contains(signal) else { throw DocumentError("configuration.stopSignal", "is no signal") }
        run.stopSignal = Int32(signal)
        run.stopTimeout = try top.nanoseconds("stopTimeout") ?? run.stopTimeout
        run.request = try SandboxRequest(top)
        run.request.explains = try top.bool("explain") ?? false
        run.ownVolumes = try top.strings("ownVolumes")
        if let object = try top.object("workspace") {
            run.workspace = (try object.required("source"), try object.required("target"))
        }
        if let cpuTime = run.cpuTime { run.request.cpuSeconds = UInt64((cpuTime + 999_999_999) / 1_000_000_000) }
        self.init(run: run)
        self.labels = labels
        let policy = try top.string("restart") ?? "no"
        guard let restart = RestartPolicy(policy) else {
            throw DocumentError("configuration.restart", "\(policy) is no policy")
        }
        self.restart = restart
        removesItself = try top.bool("removesItself") ?? false
        // It would be gone at the first stop.
        guard removesItself || !run.request.isKeptInMemory else {
            throw DocumentError("configuration.storageKind", "is for containers that remove themselves")
        }
        orphan = try OrphanPolicy(top, run)
        if let object = try top.object("log") { log = try LogPolicy(object) }
        if let object = try top.object("health") { health = try HealthCheck(object) }
    }
}

extension JSONObject {
    /// A time that is waited for: as much as an option takes (``Value/duration(_:option:)``), so that sums with a
    /// clock's reading fit.
    fileprivate func nanoseconds(_ name: String) throws(DocumentError) -> Int64? {
        guard let value = try integer(name) else { return nil }
        guard (0..<1 << 62).contains(value) else { throw DocumentError("\(place).\(name)", "is no time") }
        return value
    }
}

extension LogPolicy {
    init(_ object: JSONObject) throws(DocumentError) {
        self.init()
        let name = try object.required("format")
        guard let format = Format(rawValue: name) else {
            throw DocumentError("\(object.place).format", "\(name) is not known")
        }
        self.format = format
        fileSize = try object.unsigned("fileSize") ?? fileSize
        files = try object.unsigned("files") ?? files
        guard fileSize >= 1, (1...1000).contains(files) else { throw DocumentError(object.place, "is out of bounds") }
    }
}

extension HealthCheck {
    init(_ object: JSONObject) throws(DocumentError) {
        self.init(command: try object.strings("command"))
        interval = try object.nanoseconds("interval") ?? interval
        timeout = try object.nanoseconds("timeout") ?? timeout
        startPeriod = try object.nanoseconds("startPeriod") ?? startPeriod
        retries = try object.unsigned("retries") ?? retries
        guard !command.isEmpty, interval > 0, timeout > 0, retries > 0 else {
            throw DocumentError(object.place, "is out of bounds")
        }
    }
}

/// What a path of the host is now.
private func look(_ path: String, at place: String) throws(DocumentError) -> FileStatus {
    do { return try Descriptor.status(ofPath: path) } catch {
        throw DocumentError(place, "\(error); it was there when the container was made")
    }
}

extension SandboxRequest {
    fileprivate init(_ top: JSONObject) throws(DocumentError) {
        self.init()
        level = try SandboxRequest.value(top, "isolation", IsolationLevel.init(rawValue:)) ?? .standard
        waived = try SandboxRequest.items(top, "waived")
        required = try SandboxRequest.items(top, "required")
        hostname = try top.required("hostname")
        network = try SandboxRequest.value(top, "network", NetworkMode.init(rawValue:))
        userNamespace =
            try SandboxRequest.value(top, "userNamespace", UserNamespaceMode.init(rawValue:)) ?? .automatic
        if let object = try top.object("user") { user = try UserIdentity(object) }
        environment = try top.strings("environment")
        if let object = try top.object("limits") { limits = try CgroupLimits(object) }
        for object in try top.objects("resourceLimits") { resourceLimits.append(try ResourceLimit(object)) }
        for (name, value) in try top.object("sysctls")?.pairs() ?? [] { sysctls.append((name, value)) }
        addedCapabilities = CapabilitySet(rawValue: try top.unsigned("addedCapabilities") ?? 0)
        droppedCapabilities = CapabilitySet(rawValue: try top.unsigned("droppedCapabilities") ?? 0)
        if let object = try top.object("seccompProfile") {
            seccompProfile = (try object.required("name"), Array(try object.required("text").utf8))
        }
        if let object = try top.object("learned") { learned = try LearnedCalls(object) }
        for object in try top.objects("volumes") { volumes.append(try Volume(object)) }
        for object in try top.objects("temporary") { temporary.append(try TemporaryMount(object)) }
        shmSize = try top.unsigned("shmSize") ?? shmSize
        storageLimit = try top.unsigned("storageLimit")
        if storageLimit != nil {
            guard let kind = StorageKind(rawValue: try top.required("storageKind")), kind != .copy else {
                throw DocumentError("\(top.place).storageKind", "is not known")
            }
            storageKind = kind
        }
        for object in try top.objects("devices") {
            let path = try object.required("path")
            let status = try look(path, at: object.place)
            devices.append(DeviceNode(path: path, target: try object.required("target"), number: status.deviceNumber))
        }
        terminal = try top.bool("terminal") ?? false
        reaper = try top.bool("reaper") ?? false
    }

    private static func value<Value>(
        _ top: JSONObject, _ name: String, _ make: (String) -> Value?
    ) throws(DocumentError) -> Value? {
        guard let text = try top.string(name) else { return nil }
        guard let value = make(text) else { throw DocumentError("\(top.place).\(name)", "\(text) is not known") }
        return value
    }

    private static func items(_ top: JSONObject, _ name: String) throws(DocumentError) -> CaseSet<Item> {
        var items: CaseSet<Item> = []
        for text in try top.strings(name) {
            guard let item = Item(name: text) else {
                throw DocumentError("\(top.place).\(name)", "\(text) is not known")
            }
            items.insert(item)
        }
        return items
    }
}

extension UserIdentity {
    fileprivate init(_ object: JSONObject) throws(DocumentError) {
        self.init()
        uid = try object.identity("uid") ?? 0
        gid = try object.identity("gid") ?? 0
        for number in try object.numbers("groups") {
            guard number < UInt64(UInt32.max) else { throw DocumentError("\(object.place).groups", "is no id") }
            groups.append(UInt32(number))
        }
        home = try object.string("home") ?? home
        chosen = try object.bool("chosen") ?? false
    }
}

extension CgroupLimits {
    init(_ object: JSONObject) throws(DocumentError) {
        self.init()
        memoryMax = try object.unsigned("memoryMax")
        swapMax = try object.unsigned("swapMax")
        cpuQuota = try object.unsigned("cpuQuota")
        cpuWeight = try object.unsigned("cpuWeight")
        pidsMax = try object.unsigned("pidsMax")
        cpus = try object.string("cpus")
        ioWeight = try object.unsigned("ioWeight")
        for (device, limits) in try object.object("io")?.objects() ?? [] {
            var values: [String: UInt64] = [:]
            for key in ["rbps", "wbps", "riops", "wiops"] { values[key] = try limits.unsigned(key) }
            io[device] = values
        }
    }
}

extension ResourceLimit {
    fileprivate init(_ object: JSONObject) throws(DocumentError) {
        let name = try object.required("name")
        guard let number = ResourceLimit.number(name), let soft = try object.unsigned("soft"),
            let hard = try object.unsigned("hard"), soft <= hard
        else { throw DocumentError(object.place, "is no resource limit") }
        self.init(resource: number, soft: soft, hard: hard)
    }
}

extension Volume {
    fileprivate init(_ object: JSONObject) throws(DocumentError) {
        let path = try object.required("source")
        self.init(source: HostPath(path, try look(path, at: object.place)), target: try object.required("target"))
        readOnly = try object.bool("readOnly") ?? false
        noExecute = try object.bool("noExecute") ?? false
        mapOwners = try object.bool("mapOwners")
    }
}

extension TemporaryMount {
    fileprivate init(_ object: JSONObject) throws(DocumentError) {
        guard let size = try object.unsigned("size"), let mode = try object.unsigned("mode"), mode <= 0o7777 else {
            throw DocumentError(object.place, "is out of bounds")
        }
        self.init(
            target: try object.required("target"), size: size, mode: UInt32(mode),
            executable: try object.bool("executable") ?? false)
        readOnly = try object.bool("readOnly") ?? false
    }
}
