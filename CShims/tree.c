// Trees of files by descriptor: what the other wrappers do not have. Each returns its result or -errno.
#define _GNU_SOURCE
#include "codex_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/fs.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x00001000U
#endif

int codex_node(int folder, const char *name, struct codex_node *node) {
    struct statx status;
    int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH);
    if (statx(folder, name, flags, STATX_BASIC_STATS | STATX_MNT_ID, &status) < 0) return -errno;
    *node = (struct codex_node){
        .mode = status.stx_mode,
        .uid = status.stx_uid,
        .gid = status.stx_gid,
        .links = status.stx_nlink,
        .device = (uint64_t)status.stx_dev_major << 32 | status.stx_dev_minor,
        .inode = status.stx_ino,
        .size = status.stx_size,
        .blocks = status.stx_blocks,
        .modified = status.stx_mtime.tv_sec,
        .modified_nanoseconds = status.stx_mtime.tv_nsec,
        .changed = status.stx_ctime.tv_sec,
        .changed_nanoseconds = status.stx_ctime.tv_nsec,
        .device_major = status.stx_rdev_major,
        .device_minor = status.stx_rdev_minor,
        .mount = status.stx_mnt_id,
    };
    return 0;
}

int64_t codex_file_system(int descriptor) {
    struct statfs status;
    if (fstatfs(descriptor, &status) < 0) return -errno;
    return (int64_t)(uint32_t)status.f_type;
}

int codex_share_contents(int to, int from) { return ioctl(to, FICLONE, from) == 0 ? 0 : -errno; }

int64_t codex_capacity(int descriptor) {
    struct statfs status;
    if (fstatfs(descriptor, &status) < 0) return -errno;
    return (int64_t)status.f_blocks * status.f_bsize;
}

long codex_attributes(int descriptor, char *names, size_t size) {
    ssize_t count = flistxattr(descriptor, names, size);
    return count < 0 ? -errno : count;
}

long codex_attribute(int descriptor, const char *name, void *value, size_t size) {
    ssize_t count = fgetxattr(descriptor, name, value, size);
    return count < 0 ? -errno : count;
}

int codex_set_attribute(int descriptor, const char *name, const void *value, size_t size) {
    return fsetxattr(descriptor, name, value, size, 0) == 0 ? 0 : -errno;
}

int codex_set_times(int folder, const char *name, int64_t seconds, uint32_t nanoseconds) {
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = seconds, .tv_nsec = nanoseconds}};
    int result = name ? utimensat(folder, name, times, AT_SYMLINK_NOFOLLOW) : futimens(folder, times);
    return result == 0 ? 0 : -errno;
}

int codex_link(int from, const char *old, int to, const char *name) {
    return linkat(from, old, to, name, 0) == 0 ? 0 : -errno;
}

int codex_link_followed(int from, const char *old, int to, const char *name) {
    return linkat(from, old, to, name, AT_SYMLINK_FOLLOW) == 0 ? 0 : -errno;
}

int codex_make_pipe(int folder, const char *name, unsigned mode) {
    return mkfifoat(folder, name, mode) == 0 ? 0 : -errno;
}

int64_t codex_seek_extent(int descriptor, int64_t offset, int data) {
    off_t place = lseek(descriptor, offset, data ? SEEK_DATA : SEEK_HOLE);
    return place < 0 ? -errno : place;
}

int64_t codex_seek(int descriptor, int64_t offset) {
    off_t place = lseek(descriptor, offset, SEEK_SET);
    return place < 0 ? -errno : place;
}

int codex_rename_to(int from, const char *old, int to, const char *name, unsigned flags) {
    return syscall(SYS_renameat2, from, old, to, name, flags) == 0 ? 0 : -errno;
}

int codex_spawn_helper(const char *path, char *const *argv, char *const *envp, int input, int output,
                       const int *keep, int count, int is_filter, int *pidfd) {
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t child = _Fork();
    int error = errno;
    if (child == 0) {
        struct sigaction action = {.sa_handler = SIG_DFL};
        for (int number = 1; number < NSIG; number++) (void)sigaction(number, &action, NULL);
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        // Out of the way of 0 and 1 first: either may be the other's number.
        int from[2] = {fcntl(input, F_DUPFD_CLOEXEC, 3), fcntl(output, F_DUPFD_CLOEXEC, 3)};
        if (from[0] < 0 || from[1] < 0 || dup2(from[0], 0) < 0 || dup2(from[1], 1) < 0) _exit(125);
        if (syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) < 0) _exit(125);
        for (int i = 0; i < count; i++)
            if (fcntl(keep[i], F_SETFD, 0) < 0) _exit(125);
        if (is_filter && codex_become_filter() < 0) _exit(125);
        execve(path, argv, envp);
        _exit(125);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (child < 0) return -error;
    // Not reaped before: the number is the child's own.
    long number = syscall(SYS_pidfd_open, child, 0);
    if (number < 0) {
        error = errno;
        kill(child, SIGKILL);
        return -error;
    }
    *pidfd = (int)number;
    return child;
}

int codex_enter_user_namespace(int namespace) { return setns(namespace, CLONE_NEWUSER) == 0 ? 0 : -errno; }

int codex_become_user(uint32_t uid, uint32_t gid) {
    // Refused where the namespace has "deny" (user_namespaces(7)): the caller's own groups then stay.
    if (syscall(SYS_setgroups, 0, NULL) < 0 && errno != EPERM) return -errno;
    if (syscall(SYS_setresgid, gid, gid, gid) < 0) return -errno;
    return syscall(SYS_setresuid, uid, uid, uid) == 0 ? 0 : -errno;
}

int codex_die_with(int parent) {
    // Lost by a change of ids, so this comes last (prctl(2)).
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) return -errno;
    return getppid() == parent ? 0 : -ESRCH;
}
