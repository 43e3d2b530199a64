// Ways into the kernel itself, and to what belongs to the whole machine. Every argument is one that the kernel
// must refuse after it has looked whether the caller may: success is that it got so far.
#define _GNU_SOURCE
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/klog.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <unistd.h>

// Whether a call that must fail for its arguments failed for want of a right instead.
static enum attack_outcome judged(struct attack *attack, long result, const char *call) {
    if (result >= 0) return succeeded(attack, "%s works", call);
    if (errno == EPERM || errno == EACCES) return stopped(attack, call);
    if (errno == ENOSYS) return getenv("ATTACK_CONTROL") ? impossible(attack, "the kernel has no %s", call) : stopped(attack, call);
    return succeeded(attack, "%s was let through, and found the arguments wrong: %s", call, strerrorname_np(errno));
}

static enum attack_outcome reboot_machine(struct attack *attack) { // the magic number is wrong
    return judged(attack, syscall(SYS_reboot, 0, 0, 0, 0), "reboot");
}
static enum attack_outcome kexec(struct attack *attack) { // there are no such flags
    return judged(attack, syscall(SYS_kexec_load, 0, -1L, 0, -1L), "kexec_load");
}
static enum attack_outcome load_module(struct attack *attack) { // an empty module
    return judged(attack, syscall(SYS_init_module, 0, 0, ""), "init_module");
}
static enum attack_outcome load_module_file(struct attack *attack) {
    return judged(attack, syscall(SYS_finit_module, -1, "", 0), "finit_module");
}
static enum attack_outcome swap(struct attack *attack) {
    return judged(attack, syscall(SYS_swapon, "/no/such/file", 0), "swapon");
}
static enum attack_outcome accounting(struct attack *attack) {
    return judged(attack, syscall(SYS_acct, "/no/such/file"), "acct");
}
static enum attack_outcome set_clock(struct attack *attack) { // no clock ticks so fast
    struct timex change = {.modes = ADJ_TICK, .tick = 1};
    return judged(attack, adjtimex(&change), "adjtimex");
}
static enum attack_outcome port_access(struct attack *attack) {
#ifdef __x86_64__
    return judged(attack, iopl(3), "iopl");
#else
    return impossible(attack, "this architecture has no ports");
#endif
}
static enum attack_outcome load_bpf(struct attack *attack) {
    union bpf_attr attributes = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
    return judged(attack, syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes), "bpf");
}
static enum attack_outcome perf_event(struct attack *attack) {
    struct perf_event_attr attributes = {
        .type = PERF_TYPE_SOFTWARE, .size = sizeof attributes, .config = PERF_COUNT_SW_CPU_CLOCK, .exclude_kernel = 1, .exclude_hv = 1};
    long result = syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0);
    if (result < 0 && errno == EACCES && getenv("ATTACK_CONTROL"))
        return impossible(attack, "kernel.perf_event_paranoid keeps everybody from it");
    return judged(attack, result, "perf_event_open");
}
static enum attack_outcome io_uring(struct attack *attack) { // the rings' calls go past every filter
    char parameters[120] = {0};
    return judged(attack, syscall(SYS_io_uring_setup, 4, parameters), "io_uring_setup");
}
static enum attack_outcome userfault(struct attack *attack) { // holds a copy of the kernel's up for as long as it likes
    return judged(attack, syscall(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */), "userfaultfd");
}
static enum attack_outcome keyring_id(struct attack *attack) {
    return judged(attack, syscall(SYS_keyctl, 0 /* KEYCTL_GET_KEYRING_ID */, -4 /* the user's */, 0), "keyctl");
}
static enum attack_outcome add_key(struct attack *attack) { // a kind of key that there is not
    return judged(attack, syscall(SYS_add_key, "codex32-none", "x", "x", 1, -3), "add_key");
}
static enum attack_outcome weak_personality(struct attack *attack) {
    return judged(attack, personality(ADDR_NO_RANDOMIZE | READ_IMPLIES_EXEC), "personality");
}
static enum attack_outcome listener(struct attack *attack) { // decides for itself what its children may do
    struct { unsigned short length; const void *filter; } program = {0, 0};
    return judged(attack, syscall(SYS_seccomp, 1, 8 /* NEW_LISTENER */, &program), "seccomp");
}
static enum attack_outcome realtime(struct attack *attack) {
    struct sched_param parameters = {.sched_priority = 1};
    long result = sched_setscheduler(0, SCHED_FIFO, &parameters);
    int error = errno;
    if (result == 0) sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){0});
    errno = error;
    return judged(attack, result, "sched_setscheduler");
}
static enum attack_outcome high_priority(struct attack *attack) {
    long result = setpriority(PRIO_PROCESS, 0, -20);
    int error = errno;
    if (result == 0) setpriority(PRIO_PROCESS, 0, 0);
    errno = error;
    return judged(attack, result, "setpriority");
}
// A control of what takes a capability that even root may lack, as in a container of a cloud's.
static enum attack_outcome judged_with(struct attack *attack, long result, const char *call, int capability) {
    int error = errno;
    if (result < 0 && getenv("ATTACK_CONTROL") && prctl(PR_CAPBSET_READ, capability) != 1)
        return impossible(attack, "this machine's root has not the capability for it");
    errno = error;
    return judged(attack, result, call);
}

