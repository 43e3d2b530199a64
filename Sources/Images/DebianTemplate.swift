internal import LinuxKernel

/// A root file system from Debian's packages, by mmdebstrap(1), as root or in a user namespace of
/// the caller's subordinate ids.
///
/// Packages are kept in a cache folder from one try to the next: what was fetched is not fetched again.
enum DebianTemplate {
    static func build(
        into path: String, suite: String, packages: [String], cache: String, log: String, progress: (String) -> Void
    ) throws(Problem) {
        let what = "cannot build a Debian root file system"
        guard let program = HostProgram.find("mmdebstrap") else {
            throw Problem(what, "mmdebstrap is not installed", hint: "apt-get install mmdebstrap")
        }
        progress(
            "building a root file system of Debian \(suite) with \(packages.joined(separator: ", ")): a minute or two")
        _ = try explaining(what) { () throws(KernelError) in try makeFolders(cache) }
        let output = try explaining(what) { () throws(KernelError) in
            try Descriptor.open(log, [.readWrite, .create, .truncate, .noFollow])
        }
        let arguments = [
            "mmdebstrap", Machine.isRoot ? "--mode=root" : "--mode=unshare", "--variant=minbase",
            "--include=\(packages.joined(separator: ","))", "--format=directory",
            "--setup-hook=mkdir -p \"$1\"/var/cache/apt/archives/",
            "--setup-hook=sync-in '\(cache)' /var/cache/apt/archives/",
            "--customize-hook=sync-out /var/cache/apt/archives '\(cache)'", suite, path,
        ]
        let status = try explaining(what) { () throws(KernelError) in
            try HostProgram.run(
                program, arguments,
                environment: [
                    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8",
                    "HOME=\(Machine.environment("HOME") ?? "/root")",
                    "TMPDIR=\(Machine.environment("TMPDIR") ?? "/tmp")",
                ],
                output: output.number)
        }
        guard status == 0 else {
            throw Problem(
                what, "mmdebstrap failed with status \(status)",
                hint:
                    "it needs Debian's package servers; its own words are in \(log). What was fetched is kept: try again"
            )
        }
        progress("built \(path)")
    }
}
