internal import Engine
internal import Images
internal import LinuxKernel
internal import Sandbox

/// What an image of the store says of how it runs stands where the caller said nothing, as with Docker.
extension RunDraft {
    /// Finds out what `--image` means, once all options are read.
    mutating func meetImage() throws(Problem) {
        guard let image else { return }
        let data = try Storage.current(option: storage).data
        var reference: ImageReference
        if let digest = try pull.apply(to: image, data: data, platform, quiet: quiet) {
            // By a digest it may be the index that was named.
            reference = .stored(StoredImage(name: image, digest: digest))
        } else {
            reference = try ImageReference.asked(image, data: data)
        }
        if case .path(let path) = reference, platform == nil, let script = try scriptImage(path) {
            reference = .stored(script)
        }
        self.reference = reference
        guard case .stored(let meant) = reference else {
            guard platform == nil else {
                throw Problem(
                    "cannot use --platform", "\(image) is no image of the store", hint: "leave --platform out")
            }
            return
        }
        let store = ImageStore(data: data)
        let stored = try store.image(meant.digest)
        self.reference = .stored(
            StoredImage(name: meant.name, digest: meant.digest, known: stored, isScript: meant.isScript))
        let config = stored.config
        guard (platform ?? .machine).takes(config.platform) else {
            throw Problem(
                "cannot use the image \(image)", "it is for \(config.platform), and not \(platform ?? .machine)",
                hint: "--platform \(config.platform) takes it, where this machine can run its programs")
        }
        imageConfig = config
        // A script's own is beside it.
        let usual = meant.isScript ? ScriptImage.folder : config.workingFolder
        workingFolder = workingFolder ?? workspace?.target ?? usual
        let roots = store.layerFolders(stored)
        if user == nil, !config.user.isEmpty {
            do throws(Problem) {
                request.user = try UserValue.parse(config.user, roots: roots, hint: UserValue.hint)
            } catch {
                throw Problem(
                    "cannot use the image's own user \(config.user)", error.why,
                    hint: "-u 0 runs it as root, -u 1000:1000 as a number")
            }
        }
        var merged: [(name: String, value: String)] = []
        for word in config.environment {
            let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            merged.removeAll { $0.name == parts[0] }
            merged.append((parts[0], parts[1]))
        }
        var person = request.user
        if let user { person = try UserValue.parse(user, roots: roots, hint: UserValue.hint) }
        if !merged.contains(where: { $0.name == "HOME" }), request.level != .minimal || levelWasChosen,
            let home = UserValue.home(person.uid, roots)
        {
            merged.append(("HOME", home))
        }
        for (name, value) in environment {
            merged.removeAll { $0.name == name }
            merged.append((name, value))
        }
        environment = merged
        for volume in config.volumes {
            let target = try Value.inside(volume, option: "the image's volume")
            let taken = request.volumes.map(\.target) + request.temporary.map(\.target) + ownVolumes
            if !taken.contains(target) { ownVolumes.append(target) }
        }
        if stopSignal == nil, let text = config.stopSignal {
            guard let number = Signal.number(text) else {
                throw Problem(
                    "cannot use the image's stop signal \(text)", "it is no signal",
                    hint: "--stop-signal chooses another")
            }
            stopSignal = number
        }
    }

    /// Labels and health check of the image, for a container that outlives its command.
    func withImage(_ configuration: inout ContainerConfiguration) {
        guard let imageConfig else { return }
        let own = Set(configuration.labels.map(\.key))
        configuration.labels =
            imageConfig.labels.filter { !own.contains($0.name) }.map { ($0.name, $0.value) } + configuration.labels
    }

    /// The caller's times with the image's command; the image's own where the caller has none.
    var health: HealthCheck? {
        guard let check = imageConfig?.health, !check.command.isEmpty else { return life.health }
        if let asked = life.health {
            guard asked.command.isEmpty else { return asked }
            var health = asked
            health.command = check.command
            return health
        }
        var health = HealthCheck(command: check.command)
        health.interval = check.interval ?? health.interval
        health.timeout = check.timeout ?? health.timeout
        health.startPeriod = check.startPeriod ?? health.startPeriod
        health.retries = check.retries ?? health.retries
        return health
    }
}
