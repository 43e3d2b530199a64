internal import LinuxKernel

@testable internal import Engine
@testable internal import Images
@testable internal import OCISpec
@testable internal import Sandbox

/// A document, where the bytes are one; written and read again it is the same.
private func document(_ bytes: [UInt8]) -> JSON? {
    guard let json = try? JSONReader.read(bytes) else { return nil }
    for pretty in [false, true] {
        let again = try? JSONReader.read(Array(json.text(pretty: pretty).utf8))
        expect(again == json, "a document does not come back as it was written")
    }
    return json
}

/// A bundle's config.json, as `oci create` goes by it up to the point where something would be made.
func readConfig(_ bytes: [UInt8]) {
    guard let json = document(bytes), let spec = try? RuntimeSpec(json) else { return }
    for rights in [CapabilitySet.all, []] {
        let plan = try? BundlePlan(spec, bundle: "/bundle", rights: rights, cgroups: true, keyring: true)
        _ = plan?.plan.document.text()
    }
    _ = try? BundleLimits(spec.linux.resources) { $0 == "memory.max" ? "4096" : nil }
    _ = try? BundleRuntime.digest(spec.linux.resources)
    _ = try? BundleTightening(spec, usual: "strict", abi: 4)
    // Without a path it would look for a place, and get it ready.
    if spec.linux.cgroupsPath != nil { _ = try? BundleCgroup.path(spec.linux, id: "fuzz") }
    if let resources = json["linux"]?["resources"], let object = try? JSONObject(resources, at: "") {
        _ = try? SpecResources(object)
    }
}

/// Manifests, configs and indexes of images, their names, and the first line of a script.
func readImage(_ bytes: [UInt8]) {
    if let json = document(bytes) {
        if let object = try? JSONObject(json, at: "descriptor"), let descriptor = try? BlobDescriptor(object) {
            _ = descriptor.document
        }
        // Digests must fit what they are of: with another machine's they do not, and the rest is passed over.
        if case .array = json { loadImage(bytes, isIndex: false) }
        if json["manifests"] != nil { loadImage(bytes, isIndex: true) }
    }
    if let manifest = try? ImageManifest(bytes: bytes) {
        let written = Array(manifest.document.text().utf8)
        expect((try? ImageManifest(bytes: written))?.layers.count == manifest.layers.count, "a manifest's layers")
    }
    if let config = try? ImageConfig(bytes: bytes) { _ = Platform.machine.takes(config.platform) }
    readImageName(bytes)
    readRequirements(bytes)
}

/// What a script needs, how pip is set, and which registry has mirrors.
private func readRequirements(_ bytes: [UInt8]) {
    if let file = try? RequirementsFile(bytes, path: "requirements.txt") {
        expect(Array(file.pieces.joined().utf8) == bytes + [10], "a requirements file reaches pip changed")
        expect(
            file.pieces.allSatisfy { !$0.utf8.contains(0) && $0.utf8.count <= 1 << 17 }, "no argument of pip's shell")
        let leads = file.text.split(separator: "\n").contains { $0.hasPrefix("-r") || $0.hasPrefix("/") }
        // Behind a backslash it is the end of a line that began before.
        expect(!leads || file.text.utf8.contains(0x5c), "a requirements file leads to a file")
    }
    if let file = try? PipFile(bytes, path: "pip.conf") {
        var settings = PipSettings()
        for (name, value) in file.general + file.install { try? settings.set(name, value, from: "pip.conf") }
        expect(settings.environment.allSatisfy { !$0.value.utf8.contains(10) }, "a setting of several lines")
        expect(!settings.index.utf8.contains(10), "an address of several lines")
    }
    _ = try? RegistryMirrors(bytes)
}

private func readImageName(_ bytes: [UInt8]) {
    let text = String(decoding: bytes, as: UTF8.self)
    if let name = ImageName(text) {
        expect(ImageName(fileName: name.fileName) == name, "the image name \(text) does not come back from its file")
        expect(ImageName(name.description) == name, "the image name \(text) does not come back")
    }
    _ = try? RegistryReference(text, to: "pull")
    _ = try? RegistryReference.host(text)
    _ = try? ImageReference(text)
    _ = try? Platform(asked: text)
    _ = Digest(text)
    _ = DebianSources.stanzas(text)
    _ = DebianSources.isOf("stable", text)
    if let command = ScriptImage.parse(bytes) {
        expect((1...2).contains(command.count) && !command.contains(""), "the command of a script")
        // What the kernel would make of it: the words stand in it as they are.
        let line = bytes.dropFirst(2).prefix { $0 != 10 }
        let length = command.reduce(0) { $0 + $1.utf8.count }
        expect(length <= line.count * 3, "a script's command has more than its line")
    }
}

/// Records and notes in the storage folder, which a disk may have torn and anybody with its rights edited.
func readRecord(_ bytes: [UInt8]) {
    let storage = Storage(data: "/nonexistent/data", runtime: "/nonexistent/run")
    _ = EventJournal.base(bytes)
    _ = LogReader.parse(bytes)
    _ = OutputState(bytes).map(\.bytes)
    if let base = try? WorkspaceBase(bytes: bytes) { _ = base.bytes }
    let text = String(decoding: bytes, as: UTF8.self)
    if let time = Timestamp.nanoseconds(text) {
        expect(Timestamp.nanoseconds(Timestamp.exact(time)) == time, "the time \(text) does not come back")
    }
    if let state = try? BundleState(text) {
        expect((try? BundleState(state.json.text())) == state, "a bundle's state does not come back")
        _ = state.shown(.stopped)
    }
    guard let json = document(bytes) else { return }
    if let run = RunningContainer(id: "0123456789abcdef", json, hasBegun: true) { _ = run.command }
    if let object = try? JSONObject(json, at: "") { _ = try? ProcessIdentity.decode(object) }
    if let policy = try? JSONObject(json, at: "").object("log") { _ = try? LogPolicy(policy) }
    readConfiguration(json, storage)
    guard let record = try? ContainerRecord(json) else { return }
    let again = try? ContainerRecord(record.document)
    expect(again?.document == record.document, "a container's record does not come back")
    readConfiguration(record.configuration, storage)
    if let change = try? ConfigurationChange(json["change"] ?? .null) {
        _ = try? change.applied(to: record, storage: storage)
    }
}

private func readConfiguration(_ json: JSON, _ storage: Storage) {
    guard let read = try? ContainerConfiguration(json, name: "fuzz", labels: [], storage: storage) else { return }
    let again = try? ContainerConfiguration(read.document, name: "fuzz", labels: [], storage: storage)
    expect(again?.document == read.document, "a configuration does not come back")
}

/// A seccomp profile, compiled; the short program must answer as the kernel would run it: to every call.
func readSeccomp(_ bytes: [UInt8]) {
    guard let json = document(bytes), let profile = try? SeccompProfile(json) else { return }
    for capabilities in [CapabilitySet.all, []] {
        let there = SeccompCompiler.Circumstances(
            capabilities: capabilities, architecture: Machine.architecture, kernel: KernelVersion(6, 12))
        guard let program = try? SeccompCompiler.compile(profile, for: there) else { continue }
        for number in [0, 1, 59, 231, 435, 1000, Int32.max, Int32.min] {
            let call = SystemCallData(
                number: number, architecture: SeccompBuilder.nativeArchitecture, arguments: [0, 1, 2, 3, 4, .max])
            expect(program.answer(to: call) != nil, "no answer to \(call.name)")
            _ = program.refusal(of: call)
        }
    }
}
