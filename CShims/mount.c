// The mount API by descriptor: fsopen, open_tree, mount_setattr, move_mount, pivot_root.
#define _GNU_SOURCE
#include "codex_child.h"
#include "codex_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MNT_DETACH
#define MNT_DETACH 2
#endif
extern int umount2(const char *target, int flags); // sys/mount.h and linux/mount.h exclude each other

int codex_open_tree(int folder, const char *path, unsigned flags) {
    long tree = syscall(SYS_open_tree, folder, path, flags | OPEN_TREE_CLOEXEC);
    return tree < 0 ? -errno : (int)tree;
}

int codex_mount_setattr(int folder, const char *path, unsigned flags, uint64_t set, uint64_t clear, int userns) {
    struct mount_attr attributes = {.attr_set = set, .attr_clr = clear};
    if (userns >= 0) attributes.userns_fd = (uint64_t)userns;
    return syscall(SYS_mount_setattr, folder, path, flags, &attributes, sizeof attributes) == 0 ? 0 : -errno;
}

int codex_mount_private(int mount) {
    struct mount_attr attributes = {.propagation = 1 << 18 /* MS_PRIVATE */};
    long result =
        syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes);
    return result == 0 ? 0 : -errno;
}

int codex_mount_propagation(int mount, uint64_t kind, int recursive) {
    struct mount_attr attributes = {.propagation = kind};
    long result = syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attributes,
                          sizeof attributes);
    return result == 0 ? 0 : -errno;
}

int codex_step_propagation(struct codex_child_state *state, const struct codex_step *step) {
    return codex_mount_propagation(codex_slot(state, step->source), step->a, step->flags != 0);
}

int codex_fs_supported(const char *type) {
    long context = syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
    if (context < 0) return errno == ENODEV ? 0 : -errno;
    close((int)context);
    return 1;
}

static int clone_mount(int source, unsigned flags) {
    return codex_open_tree(source, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | flags);
}

static int attach(int mount, int target) {
    long result = syscall(SYS_move_mount, mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
    return result == 0 ? 0 : -errno;
}

// A file system context keeps the kernel's own words on what it disliked (fsopen(2)).
static void read_complaint(struct codex_child_state *state, int context) {
    ssize_t count = read(context, state->detail, sizeof state->detail - 1);
    state->detail[count > 0 ? count : 0] = 0;
}

int codex_step_new_fs(struct codex_child_state *state, const struct codex_step *step) {
    if (step->source >= 0 && fchdir(codex_slot(state, step->source)) < 0) return -errno;
    long context = syscall(SYS_fsopen, step->path, FSOPEN_CLOEXEC);
    if (context < 0) return -errno;
    int result = 0;
    // Options stand one behind the other as "key\0value\0"; an empty value is a flag.
    const char *option = step->text, *end = option + step->text_length;
    while (option < end && result == 0) {
        const char *value = option + strlen(option) + 1;
        unsigned command = *value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG;
        if (syscall(SYS_fsconfig, context, command, option, *value ? value : NULL, 0) < 0) {
            result = -errno;
            read_complaint(state, (int)context);
        }
        option = value + strlen(value) + 1;
    }
    if (result == 0 && syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
        result = -errno;
        read_complaint(state, (int)context);
    }
    long mount = -1;
    if (result == 0) {
        mount = syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, (unsigned)step->a);
        if (mount < 0) result = -errno;
    }
    close((int)context);
    return result < 0 ? result : codex_store(state, step, (int)mount);
}

int codex_step_open(struct codex_child_state *state, const struct codex_step *step) {
    int descriptor = open(step->path, O_PATH | O_CLOEXEC);
    if (descriptor < 0) return -errno;
    struct stat status;
    if (fstat(descriptor, &status) < 0) return -errno;
    // What the parent saw is what is mounted, whatever happened to the name in between.
    if ((step->a || step->b) && (status.st_dev != step->a || status.st_ino != step->b)) {
        close(descriptor);
        return -ESTALE;
    }
    return codex_store(state, step, descriptor);
}

int codex_step_open_device(struct codex_child_state *state, const struct codex_step *step) {
    // What has been cloned is looked at, not the name: nothing can be exchanged between the two.
    int tree = codex_open_tree(AT_FDCWD, step->path, OPEN_TREE_CLONE | AT_SYMLINK_NOFOLLOW);
    if (tree < 0) return tree;
    struct stat status;
    int result = fstat(tree, &status) < 0 ? -errno : 0;
    if (result == 0 && (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode) || S_ISLNK(status.st_mode) ||
                        status.st_rdev != step->a))
        result = -ENODEV; // not the device it should be (CVE-2025-31133)
    if (result < 0) close(tree);
    return codex_store(state, step, result < 0 ? result : tree);
}

int codex_step_clone_tree(struct codex_child_state *state, const struct codex_step *step) {
    int tree = clone_mount(codex_slot(state, step->source), step->flags);
    if (tree < 0) return tree;
    // a: 1 = what is mounted where it comes from goes on to show here.
    int result = step->a ? codex_mount_propagation(tree, 1 << 19 /* MS_SLAVE */, 1) : codex_mount_private(tree);
    return result < 0 ? result : codex_store(state, step, tree);
}

int codex_step_mount_attr(struct codex_child_state *state, const struct codex_step *step) {
    return codex_mount_setattr(codex_slot(state, step->source), "", AT_EMPTY_PATH | step->flags, step->a, step->b, -1);
}

int codex_step_private_mounts(void) {
    struct mount_attr attributes = {.propagation = 1 << 18 /* MS_PRIVATE */};
    long result = syscall(SYS_mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &attributes, sizeof attributes);
    return result == 0 ? 0 : -errno;
}

