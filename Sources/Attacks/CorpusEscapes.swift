internal import Sandbox

/// Ways out: to new powers, to the machine's files, and to what the kernel does for the machine.
extension Corpus {
    static let namespaces: [Attack] = [
        Attack(
            "unshare-user", .escape, "unprivileged user namespaces, the door of CVE-2022-0185 and many more",
            success: "every capability, and with it the kernel's code for root", promised: .ownRoot, control: .outside),
        Attack(
            "clone-user", .escape, "the same by clone(2)", success: "a child with every capability",
            promised: .ownRoot, control: .outside),
        Attack(
            "clone3-user", .escape, "the same by clone3(2), whose flags no filter sees",
            success: "a child with every capability", promised: .ownRoot, control: .outside),
        Attack(
            "nested-mount", .escape, "mounting in a user namespace of one's own (CVE-2022-0492, first half)",
            success: "a mount", promised: .ownRoot, control: .outside),
        Attack(
            "release-agent", .escape, "CVE-2022-0492: cgroup v1's release_agent, in namespaces of one's own",
            success: "a program of the attacker's is run by the kernel, as root, outside", promised: .ownRoot,
            control: .outsideAsRoot),
        Attack(
            "release-agent-direct", .escape, "the same with the sandbox's own powers",
            success: "a program of the attacker's is run by the kernel, as root, outside", promised: .ownRoot,
            control: .outsideAsRoot),
        Attack(
            "cgroup-write", .escape, "CVE-2023-25809: the cgroup tree can be written",
            success: "limits of its own, or of others, are what it wants", promised: .ownRoot, control: .outsideAsRoot),
        Attack(
            "join-namespace", .escape, "setns(2) into a namespace found in /proc", success: "another mount namespace",
            promised: .strictOnly, control: .outsideAsRoot),
        Attack(
            "mount", .escape, "mount(2)", success: "a mount over what the sandbox mounted", promised: .ownRoot,
            control: .outside),
        Attack(
            "fsopen", .escape, "the mount calls of Linux 5.2", success: "a file system of its own", promised: .ownRoot,
            control: .outside),
        Attack(
            "open-tree", .escape, "a mount copied without what lies over it", success: "what a mask hides",
            promised: .ownRoot, control: .outside),
        Attack(
            "unmask", .escape, "taking the masks of /proc away", success: "keys, kernel memory and timers in sight",
            promised: .ownRoot,
            control: .weakened(["--cap-add", "SYS_ADMIN", "--seccomp", allowAll], .standard, root: false)),
        Attack(
            "remount-writable", .escape, "a read-only volume mounted anew", success: "it can be written",
            promised: .ownRoot,
            control: .weakened(["--cap-add", "SYS_ADMIN", "--seccomp", allowAll], .minimal, root: true)),
        Attack(
            "pivot-root", .escape, "pivot_root(2) once more", success: "another root", promised: .ownRoot,
            control: .outside),
        Attack(
            "chroot-escape", .escape, "out of a changed root by a second one", success: "a file of the machine",
            promised: .every, control: .outsideAsRoot, evidence: .secret),
        Attack(
            "set-hostname", .escape, "sethostname(2)", success: "the sandbox passes for another machine",
            promised: .ownRoot, control: .outside),
        Attack(
            "overlay-confusion", .escape, "CVE-2023-0386: an overlay in namespaces of one's own",
            success: "files with rights that nobody gave them", promised: .ownRoot, control: .outside),
        Attack(
            "map-confusion", .escape, "an id-mapped mount of a volume, by a map of one's own",
            success: "files of others are its own", promised: .ownRoot, control: .outsideAsRoot),
    ]

