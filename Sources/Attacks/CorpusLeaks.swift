internal import Sandbox

/// What leaves, and what is found out.
extension Corpus {
    static let network: [Attack] = [
        Attack(
            "machine-tcp", .leak, "a service of the machine's on its loopback", success: "it answers",
            promised: .ownRoot, control: .outside, evidence: .secret),
        Attack(
            "abstract-socket", .escape, "CVE-2020-15257: a socket without a path", success: "it answers",
            promised: .ownRoot, control: .outside, evidence: .secret),
        Attack(
            "path-socket", .escape, "a socket with a path, as of a container daemon", success: "it answers",
            promised: .every, control: .outside, evidence: .secret),
        Attack(
            "passed-descriptor", .escape, "a descriptor that is passed over a socket, as daemons do",
            success: "a host file by way of it", promised: .ownRoot, control: .outside, evidence: .secret),
        Attack(
            "unix-out-of-band", .escape, "CVE-2025-38236: out-of-band data over a Unix socket",
            success: "a part of the kernel that led out of a browser's sandbox", promised: .strictOnly,
            control: .outside),
        Attack(
            "way-out", .leak, "exfiltration: a route to other machines", success: "data leaves", promised: .ownRoot,
            control: .outside),
        Attack(
            "system-v-memory", .leak, "the machine's System V shared memory", success: "it is read",
            promised: .ownRoot, control: .outside, evidence: .secret),
        Attack(
            "user-key", .leak, "a key of the caller's", success: "it is read", promised: .ownRoot, control: .outside,
            evidence: .secret),
        Attack(
            "netlink-route", .escape, "routes, addresses and interfaces by netlink", success: "they can be changed",
            promised: .ownRoot, control: .outsideAsRoot),
        Attack(
            "packets", .leak, "listening to the machine's packets", success: "passwords of others", promised: .ownRoot,
            control: .outsideAsRoot),
        Attack(
            "vsock", .escape, "AF_VSOCK: the hypervisor", success: "a socket", promised: .ownRoot, control: .outside),
        Attack(
            "kernel-crypto", .escape, "AF_ALG, as in CVE-2026-31431", success: "a socket", promised: .ownRoot,
            control: .outside),
        Attack(
            "netlink-audit", .escape, "the audit system", success: "a socket", promised: .strictOnly, control: .outside),
        Attack(
            "netlink-netfilter", .escape, "netfilter's netlink, with a long list of flaws", success: "a socket",
            promised: .strictOnly, control: .outside),
        Attack(
            "netlink-uevent", .escape, "events of devices", success: "a socket", promised: .strictOnly,
            control: .outside),
        Attack("xdp", .escape, "AF_XDP", success: "a socket", promised: .strictOnly, control: .outsideAsRoot),
        Attack(
            "raw-ip", .escape, "raw IP packets", success: "a socket", promised: .strictOnly, control: .outsideAsRoot),
    ]

    static let leaks: [Attack] = [
        Attack(
            "read-environments", .leak, "/proc/PID/environ of processes outside", success: "their secrets",
            promised: .every, control: .outside, evidence: .secret),
        Attack(
            "inherited-environment", .leak, "variables of the caller's", success: "its secrets", promised: .every,
            control: .outside, evidence: .secret),
        Attack(
            "see-processes", .leak, "other processes and their words", success: "who does what", promised: .every,
            control: .outside),
        Attack(
            "kernel-log", .leak, "the kernel's log", success: "addresses, and what others do", promised: .ownRoot,
            control: .outsideAsRoot),
        Attack(
            "kernel-addresses", .leak, "/proc/kallsyms", success: "where the kernel lies", promised: .ownRoot,
            control: .outsideAsRoot),
        Attack(
            "kernel-memory", .leak, "/proc/kcore", success: "all of the machine's memory", promised: .ownRoot,
            control: .outsideAsRoot),
        Attack(
            "timer-list", .leak, "/proc/timer_list and its like", success: "what others do", promised: .ownRoot,
            control: .outsideAsRoot),
        Attack(
            "firmware", .leak, "tables of the firmware, serial numbers", success: "which machine it is",
            promised: .ownRoot, control: .outsideAsRoot),
        Attack(
            "mount-table", .leak, "/proc/self/mountinfo", success: "what the machine has mounted, and where",
            promised: .ownRoot, control: .outside),
        Attack(
            "host-name", .leak, "the machine's name", success: "which machine it is", promised: .every,
            control: .outside),
    ]

