internal import LinuxKernel

/// A scope of systemd's: a cgroup that systemd made for processes that it did not start (systemd.scope(5),
/// org.freedesktop.systemd1(5)). It is delegated, so that what is in it is ours to limit.
struct ScopeUnit: Equatable {
    /// As in "codex32-abc.scope".
    let name: String
    /// As in "system.slice".
    let slice: String
    let manager: BusConnection.Manager

    typealias Property = (name: String, value: BusValue)

    /// Has systemd make the scope around a process, and waits for it.
    ///
    /// - Returns: the host path of its cgroup.
    func start(_ pid: Int32, description: String, _ more: [Property]) throws(Problem) -> String {
        let what = "cannot make the scope \(name)"
        let properties: [Property] =
            [
                ("Description", .text(description)), ("Slice", .text(slice)), ("PIDs", .numbers([UInt32(pid)])),
                ("Delegate", .flag(true)), ("DefaultDependencies", .flag(false)),
                // One that failed is not kept, so that its name is free again.
                ("CollectMode", .text("inactive-or-failed")), ("MemoryAccounting", .flag(true)),
                ("CPUAccounting", .flag(true)), ("IOAccounting", .flag(true)), ("TasksAccounting", .flag(true)),
            ] + more
        var bus = try BusConnection.open(manager)
        try job(&bus, what, "StartTransientUnit", "ssa(sv)a(sa(sv))") { body in
            body.text(name)
            body.text("fail")
            ScopeUnit.write(properties, to: &body)
            body.array(alignment: 8) { _ in }
        }
        // Where it put the process is asked of the kernel.
        let text = try explaining(what) { () throws(KernelError) in try Descriptor.contents(of: "/proc/\(pid)/cgroup") }
        let path = text.split(separator: "\n").first { $0.hasPrefix("0::/") }.map { String($0.dropFirst(3)) } ?? ""
        guard path.split(separator: "/").last.map(String.init) == name, !path.split(separator: "/").contains("..")
        else {
            throw Problem(what, "systemd did not put the process there, but into \(path)")
        }
        return "/sys/fs/cgroup" + path
    }

    /// Ends it. One that systemd does not know any more is no error.
    func stop() throws(Problem) {
        var bus = try BusConnection.open(manager)
        try job(&bus, "cannot end the scope \(name)", "StopUnit", "ss") { body in
            body.text(name)
            body.text("replace")
        }
    }

    /// Changes properties until the unit is gone ("runtime").
    func set(_ properties: [Property]) throws(Problem) {
        guard !properties.isEmpty else { return }
        let what = "cannot change the scope \(name)"
        var bus = try BusConnection.open(manager)
        let answer = try explaining(what) { () throws(KernelError) in
            try bus.call("SetUnitProperties", "sba(sv)") { body in
                body.text(name)
                body.number(1)
                ScopeUnit.write(properties, to: &body)
            }
        }
        if case .failure(let error) = answer { throw Problem(what, error.words) }
    }

    private func job(
        _ bus: inout BusConnection, _ what: String, _ member: String, _ signature: String,
        _ arguments: (inout BusWriter) -> Void
    ) throws(Problem) {
        let failure = try explaining(what) { () throws(KernelError) -> String? in
            // Else nothing is told on a bus; on systemd's own socket it is not needed.
            _ = try bus.call("Subscribe")
            switch try bus.call(member, signature, arguments) {
            case .failure(let error): return error.name == "org.freedesktop.systemd1.NoSuchUnit" ? nil : error.words
            case .success(let body):
                var reader = BusReader(body)
                let result = try bus.wait(for: try reader.text())
                return result == "done" ? nil : "systemd says: \(result)"
            }
        }
        if let failure { throw Problem(what, failure) }
    }

    private static func write(_ properties: [Property], to body: inout BusWriter) {
        body.array(alignment: 8) { body in
            for property in properties {
                body.align(8)
                body.text(property.name)
                property.value.write(to: &body)
            }
        }
    }

    /// The limits that systemd keeps for a unit too, and would set again as it knows them (systemd.resource-control(5)).
    static func properties(_ settings: [CgroupSetting]) -> [Property] {
        settings.flatMap { setting -> [Property] in
            let words = setting.value.split(separator: " ")
            let number = words.last.flatMap { $0 == "max" ? UInt64.max : CgroupSetting.bytes($0) }
            switch setting.file {
            case "memory.max": return number.map { [("MemoryMax", .long($0))] } ?? []
            case "memory.high": return number.map { [("MemoryHigh", .long($0))] } ?? []
            case "memory.low": return number.map { [("MemoryLow", .long($0))] } ?? []
            case "memory.min": return number.map { [("MemoryMin", .long($0))] } ?? []
            case "memory.swap.max": return number.map { [("MemorySwapMax", .long($0))] } ?? []
            case "cpu.weight": return number.map { [("CPUWeight", .long($0))] } ?? []
            case "io.weight": return words.first == "default" ? number.map { [("IOWeight", .long($0))] } ?? [] : []
            case "pids.max": return number.map { [("TasksMax", .long($0))] } ?? []
            case "cpuset.cpus": return [("AllowedCPUs", .bytes(mask(setting.value)))]
            case "cpuset.mems": return [("AllowedMemoryNodes", .bytes(mask(setting.value)))]
            case "cpu.max":
                guard words.count == 2, let period = UInt64(words[1]), period > 0 else { return [] }
                let quota = UInt64(words[0])
                let (product, overflow) = (quota ?? 0).multipliedReportingOverflow(by: 1_000_000)
                return [
                    ("CPUQuotaPeriodUSec", .long(period)),
                    ("CPUQuotaPerSecUSec", .long(quota == nil || overflow ? UInt64.max : product / period)),
                ]
            default: return []
            }
        }
    }

    /// A bit for each number of a list such as "0-3,7", the lowest first.
    private static func mask(_ list: String) -> [UInt8] {
        var bytes: [UInt8] = []
        for part in list.split(separator: ",") {
            let ends = part.split(separator: "-").compactMap { Int($0) }
            guard let first = ends.first, let last = ends.last, first <= last, last < 65536 else { continue }
            while bytes.count <= last / 8 { bytes.append(0) }
            for number in first...last { bytes[number / 8] |= 1 << UInt8(number % 8) }
        }
        return bytes
    }
}
