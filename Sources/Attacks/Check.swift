public import LinuxKernel
internal import OCISpec
public import Sandbox

/// `codex32 selftest` without attacks: whether every level does its work here.
public struct Check: Sendable {
    public let name: String
    /// nil: it is so; otherwise what went wrong.
    public let problem: String?

    /// - Parameters:
    ///   - folder: where its folder is made.
    ///   - waived: what strict starts without.
    /// - Returns: for each level its checks, in the same order.
    public static func run(
        folder: String, levels: [IsolationLevel], waived: [String]
    ) throws(Problem) -> [(level: IsolationLevel, checks: [Check])] {
        let place = try Place(in: folder)
        let runner = Runner(place.path, secret: place.secret, waived: waived)
        var results: [(IsolationLevel, [Check])] = []
        do {
            for level in levels { results.append((level, try all(level, runner, place))) }
        } catch {
            try? place.remove()
            throw error
        }
        try place.remove()
        return results
    }

    private static func all(
        _ level: IsolationLevel, _ runner: Runner, _ place: borrowing Place
    ) throws(Problem) -> [Check] {
        var checks: [Check] = []
        let plain = try runner.plain(level)
        checks.append(Check("a program runs, and its status comes back", plain.status == 7 ? nil : plain.told))
        guard plain.status == 7 else { return checks }

        let (verdict, receipt) = ("\(place.path)/verdict.json", "\(place.path)/receipt.json")
        let done = try runner.run(level, ["--result-file", verdict, "--receipt", receipt], ["sh", "-c", "exit 3"])
        let ended = file(verdict)
        let isTold = ended?["reason"] == .string("exited") && ended?["exitCode"] == .integer(3)
        checks.append(Check("the verdict says how it ended", isTold ? nil : ended?.text() ?? done.told))
        let read = file(receipt)
        let isInForce = read?["noNewPrivileges"] == .bool(true) && read?["seccomp"]?["mode"] == .integer(2)
        checks.append(
            Check(
                "no_new_privs and seccomp are in force, read back",
                isInForce ? nil : read?["seccomp"]?.text() ?? done.told))

        let volumes = ["-v", "\(place.path)/volume:/volume:rw", "-v", "\(place.path)/read-only:/read-only:ro"]
        let shared = try runner.run(
            level, volumes, ["sh", "-c", "echo in >/volume/new && cat /read-only/file && ! echo x >/read-only/new"])
        let written = (try? Descriptor.contents(of: "\(place.path)/volume/new")) == "in\n"
        checks.append(
            Check(
                "volumes are as asked",
                shared.status == 0 && shared.output == "as it was\n" && written ? nil : shared.told))

        let late = try runner.run(level, ["--timeout", "300ms", "--stop-timeout", "1"], ["sleep", "1000"])
        checks.append(Check("a time limit ends it", late.status == 124 ? nil : late.told))

        checks.append(Check("a container lives and is gone", try life(level, runner)))
        if let change = place.change() { checks.append(Check("nothing outside has changed", change)) }
        return checks
    }

    /// create, start, exec, logs, stop, remove.
    private static func life(_ level: IsolationLevel, _ runner: Runner) throws(Problem) -> String? {
        let name = "selftest-\(level.rawValue)"
        let steps: [(words: [String], expected: String?)] = [
            (
                ["create", "--name", name, "--isolation", level.rawValue, "--stop-timeout", "1", "--timeout", "60s"]
                    + runner.waivers(level)
                    + ["--image", "template:busybox", "--", "sh", "-c", "echo up; exec sleep 1000"], nil
            ),
            (["start", name], nil), (["exec", name, "echo", "inside"], "inside\n"), (["logs", name], "up\n"),
            (["stop", name], nil), (["remove", name], nil),
        ]
        var problem: String?
        for step in steps {
            let done = try runner.verb(step.words)
            // The log's first line may be on its way yet.
            let isThere = step.expected.map { done.output == $0 || (step.words[0] == "logs" && done.output.isEmpty) }
            if done.status != 0 || isThere == false {
                problem = "\(step.words[0]): \(done.told)"
                break
            }
        }
        if problem != nil { _ = try runner.verb(["remove", "-f", name]) }
        let left = try runner.verb(["list", "-a", "-q"])
        return problem ?? (left.output.isEmpty ? nil : "it is still listed")
    }

    private static func file(_ path: String) -> JSON? {
        guard let text = try? Descriptor.contents(of: path) else { return nil }
        return try? JSONReader.read(Array(text.utf8))
    }

    init(_ name: String, _ problem: String?) {
        self.name = name
        self.problem = problem
    }
}

extension OutsideProcess {
    /// What it said, for a person.
    var told: String {
        let lines = errors.split(separator: "\n").prefix(2).map(String.init)
        let status = status.map { "status \($0)" } ?? "it never ended"
        return lines.isEmpty ? status : lines.joined(separator: "; ")
    }
}
