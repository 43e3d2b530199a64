// A new tmpfs begins with what the image has in its place (the mount option tmpcopyup).
#define _GNU_SOURCE
#include "codex_child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { DEEPEST = 64, PIECE = 4096 };

struct entry { // linux_dirent64 (getdents64(2))
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

// An owner that has no number in this user namespace stays the maker.
static int give(int folder, const char *name, const struct stat *status) {
    if (fchownat(folder, name, status->st_uid, status->st_gid, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) < 0 &&
        errno != EPERM && errno != EINVAL)
        return -errno;
    return 0;
}

static int copy_file(int from, int to, const char *name, const struct stat *status) {
    int source = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (source < 0) return -errno;
    int target = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    int result = target < 0 ? -errno : 0;
    while (result == 0) {
        ssize_t count = sendfile(target, source, NULL, 1 << 20);
        if (count == 0) break;
        if (count < 0 && errno != EINTR) result = -errno;
    }
    if (result == 0) result = give(target, "", status);
    // Behind the owner, whose change takes setuid away.
    if (result == 0 && fchmod(target, status->st_mode & 07777) < 0) result = -errno;
    if (target >= 0) close(target);
    close(source);
    return result;
}

static int copy_link(int from, int to, const char *name, const struct stat *status) {
    char points[4096];
    ssize_t length = readlinkat(from, name, points, sizeof points - 1);
    if (length < 0) return -errno;
    points[length] = 0;
    if (symlinkat(points, to, name) < 0) return -errno;
    return give(to, name, status);
}

static int copy_folder(int from, int to, int depth);

static int copy_entry(int from, int to, const char *name, int depth) {
    struct stat status;
    if (fstatat(from, name, &status, AT_SYMLINK_NOFOLLOW) < 0) return errno == ENOENT ? 0 : -errno;
    if (S_ISREG(status.st_mode)) return copy_file(from, to, name, &status);
    if (S_ISLNK(status.st_mode)) return copy_link(from, to, name, &status);
    // Sockets and devices are no contents.
    if (!S_ISDIR(status.st_mode)) return 0;
    if (depth == DEEPEST) return -ELOOP;
    int source = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (source < 0) return -errno;
    int result = mkdirat(to, name, 0700) < 0 ? -errno : 0;
    int target = result < 0 ? -1 : openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (result == 0 && target < 0) result = -errno;
    if (result == 0) result = copy_folder(source, target, depth + 1);
    if (result == 0) result = give(target, "", &status);
    if (result == 0 && fchmod(target, status.st_mode & 07777) < 0) result = -errno;
    if (target >= 0) close(target);
    close(source);
    return result;
}

static int copy_folder(int from, int to, int depth) {
    _Alignas(struct entry) char buffer[PIECE];
    for (;;) {
        long count = syscall(SYS_getdents64, from, buffer, sizeof buffer);
        if (count < 0) return -errno;
        if (count == 0) return 0;
        for (long at = 0; at < count;) {
            const struct entry *entry = (const struct entry *)(buffer + at);
            at += entry->length;
            if (!strcmp(entry->name, ".") || !strcmp(entry->name, "..")) continue;
            int result = copy_entry(from, to, entry->name, depth);
            if (result < 0) return result;
        }
    }
}

int codex_step_copy_up(struct codex_child_state *state, const struct codex_step *step) {
    int from = codex_path_open(codex_base(state, step), step->path, O_RDONLY | O_DIRECTORY, false);
    if (from == -ENOENT) return 0;
    if (from < 0) return from;
    // The mount is attached nowhere yet: nobody else writes to it.
    int to = openat(codex_slot(state, step->source), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = to < 0 ? -errno : copy_folder(from, to, 0);
    struct stat status;
    if (result == 0 && fstat(from, &status) < 0) result = -errno;
    // flags: 1 = the mount's own options say what its root is.
    if (result == 0 && !(step->flags & 1)) {
        result = give(to, "", &status);
        if (result == 0 && fchmod(to, status.st_mode & 07777) < 0) result = -errno;
    }
    if (to >= 0) close(to);
    close(from);
    return result;
}