static enum attack_outcome raise_limit(struct attack *attack) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return impossible(attack, "getrlimit fails");
    limit.rlim_max += 1;
    return judged_with(attack, setrlimit(RLIMIT_NOFILE, &limit), "setrlimit", CAP_SYS_RESOURCE);
}
static enum attack_outcome never_killed(struct attack *attack) { // out of the way of the kernel's own choice
    int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (file < 0) return stopped(attack, "open");
    return judged_with(attack, write(file, "-1000", 5), "write", CAP_SYS_RESOURCE);
}

// --- what tells of the machine ----------------------------------------------------------------------------------

static enum attack_outcome kernel_log(struct attack *attack) {
    char text[4096];
    int length = klogctl(3 /* READ_ALL */, text, sizeof text);
    if (length < 0) return stopped(attack, "syslog");
    return length == 0 ? stopped_by(attack, "the log reads empty") : succeeded(attack, "%d bytes of the kernel's log", length);
}

static enum attack_outcome kernel_addresses(struct attack *attack) {
    FILE *file = fopen("/proc/kallsyms", "re");
    if (!file) return stopped(attack, "open");
    unsigned long address = 0;
    char line[512];
    int lines = 0;
    while (fgets(line, sizeof line, file) && lines++ < 1000)
        if ((address = strtoul(line, NULL, 16)) != 0) return succeeded(attack, "an address: %lx", address & 0xffff000000000000UL);
    return stopped_by(attack, lines ? "every address reads as 0" : "the list reads empty");
}

// Memory of the kernel, as a file.
static enum attack_outcome kernel_memory(struct attack *attack) {
    char bytes[16];
    int file = open("/proc/kcore", O_RDONLY | O_CLOEXEC);
    if (file < 0) return errno == ENOENT && getenv("ATTACK_CONTROL") ? impossible(attack, "the kernel has no /proc/kcore") : stopped(attack, "open");
    ssize_t length = read(file, bytes, sizeof bytes);
    if (length < 0) return stopped(attack, "read");
    return length == 0 ? stopped_by(attack, "it reads empty") : succeeded(attack, "%zd bytes of /proc/kcore", length);
}

static enum attack_outcome host_name(struct attack *attack) {
    char name[256] = "";
    if (gethostname(name, sizeof name - 1) < 0) return stopped(attack, "uname");
    if (strcmp(name, target("ATTACK_HOSTNAME")) == 0) return succeeded(attack, "the machine's name");
    return stopped_by(attack, "a name of its own");
}

