internal import LinuxKernel
internal import OCISpec

/// What `features` and `spec` print (features.md, and a configuration to begin with).
enum RuntimeFeatures {
    static var json: JSON {
        .members([
            "ociVersionMin": .string("1.0.0"), "ociVersionMax": .string("1.3.0"),
            "hooks": .list([
                "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
            ]),
            "mountOptions": .list([
                "atime", "bind", "defaults", "dev", "exec", "idmap", "noatime", "nodev", "nodiratime", "noexec",
                "nosuid", "private", "ratime", "rbind", "rdev", "rdiratime", "relatime", "rexec", "ridmap",
                "rnoatime", "rnodev", "rnodiratime", "rnoexec", "rnorelatime", "rnostrictatime", "rnosuid",
                "rnosymfollow", "ro", "rprivate", "rrelatime", "rro", "rrw", "rshared", "rslave", "rstrictatime",
                "rsuid", "rsymfollow", "runbindable", "rw", "shared", "slave", "strictatime", "suid", "tmpcopyup",
                "unbindable",
            ]),
            "linux": .members([
                "namespaces": .list(["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]),
                "capabilities": .list(CapabilitySet.all.names),
                "cgroup": .members([
                    "v1": .bool(false), "v2": .bool(true), "systemd": .bool(true), "systemdUser": .bool(true),
                    "rdma": .bool(true),
                ]),
                "seccomp": .members(["enabled": .bool(true)]), "apparmor": .members(["enabled": .bool(true)]),
                "selinux": .members(["enabled": .bool(true)]),
                "intelRdt": .members(["enabled": .bool(true), "schemata": .bool(true), "monitoring": .bool(true)]),
                "netDevices": .members(["enabled": .bool(true)]),
                "mountExtensions": .members(["idmap": .members(["enabled": .bool(true)])]),
            ]),
        ])
    }

    /// Writes a `config.json` that this runtime takes; one that is there already stays.
    static func writeSpec(in bundle: String) throws(Problem) {
        try explaining("cannot write \(bundle)/config.json", hint: "it must not be there already") {
            () throws(KernelError) in
            try Descriptor.open("\(bundle)/config.json", [.write, .create, .exclusive], mode: 0o644)
                .write(spec.text(pretty: true) + "\n")
        }
    }

    private static func mount(_ target: String, _ type: String, _ options: [String]) -> JSON {
        .members([
            "destination": .string(target), "type": .string(type), "source": .string(type), "options": .list(options),
        ])
    }

    private static var spec: JSON {
        let capabilities = JSON.list(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"])
        return .members([
            "ociVersion": .string("1.3.0"),
            "process": .members([
                "terminal": .bool(false), "user": .members(["uid": .integer(0), "gid": .integer(0)]),
                "args": .list(["sh"]),
                "env": .list(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"]),
                "cwd": .string("/"), "noNewPrivileges": .bool(true),
                "capabilities": .members([
                    "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
                ]),
            ]),
            "root": .members(["path": .string("rootfs"), "readonly": .bool(true)]), "hostname": .string("codex32"),
            "mounts": .array([
                mount("/proc", "proc", ["nosuid", "noexec", "nodev"]),
                mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
                mount(
                    "/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
                mount("/dev/shm", "tmpfs", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
                mount("/dev/mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
                mount("/sys", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
            ]),
            "linux": .members([
                "namespaces": .array(
                    ["pid", "network", "ipc", "uts", "mount"].map { .members(["type": .string($0)]) }),
                "maskedPaths": .list([
                    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
                ]),
                "readonlyPaths": .list(["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]),
            ]),
        ])
    }
}
