internal import Sandbox

/// Ways into the kernel, and to other processes.
extension Corpus {
    /// In the place of an option's value: a profile without a wall, made for controls (``Place``).
    static let allowAll = "@allow-all@"

    static let kernel: [Attack] = [
        Attack(
            "reboot", .escape, "reboot(2)", success: "the machine's power", promised: .every, control: .outsideAsRoot),
        Attack(
            "kexec", .escape, "kexec_load(2)", success: "another kernel", promised: .every, control: .outsideAsRoot),
        Attack(
            "load-module", .escape, "init_module(2)", success: "code in the kernel", promised: .every,
            control: .outsideAsRoot),
        Attack(
            "load-module-file", .escape, "finit_module(2)", success: "code in the kernel", promised: .every,
            control: .outsideAsRoot),
        Attack("swap", .escape, "swapon(2)", success: "the machine's swap", promised: .every, control: .outsideAsRoot),
        Attack(
            "accounting", .escape, "acct(2)", success: "a record of every process of the machine", promised: .every,
            control: .outsideAsRoot),
        Attack(
            "set-clock", .escape, "adjtimex(2)", success: "the machine's clock", promised: .every,
            control: .outsideAsRoot),
        Attack(
            "port-access", .escape, "iopl(2)", success: "the hardware", promised: .every, control: .outsideAsRoot),
        Attack("bpf", .escape, "bpf(2)", success: "programs in the kernel", promised: .every, control: .outsideAsRoot),
        Attack(
            "perf-event", .escape, "perf_event_open(2)", success: "side channels, and a long list of flaws",
            promised: .ownRoot, control: .outside),
        Attack(
            "io-uring", .escape, "io_uring, whose requests no filter sees", success: "calls past the filter",
            promised: .ownRoot, control: .outside),
        Attack(
            "userfaultfd", .escape, "userfaultfd(2), which wins the kernel's races",
            success: "the kernel waits at will",
            promised: .ownRoot, control: .outside),
        Attack(
            "keyring", .escape, "the user's keyring", success: "keys that are not the sandbox's", promised: .ownRoot,
            control: .outside),
        Attack(
            "add-key", .escape, "add_key(2)", success: "kernel memory and its code for keys", promised: .ownRoot,
            control: .outside),
        Attack(
            "personality", .escape, "a personality that weakens the memory's layout", success: "exploits get easier",
            promised: .ownRoot, control: .outside),
        Attack(
            "seccomp-listener", .escape, "a filter that hands its decisions on", success: "calls held up and answered",
            promised: .strictOnly, control: .outside),
        Attack(
            "realtime", .exhaustion, "a priority above everybody", success: "a CPU of its own", promised: .ownRoot,
            control: .outsideAsRoot),
        Attack(
            "high-priority", .exhaustion, "nice -20", success: "more than its share", promised: .ownRoot,
            control: .outsideAsRoot),
        Attack(
            "raise-limit", .exhaustion, "a resource limit raised above what was given", success: "the limit is gone",
            promised: .ownRoot, control: .outsideAsRoot),
        Attack(
            "never-killed", .exhaustion, "out of the way of the OOM killer", success: "others are killed for it",
            promised: .ownRoot, control: .outsideAsRoot),
    ]

    static let processes: [Attack] = [
        Attack(
            "signal-outside", .escape, "kill(2) at a process outside", success: "it can be ended", promised: .every,
            control: .outside),
        Attack(
            "signal-by-pidfd", .escape, "the same by pidfd", success: "it can be ended", promised: .every,
            control: .outside),
        Attack(
            "trace-outside", .escape, "ptrace(2) of a process outside", success: "it is the attacker's",
            promised: .every, control: .outside),
        Attack(
            "trace-own", .escape, "ptrace(2) at all", success: "a large part of the kernel in reach",
            promised: .strictOnly, control: .outside),
        Attack(
            "read-memory", .escape, "memory of a process outside", success: "its secrets", promised: .every,
            control: .outside, evidence: .secret),
        Attack(
            "steal-descriptor", .escape, "pidfd_getfd(2) at a process outside", success: "its open files",
            promised: .every, control: .outside, evidence: .secret),
        Attack(
            "memory-of-init", .escape, "/proc/1/mem, with codex32's own pid 1", success: "codex32's code is changed",
            promised: .ownRoot, control: .outside, options: [["--init"]]),
        Attack(
            "capabilities", .escape, "capabilities of any kind", success: "what root may do", promised: .strictOnly,
            control: .weakened(["--cap-add", "CHOWN"], .strict, root: false)),
        Attack(
            "inheritable-capabilities", .escape, "CVE-2022-29162: capabilities for whatever is executed",
            success: "they come back by a file's own", promised: .every, control: .outsideAsRoot),
        Attack(
            "new-privileges", .escape, "CVE-2026-41163: rights by a setuid program", success: "root's",
            promised: .every, control: .outside),
        Attack(
            "run-away", .escape, "a daemon that leaves its parent, session and terminal",
            success: "it outlives the run",
            promised: .every, control: .outside, evidence: .survivor),
    ]

    static let doors: [Attack] = [
        Attack(
            "i386-calls", .escape, "32-bit calls past a 64-bit filter", success: "a user namespace",
            promised: .ownRoot, control: .outside),
        Attack(
            "x32-calls", .escape, "x32 calls past a filter", success: "a user namespace", promised: .ownRoot,
            control: .outside),
        Attack(
            "vsyscall", .escape, "a call by the vsyscall page, past a filter that refuses it",
            success: "the call is carried out", promised: .every, control: .outside,
            options: [["--seccomp", "@place@/no-time.json"]]),
        Attack(
            "tiocsti", .escape, "CVE-2017-5226: typing into the caller's terminal",
            success: "the caller's next command", promised: .every, control: .outsideAsRoot),
        Attack(
            "tiocsti-wide", .escape, "CVE-2019-7303: the same past a 64-bit comparison",
            success: "the caller's next command", promised: .every, control: .outsideAsRoot),
        Attack(
            "tioclinux", .escape, "pasting into a console", success: "the caller's next command", promised: .every,
            control: .outside),
    ]
}
