// Ways to other processes: their memory, their environment, their descriptors, and rights that must be gone.
#define _GNU_SOURCE
#include "attack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t victim(void) { return (pid_t)strtol(target("ATTACK_PID"), NULL, 10); }

static enum attack_outcome signal_outside(struct attack *attack) {
    if (kill(victim(), 0) < 0) return stopped(attack, "kill");
    return succeeded(attack, "a process outside can be signalled");
}

static enum attack_outcome signal_by_pidfd(struct attack *attack) {
    long number = syscall(SYS_pidfd_open, victim(), 0);
    if (number < 0) return stopped(attack, "pidfd_open");
    if (syscall(SYS_pidfd_send_signal, number, 0, NULL, 0) < 0) return stopped(attack, "pidfd_send_signal");
    return succeeded(attack, "a process outside can be signalled");
}

static enum attack_outcome trace_outside(struct attack *attack) {
    if (ptrace(PTRACE_SEIZE, victim(), 0, 0) < 0) return stopped(attack, "ptrace");
    return succeeded(attack, "a process outside is traced");
}

static enum attack_outcome trace_own(struct attack *attack) {
    if (ptrace(PTRACE_TRACEME, 0, 0, 0) < 0) return stopped(attack, "ptrace");
    return succeeded(attack, "tracing works");
}

static enum attack_outcome read_memory(struct attack *attack) {
    char text[64] = "";
    void *address = (void *)(uintptr_t)strtoull(target("ATTACK_ADDRESS"), NULL, 16);
    struct iovec own = {text, sizeof text - 1}, other = {address, sizeof text - 1};
    ssize_t length = syscall(SYS_process_vm_readv, victim(), &own, 1, &other, 1, 0);
    if (length > 0) return found(attack, text, strnlen(text, (size_t)length));
    int error = errno;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", victim());
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file >= 0 && (length = pread(file, text, sizeof text - 1, (off_t)(uintptr_t)address)) > 0)
        return found(attack, text, strnlen(text, (size_t)length));
    errno = error;
    return stopped(attack, "process_vm_readv");
}

struct secrets {
    char text[sizeof((struct attack *)0)->detail];
    size_t length;
    int processes;
};

// Adds the secret of a process's environment, where that can be read and has one.
static void add_secret(const char *process, struct secrets *secrets) {
    static const char wanted[] = "ATTACK_SECRET=";
    char path[300], text[8192];
    snprintf(path, sizeof path, "/proc/%s/environ", process);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    ssize_t length = read(file, text, sizeof text);
    close(file);
    secrets->processes += length > 0;
    char *place = length > 0 ? memmem(text, (size_t)length, wanted, sizeof wanted - 1) : NULL;
    if (!place) return;
    size_t bytes = strnlen(place, (size_t)(text + length - place));
    if (bytes >= sizeof secrets->text - secrets->length) return;
    memcpy(secrets->text + secrets->length, place, bytes);
    secrets->length += bytes;
    secrets->text[secrets->length++] = ' ';
}

// Every environment that can be read: nobody's of the machine may be among them. All are told, and the victim's first:
// another attack of this kind may be going on beside this one, with a secret of its own.
static enum attack_outcome read_environments(struct attack *attack) {
    DIR *folder = opendir("/proc");
    if (!folder) return stopped(attack, "open");
    struct secrets secrets = {.length = 0};
    const char *first = target("ATTACK_PID");
    add_secret(first, &secrets);
    struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        const char *name = entry->d_name;
        if (name[0] >= '0' && name[0] <= '9' && strcmp(name, first) != 0) add_secret(name, &secrets);
    }
    closedir(folder);
    if (secrets.length > 0) return found(attack, secrets.text, secrets.length);
    return stopped_by(attack, "of the %d processes in sight none is of the machine's", secrets.processes);
}

static enum attack_outcome inherited_environment(struct attack *attack) {
    const char *secret = getenv("ATTACK_INHERITED");
    if (!secret) return stopped_by(attack, "the caller's variable is not there");
    return found(attack, secret, strlen(secret));
}

static enum attack_outcome see_processes(struct attack *attack) {
    char path[64], text[256] = "";
    snprintf(path, sizeof path, "/proc/%d/cmdline", victim());
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return stopped(attack, "open");
    ssize_t length = read(file, text, sizeof text - 1);
    if (length > 0 && memmem(text, (size_t)length, "victim", 6)) return succeeded(attack, "the words of a process outside");
    return stopped_by(attack, "its words are not there");
}

static enum attack_outcome steal_descriptor(struct attack *attack) {
    long process = syscall(SYS_pidfd_open, victim(), 0);
    if (process < 0) return stopped(attack, "pidfd_open");
    long number = syscall(SYS_pidfd_getfd, process, strtol(target("ATTACK_DESCRIPTOR"), NULL, 10), 0);
    if (number < 0) return stopped(attack, "pidfd_getfd");
    char text[256];
    ssize_t length = pread((int)number, text, sizeof text, 0);
    return length < 0 ? stopped(attack, "read") : found(attack, text, (size_t)length);
}

// Pid 1 of --init is codex32's own code, with the program's ids.
static enum attack_outcome memory_of_init(struct attack *attack) {
    int file = open(getenv("ATTACK_CONTROL") ? "/proc/self/mem" : "/proc/1/mem", O_RDWR | O_CLOEXEC);
    if (file < 0) return stopped(attack, "open");
    return succeeded(attack, "the memory of pid 1 can be written");
}

static enum attack_outcome capabilities(struct attack *attack) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2] = {{0}};
    if (syscall(SYS_capget, &header, sets) < 0) return stopped(attack, "capget");
    uint64_t has = sets[0].effective | (uint64_t)sets[1].effective << 32;
    for (int number = 0; number < 41; number++) has |= (uint64_t)(prctl(PR_CAPBSET_READ, number) == 1) << number;
    if (has) return succeeded(attack, "capabilities %llx", (unsigned long long)has);
    return stopped_by(attack, "it has none, and can come by none");
}

static enum attack_outcome inheritable_capabilities(struct attack *attack) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2] = {{0}};
    if (syscall(SYS_capget, &header, sets) < 0) return stopped(attack, "capget");
    if (getenv("ATTACK_CONTROL")) {
        // What a program has it may make inheritable (capabilities(7)).
        sets[0].inheritable = sets[0].permitted;
        if (syscall(SYS_capset, &header, sets) < 0) return stopped(attack, "capset");
    }
    uint64_t has = sets[0].inheritable | (uint64_t)sets[1].inheritable << 32;
    return has ? succeeded(attack, "inheritable capabilities %llx", (unsigned long long)has) : stopped_by(attack, "none is inheritable");
}

static enum attack_outcome new_privileges(struct attack *attack) {
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) return stopped_by(attack, "no_new_privs is set");
    return succeeded(attack, "an execve may bring new rights");
}

const struct attack_program attack_processes[] = {
    {"signal-outside", signal_outside}, {"signal-by-pidfd", signal_by_pidfd}, {"trace-outside", trace_outside},
    {"trace-own", trace_own}, {"read-memory", read_memory}, {"read-environments", read_environments},
    {"inherited-environment", inherited_environment}, {"see-processes", see_processes}, {"steal-descriptor", steal_descriptor},
    {"memory-of-init", memory_of_init}, {"capabilities", capabilities}, {"inheritable-capabilities", inheritable_capabilities},
    {"new-privileges", new_privileges}, {NULL, NULL},
};