    static let files: [Attack] = [
        Attack(
            "plain-path", .escape, "a host file by its own path, or up from where one is", success: "it is read",
            promised: .every, control: .outside, evidence: .secret),
        Attack(
            "magic-links", .escape, "a host file by the magic links of /proc", success: "it is read",
            promised: .every, control: .outside, evidence: .secret),
        Attack(
            "file-handle", .escape, "\"shocker\": open_by_handle_at(2) on a volume", success: "it is read",
            promised: .every, control: .outsideAsRoot, evidence: .secret),
        Attack(
            "volume-link", .escape, "a link in a volume that leads to a host file", success: "it is read",
            promised: .every, control: .outside, evidence: .secret),
        Attack(
            "read-only-volume", .escape, "writing to a read-only volume", success: "it can be written",
            promised: .every, control: .outside),
        Attack(
            "hard-link", .escape, "a second name, in a writable volume, for a file of a read-only one",
            success: "it can be written", promised: .every, control: .outside),
        Attack(
            "setuid-program", .escape, "a setuid program on a volume", success: "the rights of its owner",
            promised: .every, control: .outsideAsRoot, options: [["-u", "1000:1000"]]),
        Attack(
            "plant-setuid", .escape, "a setuid program made in a volume, for somebody to find outside",
            success: "whoever runs it there has the rights of the volume's owner", promised: .strictOnly,
            control: .outside),
        Attack(
            "plant-capabilities", .escape,
            "CVE-2021-3493: a program with capabilities, in a volume, for somebody outside",
            success: "whoever runs it there has them", promised: .strictOnly, control: .outsideAsRoot),
        Attack(
            "overlay-marks", .escape, "what overlayfs keeps on files for itself, written on a volume's",
            success: "an overlay over that shows what it should not", promised: .ownRoot, control: .outsideAsRoot),
        Attack(
            "make-device", .escape, "a device file for the disk that a volume lies on", success: "the whole disk",
            promised: .ownRoot, control: .outsideAsRoot),
        Attack(
            "machine-devices", .escape, "the machine's devices in /dev", success: "one is open", promised: .ownRoot,
            control: .outsideAsRoot),
        Attack(
            "write-root", .escape, "writing outside of the places made for it", success: "the root is changed",
            promised: .strictOnly, control: .weakened([], .standard, root: false)),
        Attack(
            "run-from-tmp", .escape, "running what was fetched: a program written to /tmp", success: "it runs",
            promised: .strictOnly,
            control: .weakened(["--tmpfs", "/tmp:exec,size=128m"], .standard, root: false)),
        Attack(
            "own-program", .escape, "CVE-2019-5736: codex32's own file by /proc/1/exe",
            success: "the next codex32 is the attacker's", promised: .every, control: .outside,
            options: [["--init"]]),
        Attack(
            "run-codex32", .escape, "CVE-2019-5736: /proc/self/exe as the program",
            success: "codex32's file is changed",
            probe: .words(["/proc/self/exe", "attack-program", "try", "own-program"]), promised: .every,
            control: .outside, options: [[], ["--init"]]),
    ]

    static let descriptors: [Attack] = [
        Attack(
            "leaked-descriptor", .escape, "CVE-2016-9962: a descriptor of codex32's or of its caller's",
            success: "a host file by way of it", promised: .every, control: .outside, evidence: .secret),
        Attack(
            "working-folder", .escape, "CVE-2024-21626: a descriptor as the working folder", success: "a host file",
            probe: .words(["sh", "-c", "cat ../../../../../../../../..$ATTACK_SENTINEL; echo RAN"]), promised: .every,
            control: .weakened(["-w", "/tmp"], .strict, root: false), evidence: .ran,
            options: (3...14).map { ["-w", "/proc/self/fd/\($0)"] }),
    ]

    static let machine: [Attack] = [
        Attack(
            "core-pattern", .escape, "core_pattern: a program run as root when another crashes",
            success: "it can be written", promised: .ownRoot, control: .outsideAsRoot),
        Attack(
            "modprobe", .escape, "the program that loads modules", success: "it can be written", promised: .ownRoot,
            control: .outsideAsRoot),
        Attack(
            "binfmt-misc", .escape, "an interpreter for the machine's programs", success: "it can be written",
            promised: .ownRoot, control: .outsideAsRoot),
        Attack(
            "uevent-helper", .escape, "a program run as root at each event of a device", success: "it can be written",
            promised: .ownRoot, control: .outsideAsRoot),
        Attack(
            "sysrq", .escape, "/proc/sysrq-trigger", success: "the machine restarts at will", promised: .ownRoot,
            control: .outsideAsRoot),
        Attack(
            "kernel-settings", .escape, "sysctls that belong to the machine", success: "they can be written",
            promised: .ownRoot, control: .outsideAsRoot),
        Attack(
            "fanotify", .escape, "a listener whom every open of the machine waits for", success: "it is there",
            promised: .every, control: .outsideAsRoot),
    ]
}
