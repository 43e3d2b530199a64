internal import Sandbox

/// What an OCI runtime reads of a bundle: see ``BundleAttack``. Who writes a `config.json` chooses what is mounted, and
/// hooks are his programs on the host, so a caller who takes one from a stranger has lost already by the specification.
/// What is tried here is what nobody chose: values that lie, and an image that leads its mounts and paths elsewhere.
extension Corpus {
    private static let harmless = Attack.Control.bundle(BundleAttack(), .standard)

    /// One that must not even be started.
    private static func refused(_ name: String, _ flaw: String, _ attempts: [BundleAttack]) -> Attack {
        Attack(
            "bundle-\(name)", .surface, flaw, success: "it is run", probe: .bundle(attempts), promised: .every,
            control: harmless, evidence: .ran)
    }

    private static func changed(_ changes: [(String, String)]) -> [BundleAttack] {
        changes.map { BundleAttack(changes: [$0.0: $0.1]) }
    }

    /// Behind a proc, which strict cannot do without: what stops it is to be the target.
    private static func mount(_ target: String) -> String {
        #"[{"destination": "/proc", "type": "proc", "source": "proc"}, "#
            + #"{"destination": "\#(target)", "type": "bind", "source": "@place@/volume", "options": ["bind"]}]"#
    }

    private static let hook = "cat @place@/sentinel/file >/tmp/got; echo x >@place@/sentinel/new; :"

    /// Where an image's link leads, in the words of its own container.
    private static let look = "cat /data/file /up/file /data/new/file /old/file file; echo x >/data/made; :"
    private static let outside = Attack.Control.outsideWords(["cat", "@place@/images/data-link/data/file"])

    static let bundles: [Attack] = [
        refused(
            "flood", "a config.json of 100 MB, or one that nests a hundred thousand times",
            [
                BundleAttack(padding: 100 << 20),
                BundleAttack(text: String(repeating: "[", count: 100_000)),
                BundleAttack(text: String(repeating: #"{"process":"#, count: 100_000)),
                BundleAttack(text: ""), BundleAttack(text: "\0"), BundleAttack(text: #"{"ociVersion": "1.3.0""#),
            ]),
        refused(
            "types", "a config.json with values of other types, or out of all bounds",
            changed([
                ("process", "[]"), ("process.args", "\"/bin/sh\""), ("process.args", "[]"), ("process.args", "[5]"),
                ("process.user.uid", "-1"), ("process.user.uid", "4294967296"), ("process.user.uid", "\"0\""),
                ("process.user.uid", "1e99"), ("process.cwd", "5"), ("process.env", "{}"),
                ("process.capabilities", #"{"effective": "all"}"#), ("process.rlimits", #"[{"type": 5}]"#),
                ("mounts", "{}"), ("mounts", "[5]"), ("root.path", "[]"), ("root", "null"), ("linux", "[]"),
                ("linux.namespaces", #"[{"type": 5}]"#), ("linux.namespaces", #"{"type": "pid"}"#),
                ("linux.seccomp", #"{"defaultAction": "SCMP_ACT_SPARE"}"#), ("linux.maskedPaths", "\"/proc\""),
                ("linux.resources", #"{"memory": {"limit": "much"}}"#), ("hooks", "[]"),
                ("hooks", #"{"poststop": [{"path": 5}]}"#), ("annotations", "5"),
            ])),
        refused(
            "mount-over-proc", "CVE-2019-16884, CVE-2019-19921: a mount of a bundle's in the place of /proc/self/attr",
            ["/proc/self/attr", "/proc/./sys", "//proc/sys/kernel", "/tmp/../proc/sys"].map { target in
                BundleAttack(changes: ["mounts": mount(target)])
            }),
        refused(
            "sysctl", "CVE-2022-0811: a sysctl of a bundle's that is the machine's, or climbs to one",
            changed(
                [
                    "kernel.core_pattern", "kernel/core_pattern", "net.../kernel.core_pattern",
                    "net.ipv4/../../kernel/core_pattern", "fs.suid_dumpable", "kernel.shm_rmid_forced.",
                ].map { ("linux.sysctl", #"{"\#($0)": "|/bin/true"}"#) })),
        refused(
            "hook-path", "a hook whose path is not absolute: it would be looked for in the bundle, or in PATH",
            changed(
                ["createRuntime", "createContainer", "startContainer", "poststart", "poststop"].map {
                    ("hooks", #"{"\#($0)": [{"path": "bin/true"}]}"#)
                })),
        Attack(
            "bundle-hook", .surface, "a startContainer hook, which is the container's and no program of the host's",
            success: "a host file is shown",
            probe: .bundle([
                BundleAttack(
                    changes: ["hooks": #"{"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "\#(hook)"]}]}"#],
                    script: "cat /tmp/got")
            ]), promised: .every, control: .outsideWords(["cat", "@place@/sentinel/file"]), evidence: .secret),
        Attack(
            "bundle-mount-link", .surface,
            "CVE-2021-30465, CVE-2026-87766: a bundle's mount target is a link out of its image, or to the old root",
            success: "something is made or shown in a host folder",
            probe: .bundle(
                ["/data/new", "/data", "/up/new", "/old/new", "/../../data/new"].map {
                    BundleAttack(changes: ["mounts": mount($0)], script: look, image: "data-link")
                }), promised: .every, control: outside, evidence: .secret),
        Attack(
            "bundle-working-folder", .surface, "CVE-2024-21626: a bundle's working folder is a link or a descriptor",
            success: "a host folder",
            probe: .bundle(
                (["/data", "/up", "/old", "/descriptor"] + (3...14).map { "/proc/self/fd/\($0)" }).map {
                    BundleAttack(
                        changes: ["process.cwd": "\"\($0)\""],
                        script: "cat file ../../../../../../../../..@place@/sentinel/file; :", image: "data-link")
                }), promised: .every, control: outside, evidence: .secret),
    ]
}
