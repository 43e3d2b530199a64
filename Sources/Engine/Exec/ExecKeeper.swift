public import LinuxKernel

/// `exec -i -t --detach-keys`: two processes, so that one can end and the other stay.
///
/// A program of `exec` is the child of the process that holds its terminal, and ends with it. Whoever typed the keys has
/// his shell back when the process ends that the shell knows. So that one only waits: a second one, the keeper, is the
/// program's parent. It ends with the first, until the keys are typed; from then on it goes on without a terminal of its
/// own, takes what the program writes, and ends with it.
public enum ExecKeeper {
    public static let verb = "exec-kept"

    // MARK: The first process

    /// Waits for the keeper's end, and returns its exit status; 0 when the keys were typed.
    /// - Parameter words: those of `exec`, as they were given.
    public static func run(_ words: [String]) throws(Problem) -> Int32 {
        let what = "cannot watch the program"
        Machine.setDumpable(false)
        return try explaining(what) { () throws(KernelError) in
            let signals = try SignalQueue(Signal.forwarded + [Signal.windowChanged])
            let pipe = try Descriptor.pipe()
            let told = Descriptor(owning: pipe.read)
            let helper: HelperProcess
            do {
                let telling = Descriptor(owning: pipe.write)
                helper = try HelperProcess(
                    words: [verb, String(Machine.pid), String(telling.number)] + words, input: 0, output: 1,
                    keep: [telling.number], environment: Machine.environment)
            }
            let events = try EventQueue()
            try events.add(told.number, token: 1)
            try events.add(signals.descriptor.number, token: 2)
            while true {
                for event in try events.wait() {
                    if event.token == 2 {
                        while let number = signals.next() { helper.signal(number) }
                        continue
                    }
                    guard try told.readPrefix(1).isEmpty else {
                        helper.letGo()
                        return 0
                    }
                    return try helper.wait()
                }
            }
        }
    }

    // MARK: The keeper

    /// What the keeper has of the first process: the right to tell it that it may end.
    public struct Link: ~Copyable {
        private let pipe: Descriptor

        /// - Returns: the words of `exec` are the rest.
        /// - Throws: it was not started by ``run(_:)``, or the first process has ended already.
        public init(_ words: [String]) throws(Problem) {
            guard words.count > 2, let parent = Int32(words[0]), let number = Int32(words[1]), number > 2 else {
                throw Problem(
                    "cannot use \(ExecKeeper.verb)", "it is for codex32 itself", hint: "codex32 exec --detach-keys")
            }
            let pipe = Descriptor(owning: number)
            try explaining("cannot run a program") { () throws(KernelError) in try Machine.dieWith(parent: parent) }
            self.pipe = pipe
        }

        /// Keeps the pipe from what this process starts. Not before it is where it stays: it may have to run itself
        /// anew, from where no container can write to it, and needs the pipe there.
        func settle() throws(Problem) {
            try explaining("cannot run a program") { () throws(KernelError) in try pipe.setCloseOnExec() }
        }

        /// Goes on alone: without the terminal, in a session of its own, and with nobody to end with.
        func part() {
            Machine.goOnAlone()
            try? pipe.write("d")
        }
    }
}
