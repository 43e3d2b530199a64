// Processes by pidfd, and the few that the parent starts for itself.
#define _GNU_SOURCE
#include "codex_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int codex_pidfd_send_signal(int pidfd, int signal) {
    return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) == 0 ? 0 : -errno;
}

int codex_reap(int pid, struct codex_usage *usage, int block) {
    int status;
    struct rusage used;
    pid_t ended;
    do ended = wait4(pid, &status, block ? 0 : WNOHANG, &used);
    while (ended < 0 && errno == EINTR);
    if (ended < 0) return -errno;
    if (ended == 0) return 0;
    *usage = (struct codex_usage){
        .status = status,
        .user_microseconds = used.ru_utime.tv_sec * 1000000LL + used.ru_utime.tv_usec,
        .system_microseconds = used.ru_stime.tv_sec * 1000000LL + used.ru_stime.tv_usec,
        .peak_bytes = used.ru_maxrss * 1024LL, // getrusage(2): kilobytes
        .read_bytes = used.ru_inblock * 512LL,
        .write_bytes = used.ru_oublock * 512LL,
    };
    return 1;
}

int codex_set_dumpable(int on) { return prctl(PR_SET_DUMPABLE, on, 0, 0, 0) == 0 ? 0 : -errno; }

int codex_run_from_read_only_mount(char *const *argv) {
    struct statvfs place;
    if (statvfs("/proc/self/exe", &place) < 0) return -errno;
    if (place.f_flag & ST_RDONLY) return 0;
    int own = codex_open_tree(AT_FDCWD, "/proc/self/exe", 1 /* OPEN_TREE_CLONE */);
    if (own < 0) return own;
    int result = codex_mount_setattr(own, "", AT_EMPTY_PATH, 1 | 2 /* RDONLY, NOSUID */, 0, -1);
    if (result == 0) {
        syscall(SYS_execveat, own, "", argv, environ, AT_EMPTY_PATH);
        result = -errno;
    }
    close(own);
    return result;
}

// Ends this process when its parent ends, also when that has happened already.
static void die_with(pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != parent) _exit(125);
}

// Runs a helper of the host (newuidmap, mmdebstrap) to its end. output becomes its descriptors 1
// and 2 (-1: ours), and it and all that it starts are in the cgroup v2 (-1: ours). Returns its wait status, or -errno.
int codex_spawn_wait(
    const char *path, char *const *argv, char *const *envp, int output, int working, int cgroup) {
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t parent = getpid(), pid = _Fork();
    int error = errno;
    if (pid == 0) {
        struct sigaction action = {.sa_handler = SIG_DFL};
        for (int number = 1; number < NSIG; number++) (void)sigaction(number, &action, NULL);
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        die_with(parent);
        if (cgroup >= 0) {
            int members = openat(cgroup, "cgroup.procs", O_WRONLY | O_CLOEXEC);
            if (members < 0 || write(members, "0", 1) != 1) _exit(125);
        }
        if (output >= 0 && (dup2(output, 1) < 0 || dup2(output, 2) < 0)) _exit(125);
        if (working >= 0 && fchdir(working) < 0) _exit(125);
        execve(path, argv, envp);
        _exit(errno == ENOENT ? 127 : 126);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid < 0) return -error;
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return -errno;
    return status;
}

int codex_hold_user_namespace(int *pidfd) {
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) < 0) return -errno;
    struct clone_args arguments = {
        .flags = CLONE_NEWUSER | CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)pidfd, .exit_signal = SIGCHLD};
    pid_t parent = getpid();
    long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    int error = errno;
    if (pid == 0) {
        die_with(parent);
        // newuidmap(1), and whoever opens the namespace, need a dumpable process, which codex32 itself is
        // not: so this one is, once it has nothing of codex32's to look at.
        syscall(SYS_close_range, 0U, (unsigned)ready[1] - 1, 0U);
        syscall(SYS_close_range, (unsigned)ready[1] + 1, ~0U, 0U);
        prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
        close(ready[1]);
        for (;;) pause();
    }
    close(ready[1]);
    if (pid > 0) {
        ssize_t count;
        do count = read(ready[0], &(char){0}, 1);
        while (count < 0 && errno == EINTR);
    }
    close(ready[0]);
    return pid < 0 ? -error : (int)pid;
}
