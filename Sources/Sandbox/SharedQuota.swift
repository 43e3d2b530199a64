/// What a container takes of its user's quotas.
///
/// The kernel counts some small objects per user, and those of a user namespace for whoever made it as
/// well (kernel/ucount.c): a program that takes all it can get would leave root, or the developer, without
/// a single inotify instance, timer or queued signal. In its own namespace it gets a part only.
enum SharedQuota {
    /// setrlimit(2): pending signals, which timers count as too (timer_create(2)), and bytes of POSIX message queues.
    /// And how far its priority may rise above others' (RLIMIT_NICE, RLIMIT_RTPRIO): what a caller may do for his music
    /// is no right of a program that he runs in a sandbox. A real-time one has a processor to itself, whatever the cgroup says.
    static let resourceLimits: [(resource: Int32, most: UInt64)] = [(11, 4096), (12, 204_800), (13, 0), (14, 0)]

    /// Below /proc: the limits of this user namespace (namespaces(7), /proc/sys/user). The kernel's usual
    /// 128 instances are the user's; 8,192 watches are what it gave before it counted memory.
    static let files: [(path: String, most: String)] = [
        ("sys/user/max_inotify_instances", "32"), ("sys/user/max_inotify_watches", "8192"),
    ]

    /// Every mount of a devpts is an instance of its own. Of all of them together the machine has 4,096 terminals, a
    /// quarter of which it keeps for itself: a sandbox gets a part, or others have none.
    static let terminals: UInt64 = 256

    /// Inodes of a tmpfs (Documentation/filesystems/tmpfs.rst), which are kernel memory that its size does not count, by
    /// default as many as fill half of the machine's: one for each KiB.
    /// - Parameter size: in bytes; nil: it has the kernel's own, half of the memory, and so many as 64 MiB have.
    static func inodes(for size: UInt64?) -> UInt64 { max((size ?? 64 << 20) >> 10, 1024) }
}

extension Planner {
    var sharesQuotas: Bool { hasUserNamespace && request.level != .minimal }
}