    static let exhaustion: [Attack] =
        shares + [
            Attack(
                "fork-many", .exhaustion, "a fork bomb, up to a bound", success: "more processes than it may have",
                promised: .ownRoot, control: .outside, options: [["--pids-limit", "40"]], bound: 60),
            Attack(
                "memory", .exhaustion, "a memory balloon, up to a bound", success: "more memory than it may have",
                promised: .ownRoot, control: .outside, options: [["-m", "32m"]], bound: 64, needs: .memoryLimit),
            Attack(
                "fill-tmp", .exhaustion, "/tmp is memory: filled", success: "more than its size", promised: .ownRoot,
                control: .outside, options: [["--tmpfs", "/tmp:size=4m"]], bound: 8),
            Attack(
                "fill-shm", .exhaustion, "/dev/shm is memory: filled", success: "more than its size",
                promised: .ownRoot,
                control: .outside, options: [["--shm-size", "4m"]], bound: 8),
            Attack(
                "fill-dev", .exhaustion, "/dev is memory: filled", success: "more than its size", promised: .ownRoot,
                control: .outside, bound: 80),
            Attack(
                "fill-root", .exhaustion, "the disk behind the root, filled", success: "no room for others",
                promised: .strictOnly, control: .outside, bound: 8),
            Attack(
                "inodes", .exhaustion, "empty files without end", success: "kernel memory that no size counts",
                promised: .ownRoot, control: .outside, options: [["--tmpfs", "/tmp:size=1m"]], bound: 3000),
            Attack(
                "descriptors", .exhaustion, "open files without end", success: "more than its limit", promised: .every,
                control: .outside, options: [["--ulimit", "nofile=256"]], bound: 400),
            Attack(
                "timers", .exhaustion, "timers without end", success: "kernel memory without a bound", promised: .every,
                control: .outside, options: [["--ulimit", "sigpending=64"]], bound: 100),
            Attack(
                "message-queues", .exhaustion, "message queues without end", success: "kernel memory without a bound",
                promised: .ownRoot, control: .outside, options: [["--ulimit", "msgqueue=200000"]], bound: 5),
            Attack(
                "locked-memory", .exhaustion, "memory that cannot be swapped out", success: "more than its limit",
                promised: .ownRoot, control: .outside, options: [["--ulimit", "memlock=1048576"]], bound: 3),
            Attack(
                "flood", .exhaustion, "output without end, to pipes and to a terminal", success: "more than its limit",
                promised: .every, control: .weakened([], .strict, root: false), evidence: .output(over: 128 << 10),
                options: [["--output-limit", "64k"], ["-t", "--output-limit", "64k"]], bound: 512),
        ]

    /// What the kernel counts for a user or for all, and others then lack.
    private static let shares: [Attack] = [
        Attack(
            "inotify-instances", .exhaustion, "inotify instances, of which a user has 128",
            success: "the caller's other programs have none", promised: .ownRoot, control: .outside, bound: 40),
        Attack(
            "inotify-watches", .exhaustion, "inotify watches, which are counted for the user",
            success: "the caller's other programs have none", promised: .ownRoot, control: .outside, bound: 8400),
        Attack(
            "ptys", .exhaustion, "terminals, of which the machine has 4096", success: "more than its part",
            promised: .ownRoot, control: .outside, bound: 300),
        Attack(
            "futexes", .exhaustion, "futexes that somebody sleeps on", success: "more sleepers than it may have",
            promised: .ownRoot, control: .outside, options: [["--pids-limit", "40"]], bound: 60),
        Attack(
            "many-namespaces", .exhaustion, "namespaces, which are counted for the user",
            success: "the caller makes no sandbox any more", promised: .ownRoot, control: .outside, bound: 20),
        Attack(
            "many-cgroups", .exhaustion, "cgroups without end", success: "kernel memory that no limit counts",
            promised: .ownRoot, control: .outsideAsRoot, bound: 20),
        Attack(
            "sync-all", .exhaustion, "sync(2), for which every file system of the machine writes",
            success: "everybody's disks are busy, and no limit counts it", promised: .strictOnly, control: .outside),
        Attack(
            "huge-arguments", .exhaustion, "100 MB of arguments for a program", success: "the kernel copies them",
            promised: .every, control: .outside),
    ]
}
