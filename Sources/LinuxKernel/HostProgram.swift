internal import CShims
internal import Glibc

/// A program of the host that does something for codex32 itself: newuidmap, mmdebstrap.
public enum HostProgram {
    /// Where such programs are looked for. Not PATH: what runs with our rights is not the caller's choice.
    private static let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]

    public static func find(_ name: String) -> String? {
        folders.map { "\($0)/\(name)" }.first { codex_faccessat(AT_FDCWD, $0, X_OK, 0) == 0 }
    }

    /// Runs it to its end and returns its exit status, 128+n for a signal.
    ///
    /// - Parameter cgroup: the folder of a cgroup v2 that it and all that it starts are in.
    public static func run(
        _ path: String, _ arguments: [String],
        environment: [String] = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"],
        output: Int32 = -1, in folder: Int32 = -1, cgroup: Int32 = -1
    ) throws(KernelError) -> Int32 {
        let status = withCStrings(arguments) { argv in
            withCStrings(environment) { envp in codex_spawn_wait(path, argv, envp, output, folder, cgroup) }
        }
        try KernelError.check(status, "fork", path)
        let signal = status & 0x7f
        return signal == 0 ? (status >> 8) & 0xff : 128 + signal
    }
}

/// An array of C strings, ended by NULL, for the length of a call.
public func withCStrings<Result>(
    _ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
) -> Result {
    var pointers: [UnsafeMutablePointer<CChar>?] = strings.map { strdup($0) }
    pointers.append(nil)
    defer { for pointer in pointers { free(pointer) } }
    return pointers.withUnsafeBufferPointer { body($0.baseAddress!) }
}
