internal import LinuxKernel
internal import OCISpec

/// One health check as a process of its own: the supervisor starts it and goes on, whatever the container does to
/// the check meanwhile.
///
/// `codex32 check DATA RUNTIME ID`: a verb that nobody types. It is `exec` with the container's health command.
public enum HealthProcess {
    public static let verb = "check"

    /// The check. Returns its exit status, 124 when it took too long, 125 when it could not be made.
    public static func main(_ words: [String]) -> Int32 {
        guard words.count == 3, ContainerID.isValid(words[2]) else {
            StandardStream.error.print("codex32: \(verb) is for codex32 itself: use health\n")
            return 125
        }
        do throws(Problem) {
            Machine.setDumpable(false)
            let containers = Containers(Storage(data: words[0], runtime: words[1]))
            let record = try containers.store.open(id: words[2]).written()
            var configuration: ExecConfiguration
            do throws(DocumentError) {
                guard let object = try JSONObject(record.configuration, at: "configuration").object("health") else {
                    throw DocumentError("configuration.health", "is missing")
                }
                let check = try HealthCheck(object)
                configuration = ExecConfiguration(command: check.command)
                configuration.timeLimit = check.timeout
            } catch { throw Problem("cannot check the health of \(record.name)", error.description) }
            return try containers.run(configuration, in: record, try Exec.Ground(record, containers.storage))
        } catch {
            StandardStream.error.print("codex32: \(error)\n")
            return error.status
        }
    }
}

/// A check that is under way.
final class HealthRun {
    let child: Child
    /// What it writes.
    let pipe: Owned<Descriptor>
    /// Nanoseconds since 1970.
    let startedAt = Clock.realtime
    private(set) var output: [UInt8] = []
    private var isOpen = true

    /// Starts it, as a child that ends when this process does.
    init(_ id: String, _ storage: Storage) throws(Problem) {
        let what = "cannot check the health of \(id)"
        let ends = try explaining(what) { () throws(KernelError) in try Descriptor.pipe() }
        let reading = Descriptor(owning: ends.read)
        let writing = Descriptor(owning: ends.write)
        let null = try explaining(what) { () throws(KernelError) in
            try reading.setNonblocking(true)
            return try Descriptor.open("/dev/null", [.readWrite])
        }
        let input = LaunchInput(
            namespaces: [], steps: [.execute], slotCount: 0,
            standard: (null.number, writing.number, writing.number), terminal: false,
            candidates: ["/proc/self/exe"],
            arguments: ["codex32", HealthProcess.verb, storage.data, storage.runtime, id],
            environment: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"])
        child = try explaining(what) { () throws(KernelError) in
            let child = try Child.launch(input, sources: SlotNumbers(), cgroup: nil)
            try child.go()
            return child
        }
        pipe = Owned(reading)
    }

    /// Takes what it wrote by now: the beginning is kept, the rest read and dropped, so that the check goes on.
    /// False: it will write nothing more.
    func read() -> Bool {
        while isOpen {
            do {
                let bytes = try pipe.value.readPrefix(16384)
                if bytes.isEmpty { isOpen = false }
                output += bytes.prefix(HealthReport.outputBytes - output.count)
                // One at a time: a check that floods does not keep the supervisor from the program.
                if bytes.count == 16384 { return true }
            } catch {
                if error.number == Errno.wouldBlock { return true }
                isOpen = false
            }
        }
        return false
    }
}
