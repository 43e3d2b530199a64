// Files by descriptor: thin wrappers that carry errno as their result.
#define _GNU_SOURCE
#include "codex_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

int codex_openat(int folder, const char *path, int flags, unsigned mode) {
    int descriptor = openat(folder, path, flags | O_CLOEXEC, mode);
    return descriptor < 0 ? -errno : descriptor;
}

int codex_openat2(int folder, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve) {
    struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
    long descriptor = syscall(SYS_openat2, folder, path, &how, sizeof how);
    return descriptor < 0 ? -errno : (int)descriptor;
}

int codex_close(int descriptor) { return close(descriptor) == 0 ? 0 : -errno; }

long codex_read(int descriptor, void *bytes, size_t size) {
    ssize_t count;
    do count = read(descriptor, bytes, size);
    while (count < 0 && errno == EINTR);
    return count < 0 ? -errno : count;
}

long codex_pread(int descriptor, void *bytes, size_t size, int64_t offset) {
    ssize_t count;
    do count = pread(descriptor, bytes, size, offset);
    while (count < 0 && errno == EINTR);
    return count < 0 ? -errno : count;
}

int codex_ftruncate(int descriptor, int64_t size) { return ftruncate(descriptor, size) == 0 ? 0 : -errno; }

int codex_writable(int descriptor, int milliseconds) {
    struct pollfd wanted = {.fd = descriptor, .events = POLLOUT};
    return poll(&wanted, 1, milliseconds) > 0; // a closed reader counts: the write then says so
}

long codex_write(int descriptor, const void *bytes, size_t size) {
    ssize_t count;
    do count = write(descriptor, bytes, size);
    while (count < 0 && errno == EINTR);
    // Nothing taken of something, and no reason: whoever writes the rest again would do so for ever.
    if (count == 0 && size > 0) return -EIO;
    return count < 0 ? -errno : count;
}

int codex_fstatat(int folder, const char *path, int flags, struct stat *status) {
    return fstatat(folder, path, status, flags) == 0 ? 0 : -errno;
}

long codex_readlinkat(int folder, const char *path, char *bytes, size_t size) {
    ssize_t count = readlinkat(folder, path, bytes, size);
    return count < 0 ? -errno : count;
}

int codex_mkdirat(int folder, const char *path, unsigned mode) {
    return mkdirat(folder, path, mode) == 0 ? 0 : -errno;
}

int codex_unlinkat(int folder, const char *path, int flags) { return unlinkat(folder, path, flags) == 0 ? 0 : -errno; }

int codex_renameat(int from, const char *old, int to, const char *name) {
    return renameat(from, old, to, name) == 0 ? 0 : -errno;
}

int codex_symlinkat(const char *points, int folder, const char *path) {
    return symlinkat(points, folder, path) == 0 ? 0 : -errno;
}

int codex_fchownat(int folder, const char *path, unsigned uid, unsigned gid, int flags) {
    return fchownat(folder, path, uid, gid, flags) == 0 ? 0 : -errno;
}

int codex_chmod(const char *path, unsigned mode) { return chmod(path, mode) == 0 ? 0 : -errno; }
int codex_fchmod(int descriptor, unsigned mode) { return fchmod(descriptor, mode) == 0 ? 0 : -errno; }
int codex_fsync(int descriptor) { return fsync(descriptor) == 0 ? 0 : -errno; }

int codex_syncfs(int descriptor) { return syncfs(descriptor) == 0 ? 0 : -errno; }

int codex_faccessat(int folder, const char *path, int mode, int flags) {
    return faccessat(folder, path, mode, flags) == 0 ? 0 : -errno;
}

int codex_flock(int descriptor, int operation) { return flock(descriptor, operation) == 0 ? 0 : -errno; }
int codex_pipe(int descriptors[2]) { return pipe2(descriptors, O_CLOEXEC) == 0 ? 0 : -errno; }

int codex_duplicate(int descriptor, int lowest) {
    int copy = fcntl(descriptor, F_DUPFD_CLOEXEC, lowest);
    return copy < 0 ? -errno : copy;
}

int codex_set_close_on_exec(int descriptor) { return fcntl(descriptor, F_SETFD, FD_CLOEXEC) == 0 ? 0 : -errno; }

int codex_set_nonblocking(int descriptor, int on) {
    int flags = fcntl(descriptor, F_GETFL);
    if (flags < 0) return -errno;
    return fcntl(descriptor, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) == 0 ? 0 : -errno;
}

long codex_getdents(int folder, void *buffer, size_t size) {
    long count = syscall(SYS_getdents64, folder, buffer, size);
    return count < 0 ? -errno : count;
}
