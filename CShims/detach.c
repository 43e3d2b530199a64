// A process that outlives the one that starts it, and locks that outlive neither of them.
#define _GNU_SOURCE
#include "codex_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// The grandchild: nothing of the caller stays but what is named in keep.
__attribute__((noreturn)) static void become(const char *path, char *const *argv, char *const *envp, const int *keep,
                                             int count) {
    struct sigaction action = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++) (void)sigaction(number, &action, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || chdir("/") < 0) _exit(125);
    for (int number = 0; number < 3; number++)
        if (dup2(null, number) < 0) _exit(125);
    if (syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) < 0) _exit(125);
    for (int i = 0; i < count; i++)
        if (fcntl(keep[i], F_SETFD, 0) < 0) _exit(125);
    execve(path, argv, envp);
    _exit(125);
}

int codex_spawn_detached(const char *path, char *const *argv, char *const *envp, const int *keep, int count) {
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t middle = _Fork();
    int error = errno;
    if (middle == 0) {
        // A session without a terminal, and a parent that is gone: no hang-up and no job control reaches it.
        // Its exit status is why not: errno fits.
        if (setsid() < 0) _exit(errno);
        pid_t last = _Fork();
        if (last == 0) become(path, argv, envp, keep, count);
        _exit(last < 0 ? errno : 0);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (middle < 0) return -error;
    int status;
    // Where it cannot be waited for, it has been started all the same, and says itself that it runs.
    while (waitpid(middle, &status, 0) < 0)
        if (errno != EINTR) return 0;
    return WIFEXITED(status) ? -WEXITSTATUS(status) : -EAGAIN;
}

// Open file description locks (fcntl(2), Linux 3.15): inherited with the descriptor, gone with its last
// copy, and, unlike flock's, they can be looked at without being taken.
int codex_lock_take(int descriptor, int wait) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int result;
    do result = fcntl(descriptor, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock);
    while (result < 0 && errno == EINTR);
    if (result < 0) return errno == EACCES ? -EAGAIN : -errno;
    return 0;
}

int codex_lock_release(int descriptor) {
    struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
    return fcntl(descriptor, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

int codex_lock_is_taken(int descriptor) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(descriptor, F_OFD_GETLK, &lock) < 0) return -errno;
    return lock.l_type != F_UNLCK;
}

int codex_pidfd_open(int pid) {
    long number = syscall(SYS_pidfd_open, pid, 0);
    return number < 0 ? -errno : (int)number;
}

// Waits until a descriptor can be read (a pidfd: the process has ended). 1 it can, 0 the time is over.
int codex_wait_readable(int descriptor, int milliseconds) {
    struct pollfd entry = {.fd = descriptor, .events = POLLIN};
    int result = poll(&entry, 1, milliseconds);
    if (result < 0) return errno == EINTR ? 0 : -errno;
    return result;
}
