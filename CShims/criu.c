// A root file system where CRIU looks for one: a mount point, in a mount namespace that ends with this process.
#define _GNU_SOURCE
#include "codex_child.h"
#include "codex_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

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
