public import LinuxKernel
internal import OCISpec

extension Containers {
    /// The result of one health check.
    public struct Health: Sendable {
        /// What the container is by now: "starting", "healthy" or "unhealthy".
        public let status: String
        /// Of this check; 0: the program is well, 124: it took too long, 125: it could not be made.
        public let exitStatus: Int32
        /// The beginning of what it wrote.
        public let output: String
        /// Failures in a row that count.
        public let failures: Int64

        public var passed: Bool { exitStatus == 0 }
    }

    /// Checks the health of a container that runs, now. The result counts like that of any other check.
    public func checkHealth(_ reference: String) throws(Problem) -> Health {
        let answer = try ask(try store.find(reference), to: "check the health of", "health")
        guard case .string(let status)? = answer["status"], case .integer(let exit)? = answer["exitStatus"] else {
            throw Problem("cannot understand the supervisor", "it told no result")
        }
        var output = ""
        if case .string(let text)? = answer["output"] { output = text }
        var failures: Int64 = 0
        if case .integer(let number)? = answer["failingStreak"] { failures = number }
        return Health(status: status, exitStatus: Int32(clamping: exit), output: output, failures: failures)
    }
}
