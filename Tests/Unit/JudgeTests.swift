import Testing

@testable import Attacks

/// From what a run left behind to what it means.
@Suite struct JudgeTests {
    private func judge(_ name: String, _ run: Judge.Run, inSandbox: Bool = true) -> Outcome {
        Judge.outcome(Corpus.named(name)!, run, secret: "secret-1", inSandbox: inSandbox)
    }

    private func said(_ line: String, status: Int32? = 0) -> Judge.Run {
        Judge.Run(status: status, output: line + "\n")
    }

    @Test func aProgramsWord() {
        #expect(judge("mount", said("mount\tstopped\tmount: EPERM")) == Outcome(.stopped, "mount: EPERM"))
        #expect(judge("mount", said("mount\tsucceeded\ta mount")).kind == .succeeded)
        #expect(judge("mount", said("mount\timpossible\tnothing here")).kind == .impossible)
    }

    @Test func theSecretCountsWhateverIsSaid() {
        #expect(judge("plain-path", said("plain-path\tread\tsecret-1")).kind == .succeeded)
        #expect(judge("plain-path", said("plain-path\tstopped\tsecret-1")).kind == .succeeded)
        #expect(judge("plain-path", said("plain-path\tread\tother text")).kind == .stopped)
        #expect(judge("image-dev-link", Judge.Run(status: 1, errors: "cat: secret-1")).kind == .succeeded)
    }

    @Test func aChangeCountsWhateverIsSaid() {
        var run = said("mount\tstopped\tmount: EPERM")
        run.change = "sentinel: file new"
        #expect(judge("mount", run).kind == .succeeded)
    }

    @Test func whatIsRefusedIsStopped() {
        let refused = Judge.Run(status: 125, errors: "codex32: cannot use -u 4294967296: too large\nhint: no\n")
        #expect(judge("user-overflow", refused) == Outcome(.stopped, "cannot use -u 4294967296: too large"))
        #expect(judge("image-proc-link", refused).kind == .stopped)
        #expect(judge("user-overflow", said("RAN")).kind == .succeeded)
        #expect(judge("user-overflow", Judge.Run(status: 0)).kind == .failed)
    }

    /// A sandbox that does not start is no wall: nothing is known then.
    @Test func aSandboxThatDoesNotStartStopsNothing() {
        #expect(judge("mount", Judge.Run(status: 125, errors: "codex32: no space\n")).kind == .failed)
        #expect(judge("mount", Judge.Run(status: 0)).kind == .failed)
        #expect(judge("mount", Judge.Run(status: nil)).kind == .failed)
    }

    @Test func endedByTheKernel() {
        #expect(judge("memory", Judge.Run(status: 137)) == Outcome(.stopped, "ended by signal 9"))
    }

    @Test func survivorsFloodsAndEscapes() {
        var run = said("run-away\tread\tdaemon")
        #expect(judge("run-away", run).kind == .stopped)
        run.survivor = true
        #expect(judge("run-away", run).kind == .succeeded)
        #expect(judge("run-away", said("run-away\tstopped\tfork: EAGAIN")).kind == .failed)
        #expect(judge("flood", Judge.Run(status: 143, outputBytes: 65536)).kind == .stopped)
        #expect(judge("flood", Judge.Run(status: 0, outputBytes: 524_288)).kind == .succeeded)
        #expect(judge("escape-sequence", Judge.Run(status: 125, errors: "\u{1b}[2J")).kind == .succeeded)
        #expect(judge("escape-sequence", Judge.Run(status: 125, errors: "\\u{1b}[2J")).kind == .stopped)
    }

    @Test func ofSeveralRunsTheWorstCounts() {
        let stopped = Outcome(.stopped, "")
        #expect(Judge.worst([stopped, Outcome(.failed, ""), stopped]).kind == .failed)
        #expect(Judge.worst([stopped, Outcome(.failed, ""), Outcome(.succeeded, "")]).kind == .succeeded)
        #expect(Judge.worst([]).kind == .failed)
    }
}
