// Mounts of the machine's own, for looking at an image.
#define _GNU_SOURCE
#include "codex_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

extern int umount2(const char *target, int flags); // sys/mount.h and linux/mount.h exclude each other

static const unsigned attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;

static int overlay(int folder, const char *names) {
    int back = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (back < 0) return -errno;
    // Relative names: fsconfig(2) takes 255 bytes of one option.
    int result = fchdir(folder) < 0 ? -errno : 0;
    long context = result < 0 ? -1 : syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC);
    if (result == 0 && context < 0) result = -errno;
    if (result == 0 && syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "source", "codex32", 0) < 0) result = -errno;
    if (result == 0 && syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "lowerdir", names, 0) < 0) result = -errno;
    if (result == 0 && syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) result = -errno;
    if (result == 0) {
        long mount = syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes);
        result = mount < 0 ? -errno : (int)mount;
    }
    if (context >= 0) close((int)context);
    if (fchdir(back) < 0 && result >= 0) {
        close(result);
        result = -errno;
    }
    close(back);
    return result;
}

static int bind(int folder, const char *name) {
    int tree = codex_open_tree(folder, name, OPEN_TREE_CLONE);
    if (tree < 0) return tree;
    int result = codex_mount_setattr(tree, "", AT_EMPTY_PATH, attributes, 0, -1);
    if (result < 0) {
        close(tree);
        return result;
    }
    return tree;
}

int codex_mount_image(int folder, const char *names, int target) {
    int mount = strchr(names, ':') ? overlay(folder, names) : bind(folder, names);
    if (mount < 0) return mount;
    long moved = syscall(SYS_move_mount, mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
    int result = moved == 0 ? 0 : -errno;
    close(mount);
    return result;
}

int codex_unmount(const char *path) { return umount2(path, 8 /* UMOUNT_NOFOLLOW */) == 0 ? 0 : -errno; }
