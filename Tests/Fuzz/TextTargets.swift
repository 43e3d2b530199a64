@testable internal import Engine
@testable internal import Images
@testable internal import LinuxKernel
@testable internal import OCISpec
@testable internal import Sandbox
@testable internal import codex32

/// Words of a command line, one a line: what a person or a program types behind `run` and its neighbours.
func readOptions(_ bytes: [UInt8]) {
    // A word of execve(2) has no NUL in it, and a file that is named is not what is tried here.
    let words = bytes.split(separator: 10, omittingEmptySubsequences: false).prefix(32)
        .map { String(decoding: $0.map { $0 == 0 ? 1 : $0 }, as: UTF8.self) }
    var draft = RunDraft()
    let command = words.first == "create" ? CreateVerb.command : RunOptions.command
    if (try? command.parse(words, into: &draft) { _, _ in false }) != nil {
        draft.image = draft.image ?? "/bin/true"
        draft.storage = "/nonexistent"
        if let run = try? draft.configuration(arguments: words) {
            let document = ContainerConfiguration(run: run).document
            expect((try? JSONReader.read(Array(document.text().utf8))) == document, "a configuration as text")
        }
    }
    for word in words { readValue(word) }
    if words.count > 1 { _ = try? UserValue.parse(words[0], roots: ["/nonexistent"], hint: "") }
}

/// The forms of options' values, each given the same word.
private func readValue(_ text: String) {
    let name = "--fuzz"
    if let size = try? Value.size(text, option: name) { expect(size <= UInt64(Int64.max), "a size") }
    _ = try? Value.memory(text, option: name)
    if let time = try? Value.duration(text, option: name) { expect(time > 0 && time < 1 << 62, "a duration") }
    for scale in [1000, CgroupLimits.cpuPeriod] { _ = try? Value.decimal(text, option: name, scale: scale) }
    if let path = try? Value.inside(text, option: name) {
        expect(path.hasPrefix("/") && !path.split(separator: "/").contains(".."), "the path \(path)")
        expect((try? Value.inside(path, option: name)) == path, "the path \(path) is not what it was")
    }
    if let id = try? Value.identity(text, option: name) { expect(id != UInt32.max, "an id") }
    _ = try? Value.name(text, option: name)
    _ = try? Value.hostname(text)
    _ = try? Value.signal(text, option: name)
    _ = try? Value.cpus(text)
    _ = try? UlimitValue.parse(text)
    _ = try? SysctlValue.parse(text)
    _ = try? MountValue.temporary(text)
    _ = try? MountValue.ioLimit(text)
    _ = try? MountValue.workspace(text)
    var request = SandboxRequest()
    try? MountValue.mount(text, into: &request)
    _ = try? LifecycleOptions.restart(text)
    _ = try? Platform(asked: text)
    _ = try? Moment.parse(text, name)
    _ = CapabilitySet(name: text)
    let quoted = text.quotedForTerminal
    expect(!quoted.unicodeScalars.contains { $0.value < 0x20 || (0x7f..<0xa0).contains($0.value) }, "what is quoted")
    expect(Columns.cut(text, 20).columns <= 20, "what was cut")
    _ = Spelling.distance(text, "--memory-limit")
    let document = JSON.members(["Name": .string(text), "State": .members(["Pid": .integer(1)])])
    if let format = try? Template(text) { _ = try? format.text(document) }
    guard let keys = try? DetachKeys.parse(text), !keys.isEmpty else { return }
    var watch = DetachWatch(keys)
    expect(watch.pass(keys) == nil, "the keys of \(text) do not detach")
}

