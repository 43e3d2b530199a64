public import Images
public import LinuxKernel
internal import Sandbox

/// Installing the packages of a `requirements.txt`: what pip brings and runs (a package's own `setup.py`) is nobody's
/// whom a person knows, so that it is a step of a build, in a sandbox.
extension RunConfiguration {
    /// Nanoseconds after which pip has hung: its own patience is some minutes an address.
    private static let longest: Int64 = 3_600_000_000_000

    /// Makes pip what this sandbox runs. It reads nothing of the machine's but folders of packages and certificates that
    /// a person named, and has the machine's network where packages come from elsewhere.
    public mutating func install(_ file: RequirementsFile, _ settings: PipSettings) throws(Problem) {
        entrypoint = ["/bin/sh", "-c", Requirements.script, "sh"] + file.pieces
        arguments = []
        readOnly = false
        wallTime = RunConfiguration.longest
        request.network = Requirements.needsNetwork(file, settings) ? .host : NetworkMode.none
        for (name, value) in Requirements.environment(request.network == .host) + settings.environment {
            request.environment.removeAll { $0.utf8.starts(with: "\(name)=".utf8) }
            request.environment.append("\(name)=\(value)")
        }
        for (number, path) in settings.links.enumerated() {
            try show(path, at: PipSettings.place(number), "pip's find-links \(path)")
        }
        if let path = settings.authority {
            try show(path, at: PipSettings.authorityPlace, "pip's certificates \(path)")
        }
        // Of now: an image's own are those of the place where it was made.
        if request.network == .host { request.showResolver() }
    }

    private mutating func show(_ path: String, at target: String, _ what: String) throws(Problem) {
        let status = try explaining("cannot use \(what)") { () throws(KernelError) in
            try Descriptor.status(ofPath: path)
        }
        guard status.kind == .folder || status.kind == .file else {
            throw Problem("cannot use \(what)", "it is neither a folder nor a file", hint: "pip config list shows it")
        }
        var volume = Volume(source: HostPath(Preparation.absolute(path), status), target: target)
        volume.readOnly = true
        request.volumes.append(volume)
    }
}

public enum Requirements {
    public static func needsNetwork(_ file: RequirementsFile, _ settings: PipSettings) -> Bool {
        file.namesAddresses || !settings.isLocal
    }

    /// What pip is not to do, and the way to its index: nothing of it comes from the requirements.
    static func environment(_ network: Bool) -> [(name: String, value: String)] {
        var list = [
            ("PIP_CONFIG_FILE", "/dev/null"), ("PIP_NO_INPUT", "1"), ("PIP_NO_CACHE_DIR", "1"),
            ("PIP_DISABLE_PIP_VERSION_CHECK", "1"), ("PIP_ROOT_USER_ACTION", "ignore"), ("PIP_PROGRESS_BAR", "off"),
            // Debian keeps its own packages from pip; here a layer of its own takes what pip does.
            ("PIP_BREAK_SYSTEM_PACKAGES", "1"),
        ]
        guard network else { return list }
        for name in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"].flatMap({ [$0, $0.lowercased()] }) {
            if let value = Machine.environment(name), !value.isEmpty { list.append((name, value)) }
        }
        return list
    }

    /// Where it works is on the layer, and not in /tmp, which is small and at strict runs nothing. Of an image without
    /// pip it takes the one that Debian's python3-venv brings. A shell waits for what it runs before it looks at a
    /// signal, but not behind `wait`: with the shell all of the sandbox ends.
    static let script = """
        set -eu
        umask 022
        work=/var/tmp/codex32-pip
        mkdir -p /var/tmp
        mkdir -m 700 "$work"
        trap 'rm -rf "$work"' EXIT
        trap 'exit 130' INT
        trap 'exit 143' HUP TERM
        export HOME="$work" TMPDIR="$work"
        printf %s "$@" > "$work/requirements.txt"
        cd "$work"
        set -- python3 -m pip
        if ! "$@" --version > /dev/null 2>&1; then
            for wheel in /usr/share/python-wheels/pip-*.whl; do set -- python3 "$wheel/pip"; done
            if [ ! -e "${2%/pip}" ]; then
                echo 'the image has no pip' >&2
                exit 127
            fi
        fi
        "$@" install -r requirements.txt &
        wait $!
        """
}

extension RequirementsFile {
    func failed(_ status: Int32, _ settings: PipSettings) -> Problem {
        let hint: String
        switch status {
        case 127: hint = "the image needs python3 and pip, as template:python has them"
        case 124: hint = "pip did not end in an hour"
        default:
            let reached = Requirements.needsNetwork(self, settings) ? "from \(settings.index)" : "without a network"
            hint = "pip's own words stand above; it looked for packages \(reached)"
        }
        return Problem("cannot install the packages of \(path)", "pip ended with status \(status)", hint: hint)
    }
}