static enum attack_outcome timer_list(struct attack *attack) {
    static const char *const files[] = {"/proc/timer_list", "/proc/interrupts", "/proc/keys", "/proc/sched_debug"};
    int error = ENOENT;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char text[64];
        int file = open(files[i], O_RDONLY | O_CLOEXEC);
        if (file < 0) {
            if (errno != ENOENT) error = errno;
            continue;
        }
        ssize_t length = read(file, text, sizeof text);
        close(file);
        if (length > 0) return succeeded(attack, "%s tells of the machine", files[i]);
        error = 0;
    }
    errno = error;
    return error == 0 ? stopped_by(attack, "they read empty") : stopped(attack, "open");
}

static enum attack_outcome firmware(struct attack *attack) {
    static const char *const files[] = {"/sys/firmware/memmap/0/start", "/sys/firmware/acpi/tables/DSDT", "/sys/class/dmi/id/product_uuid",
                                        "/sys/firmware/dmi/tables/DMI"};
    int error = ENOENT;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char text[64];
        int file = open(files[i], O_RDONLY | O_CLOEXEC);
        if (file >= 0 && read(file, text, sizeof text) > 0) return succeeded(attack, "%s can be read", files[i]);
        if (errno != ENOENT) error = errno;
    }
    if (error == ENOENT && getenv("ATTACK_CONTROL")) return impossible(attack, "this machine tells nothing there");
    errno = error;
    return stopped(attack, "open");
}

// What all programs have written, of whichever sandbox, is waited for: a child does that, for it may take long.
static enum attack_outcome sync_all(struct attack *attack) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) return stopped(attack, "pipe2");
    pid_t child = fork();
    if (child < 0) return stopped(attack, "fork");
    if (child == 0) {
        int error = syscall(SYS_sync) < 0 ? errno : 0;
        _exit(write(ends[1], &error, sizeof error) != sizeof error);
    }
    close(ends[1]);
    struct pollfd answer = {ends[0], POLLIN, 0};
    int error = 0;
    // One that has not been refused by then is at work.
    if (poll(&answer, 1, 20000) > 0 && read(ends[0], &error, sizeof error) != sizeof error) return stopped_by(attack, "it was ended");
    errno = error;
    return error ? stopped(attack, "sync") : succeeded(attack, "every file system of the machine is written");
}

// ATTACK_MOUNT is a place where the machine has something mounted, and no sandbox has.
static enum attack_outcome mount_table(struct attack *attack) {
    const char *wanted = target("ATTACK_MOUNT");
    if (!*wanted) return impossible(attack, "the machine has no mount that a sandbox could not have too");
    FILE *table = fopen("/proc/self/mountinfo", "re");
    if (!table) return stopped(attack, "open");
    char line[4096], place[4096];
    int mounts = 0, is_there = 0;
    while (fgets(line, sizeof line, table)) {
        if (sscanf(line, "%*s %*s %*s %*s %4095s", place) != 1) continue;
        mounts++;
        is_there |= strcmp(place, wanted) == 0;
    }
    fclose(table);
    if (is_there) return succeeded(attack, "what the machine has mounted, as at %s", wanted);
    return stopped_by(attack, "of the %d mounts in sight none is the machine's", mounts);
}

const struct attack_program attack_kernel[] = {
    {"reboot", reboot_machine}, {"kexec", kexec}, {"load-module", load_module}, {"load-module-file", load_module_file},
    {"swap", swap}, {"accounting", accounting}, {"set-clock", set_clock}, {"port-access", port_access}, {"bpf", load_bpf},
    {"perf-event", perf_event}, {"io-uring", io_uring}, {"userfaultfd", userfault}, {"keyring", keyring_id}, {"add-key", add_key},
    {"personality", weak_personality}, {"seccomp-listener", listener}, {"realtime", realtime}, {"high-priority", high_priority},
    {"raise-limit", raise_limit}, {"never-killed", never_killed}, {"kernel-log", kernel_log}, {"kernel-addresses", kernel_addresses},
    {"kernel-memory", kernel_memory}, {"host-name", host_name}, {"timer-list", timer_list}, {"firmware", firmware},
    {"mount-table", mount_table}, {"sync-all", sync_all}, {NULL, NULL},
};
