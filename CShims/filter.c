// A program of the machine's between two pipes, as gzip is: what it reads is anybody's.
#define _GNU_SOURCE
#include "codex_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { NOBODY = 65534 };

// Called between fork and execve. Nothing that it could be talked into by what it reads lasts: it is
// nobody, with no file to write, little memory, and no way to rights.
int codex_become_filter(void) {
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null < 0 || dup2(null, 2) < 0) return -errno;
    if (geteuid() == 0) {
        // In a user namespace there may be no such id, and then this root is nobody outside of it (EINVAL).
        if (setgroups(0, NULL) < 0 && errno != EPERM) return -errno;
        if (setresgid(NOBODY, NOBODY, NOBODY) < 0 && errno != EINVAL) return -errno;
        if (setresuid(NOBODY, NOBODY, NOBODY) < 0 && errno != EINVAL) return -errno;
    }
    static const struct {
        int resource;
        rlim_t most;
    } limits[] = {{RLIMIT_AS, 1 << 30}, {RLIMIT_FSIZE, 0}, {RLIMIT_CORE, 0}, {RLIMIT_NOFILE, 64}};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if (setrlimit(limits[i].resource, &(struct rlimit){limits[i].most, limits[i].most}) < 0) return -errno;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -errno;
    // Lost by a change of ids, so this comes after it (prctl(2)).
    return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 ? -errno : 0;
}

// Of a pipe its pages are shared with another pipe (tee(2)), and that one is read.
static long peek_pipe(int descriptor, void *buffer, size_t size) {
    int copy[2];
    if (pipe2(copy, O_CLOEXEC) < 0) return -errno;
    ssize_t count = -1;
    for (;;) {
        // Asked before: what comes between the two is seen, and after a writer's end nothing does.
        struct pollfd end = {.fd = descriptor};
        bool is_whole = poll(&end, 1, 0) == 1 && (end.revents & POLLHUP) != 0;
        count = tee(descriptor, copy[1], size, 0);
        if (count < 0 && errno != EINTR && errno != EAGAIN) count = -errno;
        else if (count > 0 && read(copy[0], buffer, (size_t)count) != count) count = -EIO;
        else if (count >= 0 && (is_whole || count == 0 || (size_t)count == size)) break;
        else {
            // Written byte by byte perhaps: what is there already does not let anybody wait for more.
            (void)nanosleep(&(struct timespec){.tv_nsec = 2 * 1000 * 1000}, NULL);
            continue;
        }
        break;
    }
    close(copy[0]);
    close(copy[1]);
    return count;
}

long codex_peek(int descriptor, void *buffer, size_t size) {
    struct stat status;
    if (fstat(descriptor, &status) < 0) return -errno;
    ssize_t count = 0;
    switch (status.st_mode & S_IFMT) {
        case S_IFREG: {
            off_t place = lseek(descriptor, 0, SEEK_CUR);
            count = place < 0 ? -1 : pread(descriptor, buffer, size, place);
            break;
        }
        case S_IFIFO: return peek_pipe(descriptor, buffer, size);
        case S_IFSOCK: count = recv(descriptor, buffer, size, MSG_PEEK | MSG_WAITALL); break;
        default: return 0; // Others cannot be looked into: they are read as they are.
    }
    return count < 0 ? -errno : count;
}
