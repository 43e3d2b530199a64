// What the kernel counts for a user, or for the whole machine, and not for a sandbox: taken up to a bound that leaves
// others enough. Beside exhaustion.c, where a sandbox's own share is looked for.
#define _GNU_SOURCE
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static bool is_control(void) { return getenv("ATTACK_CONTROL") != NULL; }

static enum attack_outcome inotify_instances(struct attack *attack) {
    long count = 0;
    while (count < attack_bound() && inotify_init1(IN_CLOEXEC) >= 0) count++;
    return attack_counted(attack, count, "inotify instances", "inotify_init1");
}

// An inode counts once in each instance, so that a few files are watched many times.
static enum attack_outcome inotify_watches(struct attack *attack) {
    enum { INSTANCES = 20 };
    int instances[INSTANCES], error = 0;
    long count = 0, files = attack_bound() / INSTANCES + 1, made = 0;
    char folder[256], path[512];
    snprintf(folder, sizeof folder, "%s/watched-%d", is_control() ? target("ATTACK_PLACE") : "/tmp", getpid());
    if (mkdir(folder, 0700) < 0) return stopped(attack, "mkdir");
    for (int i = 0; i < INSTANCES; i++)
        if ((instances[i] = inotify_init1(IN_CLOEXEC)) < 0) error = errno;
    for (; error == 0 && made < files && count < attack_bound(); made++) {
        snprintf(path, sizeof path, "%s/%ld", folder, made);
        int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (file < 0) {
            error = errno;
            break;
        }
        close(file);
        for (int i = 0; error == 0 && i < INSTANCES && count < attack_bound(); i++) {
            if (inotify_add_watch(instances[i], path, IN_MODIFY) < 0) error = errno;
            else count++;
        }
    }
    for (long i = 0; i <= made; i++) {
        snprintf(path, sizeof path, "%s/%ld", folder, i);
        unlink(path);
    }
    rmdir(folder);
    errno = error;
    return attack_counted(attack, count, "inotify watches", "inotify_add_watch");
}

static enum attack_outcome ptys(struct attack *attack) {
    long count = 0;
    while (count < attack_bound() && posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC) >= 0) count++;
    return attack_counted(attack, count, "terminals", "open of /dev/ptmx");
}

// The kernel keeps something of a futex only as long as somebody sleeps on it: so many, so many sleepers.
static enum attack_outcome futexes(struct attack *attack) {
    pid_t own = getpid();
    size_t size = (size_t)attack_bound() * sizeof(int);
    int *words = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (words == MAP_FAILED) return stopped(attack, "mmap");
    long count = 0;
    setpgid(0, 0);
    for (; count < attack_bound(); count++) {
        pid_t child = fork();
        if (child < 0) break;
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != own) _exit(0);
            for (;;) syscall(SYS_futex, words + count, FUTEX_WAIT, 0, NULL, NULL, 0);
        }
    }
    int error = errno;
    signal(SIGTERM, SIG_IGN);
    kill(0, SIGTERM);
    while (wait(NULL) > 0) {}
    errno = error;
    return attack_counted(attack, count, "futexes with a sleeper each", "fork");
}

// Each process keeps one: user.max_user_namespaces and its like are counted for the user who made the first.
static enum attack_outcome many_namespaces(struct attack *attack) {
    pid_t own = getpid();
    int told[2];
    if (pipe2(told, O_CLOEXEC) < 0) return stopped(attack, "pipe2");
    long count = 0;
    int error = 0;
    setpgid(0, 0);
    for (; count < attack_bound() && error == 0; ) {
        pid_t child = fork();
        if (child < 0) {
            error = errno;
            break;
        }
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != own) _exit(0);
            int met = unshare(CLONE_NEWUSER | CLONE_NEWUTS | CLONE_NEWIPC) < 0 ? errno : 0;
            (void)!write(told[1], &met, sizeof met);
            for (;;) pause();
        }
        if (read(told[0], &error, sizeof error) != sizeof error) error = EIO;
        else if (error == 0) count++;
    }
    signal(SIGTERM, SIG_IGN);
    kill(0, SIGTERM);
    while (wait(NULL) > 0) {}
    errno = error;
    return attack_counted(attack, count, "user namespaces with an UTS and an IPC one in each", "unshare");
}

// A cgroup costs more kernel memory than a process, and a removed one is kept as long as something is charged to it.
static enum attack_outcome many_cgroups(struct attack *attack) {
    static const char *const trees[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids",
                                        "/sys/fs/cgroup/systemd"};
    char path[256];
    long best = 0;
    int error = ENOENT;
    for (size_t tree = 0; tree < sizeof trees / sizeof *trees && best < attack_bound(); tree++) {
        long count = 0;
        // What is no cgroup tree is a place like any other: there it proves nothing.
        snprintf(path, sizeof path, "%s/cgroup.procs", trees[tree]);
        if (access(path, F_OK) < 0) continue;
        for (; count < attack_bound(); count++) {
            snprintf(path, sizeof path, "%s/codex32-selftest-%d-%ld", trees[tree], getpid(), count);
            if (mkdir(path, 0700) < 0) {
                error = errno;
                break;
            }
        }
        for (long i = 0; i < count; i++) {
            snprintf(path, sizeof path, "%s/codex32-selftest-%d-%ld", trees[tree], getpid(), i);
            rmdir(path);
        }
        if (count > best) best = count;
    }
    errno = error;
    return attack_counted(attack, best, "cgroups", "mkdir");
}

// Pages of arguments are charged to the program that is begun; Linux takes a quarter of the stack's limit, and 6 MiB
// at most (execve(2)).
static enum attack_outcome huge_arguments(struct attack *attack) {
    enum { LENGTH = 120000, WORDS = 100000000 / LENGTH };
    static char word[LENGTH + 1], *words[WORDS + 2] = {"codex32"}, *none[] = {NULL};
    memset(word, 'x', LENGTH);
    for (int i = 1; i <= WORDS; i++) words[i] = word;
    execve("/proc/self/exe", words, none);
    if (is_control()) return impossible(attack, "Linux takes 6 MiB of arguments at most, from anybody");
    return stopped(attack, "execve");
}

const struct attack_program attack_quotas[] = {
    {"inotify-instances", inotify_instances}, {"inotify-watches", inotify_watches}, {"ptys", ptys}, {"futexes", futexes},
    {"many-namespaces", many_namespaces}, {"many-cgroups", many_cgroups},
    {"huge-arguments", huge_arguments}, {NULL, NULL},
};
