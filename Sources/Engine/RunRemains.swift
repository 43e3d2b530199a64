internal import LinuxKernel

/// What a foreground run could not take away at its end: its layer, its volumes, its cgroup.
///
/// The program's own status is the command's all the same. The run's entry then stays, with no owner: whoever sweeps
/// next (``Sweep``) tries again, and until it has worked nothing forgets what is there.
struct RunRemains {
    private let id: String
    private var problems: [Problem] = []

    init(id: String) { self.id = id }

    /// Takes one thing away; a failure is kept, and the rest goes on.
    mutating func take(_ removal: () throws(Problem) -> Void) {
        do throws(Problem) { try removal() } catch { problems.append(error) }
    }

    /// Tells a person; false: there is nothing to tell.
    func tell(_ report: (String) -> Void) -> Bool {
        for problem in problems {
            report("\(problem.what.quotedForTerminal) of the run \(id): \(problem.why.quotedForTerminal)")
        }
        if !problems.isEmpty { report("hint: codex32 system recover tries again, and so does the next run") }
        return !problems.isEmpty
    }
}
