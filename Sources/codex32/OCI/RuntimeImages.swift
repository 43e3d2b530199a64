internal import Engine
internal import LinuxKernel

/// The options of `oci checkpoint` and `oci restore`, by the names that runc gave them and its callers use.
enum RuntimeImages {
    static func options(_ verb: String) -> [Option<RuntimeVerb.Draft>] {
        var options: [Option<RuntimeVerb.Draft>] = [
            .option("--image-path", value: "FOLDER", help: "CRIU's images; default: ./checkpoint") {
                $0.images.folder = $1
            },
            .option("--work-path", value: "FOLDER", help: "where CRIU writes its log; default: beside its images") {
                $0.images.work = $1
            },
            passed("--tcp-established", help: "with open TCP connections"),
            passed("--ext-unix-sk", help: "with Unix sockets whose other end is outside"),
            passed("--shell-job", help: "with a terminal that is not the container's"),
            passed("--file-locks", help: "with locks on files"),
        ]
        if verb == "checkpoint" {
            options.append(
                .flag("--leave-running", help: "let it run on afterwards") { $0.images.leaveRunning = true })
        } else {
            options.append(
                .flag("-d", "--detach", help: "return when it runs; there is no other way yet") { $0.detach = true })
        }
        return options
    }

    private static func passed(_ name: String, help: String) -> Option<RuntimeVerb.Draft> {
        .flag(name, help: help) { $0.images.passed.append(name) }
    }

    /// Podman asks by `checkpoint --help` whether there is one: without CRIU the answer is a failure.
    static func check(_ verb: String) throws(Problem) {
        guard HostProgram.find("criu") == nil else { return }
        throw Problem("cannot \(verb) a container", "CRIU is not installed", hint: "apt-get install criu")
    }

    static func run(
        _ verb: String, _ runtime: BundleRuntime, _ id: String, _ draft: RuntimeVerb.Draft
    ) throws(Problem) {
        var images = draft.images
        images.folder = absolute(images.folder)
        images.work = images.work.map(absolute)
        guard verb == "restore" else { return try runtime.checkpoint(id, images) }
        guard draft.detach, draft.creation.consoleSocket == nil else {
            throw Problem(
                "cannot restore \(id)", draft.detach ? "terminals are not supported" : "--detach is missing",
                hint: "a container is restored in the background, on the streams of this command")
        }
        try runtime.restore(id, draft.creation, images)
    }

    /// CRIU is in other working folders meanwhile.
    private static func absolute(_ path: String) -> String {
        path.hasPrefix("/") ? path : "\(Machine.workingFolder)/\(path)"
    }
}