int codex_step_enter_host(struct codex_child_state *state, const struct codex_step *step) {
    const char *path = "/";
    int place = step->path ? open(step->path, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    // A folder that is closed to the container's ids: what is above it hides nothing from the steps that follow. Not
    // where others would see it (within).
    if (step->path && place < 0 && (errno != EACCES || step->within >= 0)) return -errno;
    // Where others see it, it goes over nothing but what was meant, whatever a path has come to mean by now.
    struct stat here, meant, top;
    if (step->within >= 0) {
        int result = fstat(place, &here) < 0 || fstat(codex_slot(state, step->within), &meant) < 0 || stat("/", &top) < 0
                         ? -errno
                     : here.st_dev != meant.st_dev || here.st_ino != meant.st_ino ? -ESTALE
                     // What lies over the root nobody who is in the namespace sees, and nobody could take away by its name.
                     : here.st_dev == top.st_dev && here.st_ino == top.st_ino ? -EBUSY
                                                                              : 0;
        if (result < 0) {
            close(place);
            return result;
        }
    }
    if (place >= 0) path = "";
    long result = syscall(SYS_move_mount, codex_slot(state, step->source), "", place >= 0 ? place : AT_FDCWD, path,
                          MOVE_MOUNT_F_EMPTY_PATH | (place >= 0 ? MOVE_MOUNT_T_EMPTY_PATH : 0));
    int error = errno;
    if (place >= 0) close(place);
    return result == 0 ? 0 : -error;
}

int codex_step_attach(struct codex_child_state *state, const struct codex_step *step) {
    int target = codex_path_target(codex_base(state, step), step->path, step->flags);
    if (target == -ENOENT && (step->flags & CODEX_TARGET_OPTIONAL)) return 0;
    if (target < 0) return target;
    int result = attach(codex_slot(state, step->source), target);
    close(target);
    return result;
}

// The empty, read-only folder that covers other folders: made for the first of them, and cloned from there.
static int cover_folder(struct codex_child_state *state, int slot, int target) {
    static const char options[] = "size\0004096\0mode\0000555";
    int made = codex_slot(state, slot);
    if (made < 0) {
        struct codex_step step = {
            .slot = slot,
            .source = -1,
            .a = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
            .path = "tmpfs",
            .text = options,
            .text_length = sizeof options,
        };
        int result = codex_step_new_fs(state, &step);
        return result < 0 ? result : attach(codex_slot(state, slot), target);
    }
    int cover = clone_mount(made, 0);
    if (cover < 0) return cover;
    int result = attach(cover, target);
    close(cover);
    return result;
}

int codex_step_mask(struct codex_child_state *state, const struct codex_step *step) {
    int target = codex_path_open(codex_base(state, step), step->path, O_PATH, false);
    if (target == -ENOENT || target == -ENOTDIR) return 0;
    if (target < 0) return target;
    struct stat status;
    int result = fstat(target, &status) < 0 ? -errno : 0;
    if (result == 0 && S_ISDIR(status.st_mode)) {
        result = cover_folder(state, (int)step->a, target);
    } else if (result == 0) {
        // One that is attached nowhere yet cannot be cloned before Linux 6.15 (EINVAL): it is the first cover itself.
        int null = codex_slot(state, step->source);
        int cover = clone_mount(null, 0);
        result = cover == -EINVAL ? attach(null, target) : cover < 0 ? cover : attach(cover, target);
        if (cover >= 0) close(cover);
    }
    close(target);
    return result;
}

int codex_step_read_only(struct codex_child_state *state, const struct codex_step *step) {
    int target = codex_path_open(codex_base(state, step), step->path, O_PATH, false);
    if (target == -ENOENT || target == -ENOTDIR) return 0;
    if (target < 0) return target;
    int tree = clone_mount(target, AT_RECURSIVE);
    int result = tree < 0 ? tree : 0;
    if (result == 0)
        result = codex_mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, MOUNT_ATTR_RDONLY, 0, -1);
    if (result == 0) result = attach(tree, target);
    if (tree >= 0) close(tree);
    close(target);
    return result;
}

// Whether the root in use is what "/.." leads to: a mount left on top of it would show there. Negative: -errno.
static int is_uncovered(int root) {
    struct stat own, above;
    if (fstat(root, &own) < 0 || stat("/..", &above) < 0) return -errno;
    return own.st_dev == above.st_dev && own.st_ino == above.st_ino;
}

int codex_step_pivot(struct codex_child_state *state) {
    if (fchdir(state->root) < 0) return -errno;
    // pivot_root(2): with both names ".", the old root ends up on top of the new one, and detaching
    // "." takes the old one away. No folder has to be made for it, and no path leads back to it.
    if (syscall(SYS_pivot_root, ".", ".") < 0) return -errno;
    // Where an overlay was put together, its staging folder still lies on the old root: each is
    // detached in turn, and nothing goes on until the new root is what is seen.
    for (int covers = 0; covers < 2; covers++) {
        if (umount2(".", MNT_DETACH) < 0) return -errno;
        int uncovered = is_uncovered(state->root);
        if (uncovered < 0) return uncovered;
        if (uncovered) return chdir("/") == 0 ? 0 : -errno;
    }
    return -EXDEV;
}

// For a mount namespace that others are in: their root stays theirs. Who may call chroot(2) can leave it again, as
// chroot(2) says.
int codex_step_chroot(struct codex_child_state *state) {
    if (fchdir(state->root) < 0) return -errno;
    if (chroot(".") < 0) return -errno;
    return chdir("/") == 0 ? 0 : -errno;
}
