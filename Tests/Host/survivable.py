"""Which system calls may fail without their verb failing, and why. The verb then does all that it promises: that, and what is
left, test_faults_verbs.py looks at after each of them. A call that is not here must be told of.
"""

import errno
import re

REPEATED = "read|write|pread64|recvfrom|recvmsg|sendto|connect|wait4|epoll_wait|poll|fcntl|flock"

# Who, the call, the path it is about, the verbs: regular expressions for all of each. Then why.
RULES = [
    (".*", "close", ".*", ".*", "whatever it answers, the descriptor is gone (close(2))"),
    # Before codex32's own code begins.
    (".*", "prlimit64", ".*", ".*", "the C library's, at its start: it has a size of the stack for that"),
    (".*", "readlink", "/proc/self/exe", ".*", "the C library's, at its start: for a dynamic linker that is not there"),
    (".*", "poll|fcntl", "-|/dev/null|pipe|socket", ".*", "asks whether the standard streams are open: they are"),
    (".*", "openat", "/dev/null", ".*", "fills a gap among the standard streams: there is none"),
    # What this machine offers: what cannot be asked for is not relied on, and a wall that then is not in force is told.
    (".*", "prctl|capget|seccomp|landlock_create_ruleset", ".*", ".*", "asks what the kernel offers, or sets what it cannot refuse"),
    (".*", "newfstatat", "/proc/self/exe", ".*", "asks whether a container could write to codex32: then it takes it that one could"),
    (".*", "access|openat|newfstatat", "/sys/fs/cgroup/cgroup.controllers", ".*", "no cgroup is told as a wall not in force"),
    ("client|supervisor", "openat|read", "/etc/(passwd|sub[ug]id)", ".*", "without the subordinate ids there is one, and that is told"),
    ("client|supervisor", "faccessat2", "/.*/new[ug]idmap", ".*", "without the subordinate ids there is one, and that is told"),
    ("client|supervisor", "(newfstatat|readlinkat|openat2)", "(STORE/templates/busybox)?/?(dev|proc|sys|tmp)", ".*",
     "a root whose folders could not be looked at gets them from an overlay"),
    ("client|supervisor", "newfstatat|openat|read", "STORE/cache/seccomp-(ID|[0-9a-f]+).bpf", ".*", "a filter that is not kept is compiled"),
    (".*", "mount_setattr", ".*", ".*", "a file system without id-mapped mounts (EPERM): told where the program could write there"),
    ("client", "newfstatat", "/proc/self/ns/.*", "exec", "a namespace that may be another's is joined"),
    ("child", "newfstatat|openat", "proc/self/ns|cgroup|ipc|mnt|net|pid|time|user|uts", ".*", "the receipt says that it was not read"),
    ("child", "close_range", ".*", ".*", "done before a filter that may not know it, and again behind that: one of the two is enough"),
    ("child", "keyctl", ".*", ".*", "a kernel without keyrings has none to keep apart (ENOSYS)"),
    ("supervisor", "newfstatat", "/proc/self/ns/.*", ".*", "the receipt does not say whether a namespace is the machine's"),
    ("supervisor", "openat|read", "/proc/N/status", "run -d|start.*", "the receipt says that it was not read: a program may have ended"),
    ("supervisor", "openat|read", "/proc/N/status", "stop|remove -f", "asks how the program takes its signal: SIGKILL follows it"),
    ("supervisor", "read", "pipe", ".*", "what could not be read of the program's output is read again"),
    ("supervisor", "fcntl", "STORE/containers/ID/lock", ".*", "a lock that is not given up goes with the process, which ends now"),
    ("client", "newfstatat|getdents64|lseek", "STORE/(containers/.ID.gone|layers/ID)(/.*)?", "remove.*", "what is being removed is looked at again"),
    ("client", "openat", "ID", "remove.*", "a layer that may not be removed as it is (EPERM) is, in a user namespace with its ids"),
    ("child", "recvfrom", "socket", ".*", "asks whether its parent went before it was watched: for that it need not be answered"),
    # What is looked at again, or in another way.
    ("client|supervisor", "openat|read", "(STORE/containers/ID/)?container.json", ".*", "found by its name, it is read again by the verb"),
    ("client|supervisor", "newfstatat", "(STORE/names/)?bot", "create|run -d", "a name whose file may be another's by now is opened again"),
    ("client", "(openat|newfstatat)", "STORE/run/supervised(/ID)?", ".*", "a supervisor that cannot be reached is called again"),
    ("client", "socket|connect", ".*", "stop|remove -f", "a supervisor that cannot be reached is called again"),
    ("supervisor", "accept4|getsockopt|recvfrom|sendto", "socket", ".*", "a command that it lost calls again"),
    ("client", "sendto|recvfrom", "socket", "stop|remove -f|start -a", "what was said is still there, or is asked again"),
    (".*", "newfstatat", "STORE/(layers|run/supervised|containers/ID/lock)", ".*", "what could not be looked at is taken to be there"),
    ("client", "openat|fcntl|read", "(STORE/containers/ID/)?lock|/proc/N/stat", "exec",
     "a supervisor that could not be looked at is there, as the record says"),
    ("client", "openat|newfstatat|read", "STORE/names/bot|STORE/containers/ID/container.json", "exec",
     "only a guess, made before all else (glance.c): the verb itself looks again, and decides"),
    # What is not needed for what was asked.
    (".*", "openat|newfstatat|pread64|write", "STORE/events(/journal)?|journal", ".*", "the journal keeps a container from nothing"),
    ("client", "openat", "STORE/volumes", "remove.*", "only tells of volumes that are kept"),
    ("client", "newfstatat", "STORE/workspaces/ID", "remove.*", "only tells of a workspace that is kept"),
    ("supervisor", "write", "STORE/containers/ID/log/log.json", ".*", "a log that takes no more counts what it lost, and says so"),
    ("supervisor", "epoll_ctl|epoll_wait|wait4|pidfd_send_signal|timerfd_settime", ".*", ".*", "its loop does again what it could not do"),
    ("client", "wait4", ".*", "start.*|run -d", "the supervisor itself says that it runs"),
    ("client|supervisor", "read|write", "pipe", "start.*|run -d", "a start's report is said and heard again; input is nobody's here"),
    ("client", "write", "pipe", "stop|remove.*", "the name printed is the caller's own word"),
    ("client", "ioctl", ".*", "start -a", "asks whether its output is a terminal"),
    ("supervisor", "openat|write|fsync|renameat", "(STORE/containers/ID/)?.container.json.N", "stop|start -a|remove -f",
     "the record of an end is written again"),
    ("client|supervisor", "unlinkat", ".*", ".*", "a name that may be a folder's: it is removed as one then, or by recovery"),
    ("supervisor", "openat|lseek|getdents64|newfstatat", "(STORE/run/supervised/)?ID|STORE/run/supervised", ".*",
     "the folder of its socket: the next start, or recovery, clears it"),
]


def reason(name, who, call):
    """Why a verb may have worked though a call of one of its processes failed; None: it may not."""
    if call.error == errno.EINTR and re.fullmatch(REPEATED, call):
        return "it was interrupted, and is made again (signal(7))"
    return next((why for *patterns, why in RULES if all(map(re.fullmatch, patterns, (who, call, call.subject, name)))), None)
