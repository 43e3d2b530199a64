/// Paths and files of every sandbox with a root of its own.
enum DefaultPaths {
    /// Docker's list: what shows the host, or lets it be changed, through procfs and sysfs.
    static let masked = [
        "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
        "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
        "/sys/devices/virtual/powercap", "/sys/firmware",
    ]
    static let readOnly = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]

    /// Beyond Docker's, for strict: what tells of the machine rather than of the sandbox.
    static let maskedStrict = [
        "/proc/kallsyms", "/proc/modules", "/proc/config.gz", "/proc/iomem", "/proc/slabinfo", "/proc/key-users",
        // How the machine was started, sometimes with secrets, and what its disks do.
        "/proc/cmdline", "/proc/diskstats", "/proc/partitions",
    ]

    /// Device nodes (Documentation/admin-guide/devices.txt): name, major, minor.
    static let devices: [(name: String, major: UInt64, minor: UInt64)] = [
        ("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0),
    ]

    static let deviceLinks: [(name: String, target: String)] = [
        ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"), ("ptmx", "pts/ptmx"),
    ]

    /// All that stands in a /dev of ours (``LaunchStep/furnish(_:_:)``), as one text: every start has it. The child of a
    /// `run` makes the same before it has its plan (furniture.c).
    static let fixtures =
        "null\0\0zero\0\0full\0\0random\0\0urandom\0\0tty\0\0"
        + "fd\0/proc/self/fd\0stdin\0/proc/self/fd/0\0stdout\0/proc/self/fd/1\0stderr\0/proc/self/fd/2\0"
        + "ptmx\0pts/ptmx\0pts\0/\0" + sharedMemory
    static let sharedMemory = "shm\0/\0"

    /// makedev(3) for numbers below 4096 and 256.
    static func deviceNumber(_ major: UInt64, _ minor: UInt64) -> UInt64 { major << 8 | minor }
}

/// Landlock access rights (landlock(7)), by the ABI that brought them.
enum LandlockRights {
    static let execute: UInt64 = 1 << 0
    static let writeFile: UInt64 = 1 << 1
    static let readFile: UInt64 = 1 << 2
    static let readFolder: UInt64 = 1 << 3
    static let makeCharacterDevice: UInt64 = 1 << 6
    static let makeBlockDevice: UInt64 = 1 << 11
    static let refer: UInt64 = 1 << 13
    static let truncate: UInt64 = 1 << 14
    static let ioctlDevice: UInt64 = 1 << 15

    static let bindTCP: UInt64 = 1 << 0
    static let connectTCP: UInt64 = 1 << 1

    static let scopeAbstractSockets: UInt32 = 1 << 0
    static let scopeSignals: UInt32 = 1 << 1

    static func all(_ abi: Int) -> UInt64 {
        var rights: UInt64 = (1 << 13) - 1
        if abi >= 2 { rights |= refer }
        if abi >= 3 { rights |= truncate }
        if abi >= 5 { rights |= ioctlDevice }
        return rights
    }

    static let look = execute | readFile | readFolder
}
