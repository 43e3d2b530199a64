// What CRIU needs of codex32: a root file system where it looks for one, a mount point in a mount namespace that ends
// with this process; and names for the streams of a container.
#define _GNU_SOURCE
#include "codex_child.h"
#include "codex_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x00001000U
#endif

int codex_stage_root(const char *path, int read_only) {
    if (unshare(CLONE_NEWNS) < 0) return -errno;
    int result = codex_step_private_mounts();
    if (result < 0) return result;
    int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) return -errno;
    int tree = codex_open_tree(root, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | AT_RECURSIVE);
    result = tree < 0 ? tree : codex_mount_private(tree);
    if (result == 0 && read_only)
        result = codex_mount_setattr(tree, "", AT_EMPTY_PATH, MOUNT_ATTR_RDONLY, 0, -1);
    unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    if (result == 0 && syscall(SYS_move_mount, tree, "", root, "", flags) < 0) result = -errno;
    if (tree >= 0) close(tree);
    close(root);
    return result;
}

int codex_stream_name(int pid, int number, char name[CODEX_STREAM_NAME]) {
    char path[48];
    // By its own word: /proc may be that of another pid namespace.
    if (pid == 0)
        snprintf(path, sizeof path, "/proc/self/fd/%d", number);
    else
        snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, number);
    char target[CODEX_STREAM_NAME];
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length < 0) return -errno;
    target[length] = 0;
    if (!strncmp(target, "pipe:[", 6)) {
        memcpy(name, target, length + 1);
        return 0;
    }
    struct statx status;
    if (*target != '/') return -ENOTSUP;
    // Through the link, which opens nothing: the file itself, whatever has its name now.
    if (statx(AT_FDCWD, path, AT_NO_AUTOMOUNT, STATX_INO | STATX_MNT_ID, &status) < 0) return -errno;
    if (!(status.stx_mask & STATX_MNT_ID)) return -ENOTSUP;
    snprintf(
        name, CODEX_STREAM_NAME, "file[%llx:%llx]", (unsigned long long)status.stx_mnt_id,
        (unsigned long long)status.stx_ino);
    return 0;
}