/// What the kernel says of processes, mounts and cgroups, some of it put there by programs: names, paths, numbers.
func readKernel(_ bytes: [UInt8]) {
    let text = String(decoding: bytes, as: UTF8.self)
    let status = ProcessStatus(text: text)
    _ = (status.isFirstOfNamespace, status.number("PPid"), status.mask("CapEff"))
    for signal in [Int32(1), 64] { _ = status.leavesToDefault(signal) }
    let entry = ProcessEntry(pid: 1, text: text, ticksPerSecond: 100, pageSize: 4096)
    expect(entry.map { $0.pid == 1 } ?? true, "a process")
    _ = ProcessTable.networkBytes(text)
    _ = MountRecord.parse(text)
    _ = SubordinateIDs.parse(text, user: "fuzz", uid: 1000)
    for range in IdentityRange.list(text) { _ = (range.contains(inside: 0), range.contains(outside: .max), range.line) }
    _ = ContainerProcess.limits(text)
    _ = KernelVersion(text)
    _ = Signal.number(text)
    if let ranges = Cgroup.cpuRanges(text) {
        expect(zip(ranges, ranges.dropFirst()).allSatisfy { $0.upperBound < $1.lowerBound }, "ranges of CPUs")
    }
    let users = ExecUser(passwd: text, group: text)
    _ = (users.home(0), try? users.resolve("root:root"), try? users.resolve("0:0"))
    // Asked for and answered, in two halves.
    let halves = text.split(separator: "\n", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    if halves.count == 2, !halves[0].isEmpty, halves[0].contains(where: { $0 != " " }) {
        for file in ["memory.max", "io.max", "io.weight", "cpuset.cpus", "cpu.max", "hugetlb.2MB.max", "rdma.max"] {
            let setting = CgroupSetting(file, halves[0])
            _ = (setting.holds(halves[1]), setting.limitsNothing)
            _ = Cgroup.holds(file: file, asked: halves[0], now: halves[1])
        }
    }
    readCall(bytes)
    readRoutes(bytes)
}

/// Answers of rtnetlink(7): devices and addresses, whose names and numbers others chose.
private func readRoutes(_ bytes: [UInt8]) {
    guard bytes.count >= 16 else { return }
    let sequence = bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 8, as: UInt32.self) }
    for message in RouteMessage.list(bytes, sequence: sequence) ?? [] {
        expect(message.body.count <= bytes.count - 16, "a message of netlink is longer than its packet")
        for header in [8, 16] { _ = message.attributes(behind: header) }
        guard let device = message.number(at: 4),
            let address = DeviceAddress(message, of: Int32(bitPattern: device))
        else { continue }
        let request = address.request(for: 7)
        let again = RouteMessage.list(request.bytes(sequence: 1), sequence: 1) ?? []
        expect(again == [request], "a request of netlink does not come back")
    }
}

/// A call that a seccomp filter of ours is asked about: a program chooses its number and arguments freely.
private func readCall(_ bytes: [UInt8]) {
    guard bytes.count >= 16 else { return }
    let words = bytes.withUnsafeBytes { bytes in
        (0..<4).map { bytes.loadUnaligned(fromByteOffset: $0 * 4, as: UInt32.self) }
    }
    let call = SystemCallData(
        number: Int32(bitPattern: words[0]), architecture: words[1],
        arguments: (0..<6).map { UInt64(words[2]) << 32 | UInt64(words[3]) &+ $0 })
    expect(!call.name.isEmpty, "a call without a name")
    _ = SeccompProgram(bytes: Array(bytes.dropFirst(16))).map { ($0.answer(to: call), $0.refusal(of: call)) }
}

/// What other processes say: clients to a supervisor, a supervisor to them, D-Bus, codex32's own helpers, the
/// journal, keys on a terminal.
func readMessages(_ bytes: [UInt8]) {
    if let request = try? Control.parse(bytes), case .update(let change) = request {
        _ = try? ConfigurationChange(change)
    }
    do throws(Problem) { _ = try Control.answer(bytes) } catch {
        expect((1...255).contains(error.status), "the status of a problem")
        expect(Problem(error.document).document == error.document, "a problem does not come back")
    }
    _ = EventJournal.base(bytes)
    _ = LogReader.parse(bytes)
    readLog(bytes)
    if let message = try? BusMessage(bytes) {
        expect(message.body.count <= bytes.count, "a message of D-Bus is longer than it was")
        var reader = BusReader(message.body)
        while !reader.isAtEnd { if (try? reader.text()) == nil { break } }
    }
    if let rest = try? BusMessage.rest(Array(bytes.prefix(BusMessage.prefix))) {
        expect(rest >= 0 && rest <= 3 << 20, "the length of a message of D-Bus")
    }
    var watch = DetachWatch([16, 17])
    if let passed = watch.pass(bytes) { expect(passed.count <= bytes.count, "keys out of nothing") }
}

/// What a program wrote, put into the log and read again: not a byte of it may be another.
private func readLog(_ bytes: [UInt8]) {
    var clock = LogClock()
    let ending = clock.ending(isError: false)
    var (read, start): ([UInt8], Int) = ([], 0)
    while start < bytes.count {
        var target = [UInt8](repeating: 0, count: LogText.room(for: bytes.count - start))
        let piece = bytes.withUnsafeBytes { all in
            ending.withUnsafeBytes { ending in
                target.withUnsafeMutableBytes { target in
                    LogText.encode(
                        UnsafeRawBufferPointer(rebasing: all[start...]), isLast: false, ending: ending,
                        to: target.baseAddress!)
                }
            }
        }
        expect(piece.taken > 0 && piece.written <= target.count, "nothing of the output was taken")
        read += LogReader.parse(Array(target[..<(piece.written - 1)]))?.bytes ?? []
        start += piece.taken
    }
    expect(read == bytes, "output does not come back from its log")
}
