// A time namespace whose clocks begin elsewhere (time_namespaces(7)), and namespaces that this process takes for a child.
#define _GNU_SOURCE
#include "codex_child.h"
#include "codex_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

// The offsets can be set until the first process is in it; so clone3 cannot make it, for its child is. The file
// belongs to root of the machine while this process may not be traced, also where that is nobody in its user namespace:
// for the opening it is as it was before its first word. No process of the container's is there yet.
int codex_time_offsets(const char *text, size_t length) {
    if (unshare(CLONE_NEWTIME) < 0) return -errno;
    int file = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
    if (file < 0 && errno == EACCES) {
        if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0) return -errno;
        file = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
        int error = errno;
        if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) return -errno;
        errno = error;
    }
    if (file < 0) return -errno;
    ssize_t count = length ? write(file, text, length) : 0;
    int result = count < 0 ? -errno : (size_t)count == length ? 0 : -EIO;
    close(file);
    if (result < 0) return result;
    int space = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
    if (space < 0) return -errno;
    result = syscall(SYS_setns, space, CLONE_NEWTIME) < 0 ? -errno : 0;
    close(space);
    return result;
}

int codex_join_namespace(int space, uint64_t kind) { return syscall(SYS_setns, space, (int)kind) < 0 ? -errno : 0; }
