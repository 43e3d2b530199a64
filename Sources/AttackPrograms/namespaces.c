// Ways to new powers: namespaces, mounts, roots.
#define _GNU_SOURCE
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static enum attack_outcome unshare_user(struct attack *attack) {
    if (unshare(CLONE_NEWUSER) < 0) return stopped(attack, "unshare");
    return succeeded(attack, "a user namespace of its own, with every capability in it");
}

static enum attack_outcome clone_user(struct attack *attack) {
    long child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (child == 0) _exit(0);
    if (child < 0) return stopped(attack, "clone");
    waitpid((pid_t)child, NULL, 0);
    return succeeded(attack, "a child in a user namespace of its own");
}

// clone3(2) keeps its flags in memory, where a filter cannot look.
static enum attack_outcome clone3_user(struct attack *attack) {
    struct { unsigned long long flags, pidfd, child_tid, parent_tid, exit_signal, rest[6]; } arguments = {
        .flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
    long child = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (child == 0) _exit(0);
    if (child < 0) return stopped(attack, "clone3");
    waitpid((pid_t)child, NULL, 0);
    return succeeded(attack, "a child in a user namespace of its own");
}

// In a mount namespace of its own where that is to be had: as a control, nothing of the machine's changes.
static int own_mounts(void) {
    if (unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) return -1;
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

static enum attack_outcome nested_mount(struct attack *attack) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) return stopped(attack, "unshare");
    if (mount("none", "/tmp", "tmpfs", 0, "size=4k") < 0) return stopped(attack, "mount");
    return succeeded(attack, "a mount, in namespaces of its own");
}

static enum attack_outcome release_agent(struct attack *attack) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWCGROUP) < 0) return stopped(attack, "unshare");
    static const char *const controllers[] = {"memory", "rdma", "pids", "misc", "none,name=codex32-selftest"};
    int error = EPERM;
    for (size_t i = 0; i < sizeof controllers / sizeof *controllers; i++) {
        if (mount("none", "/tmp", "cgroup", 0, controllers[i]) == 0) return succeeded(attack, "a cgroup v1 tree is mounted");
        if (errno != ENOENT && errno != EBUSY) error = errno;
    }
    if (getenv("ATTACK_CONTROL") && access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0)
        return impossible(attack, "this machine has cgroup v2 alone, and no v1 tree for a namespace to see");
    errno = error;
    return stopped(attack, "mount");
}

// With the powers that it was given, without a namespace of its own first.
static enum attack_outcome release_agent_direct(struct attack *attack) {
    static const char *const files[] = {"/sys/fs/cgroup/memory/release_agent", "/sys/fs/cgroup/rdma/release_agent",
                                        "/sys/fs/cgroup/pids/release_agent", "/sys/fs/cgroup/systemd/release_agent"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        int file = open(files[i], O_WRONLY | O_CLOEXEC); // opened and not written: the machine's own is as it was
        if (file >= 0) return succeeded(attack, "%s can be written", files[i]);
    }
    int error = errno;
    // A hierarchy of its own, without controllers, is gone with the mount namespace.
    if (own_mounts() == 0 && (mount("none", "/tmp", "cgroup", 0, "rdma") == 0 ||
                              mount("none", "/tmp", "cgroup", 0, "none,name=codex32-selftest") == 0)) {
        if (open("/tmp/release_agent", O_WRONLY | O_CLOEXEC) >= 0) return succeeded(attack, "a cgroup v1 tree of its own");
        error = errno;
    }
    errno = error;
    return stopped(attack, "open");
}

static enum attack_outcome cgroup_write(struct attack *attack) {
    static const char *const files[] = {
        "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/cgroup.subtree_control", "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/memory/cgroup.procs", "/sys/fs/cgroup/pids/cgroup.procs",
        "/sys/fs/cgroup/unified/cgroup.procs", "/sys/fs/cgroup/systemd/cgroup.procs"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (open(files[i], O_WRONLY | O_CLOEXEC) >= 0) return succeeded(attack, "%s can be written", files[i]);
    return stopped(attack, "open");
}

static enum attack_outcome join_namespace(struct attack *attack) {
    // As a control one's own will do: pid 1 of a machine may be closed even to root.
    int namespace = open(getenv("ATTACK_CONTROL") ? "/proc/self/ns/mnt" : "/proc/1/ns/mnt", O_RDONLY | O_CLOEXEC);
    if (namespace < 0) return stopped(attack, "open");
    if (setns(namespace, CLONE_NEWNS) < 0) return stopped(attack, "setns");
    return succeeded(attack, "in the namespace of pid 1");
}

static enum attack_outcome mount_here(struct attack *attack) {
    if (getenv("ATTACK_CONTROL") && own_mounts() < 0) return stopped(attack, "unshare");
    if (mount("none", "/tmp", "tmpfs", 0, "size=4k") < 0) return stopped(attack, "mount");
    return succeeded(attack, "a mount of its own");
}

static enum attack_outcome mount_by_descriptor(struct attack *attack) {
    if (getenv("ATTACK_CONTROL") && own_mounts() < 0) return stopped(attack, "unshare");
    if (syscall(SYS_fsopen, "tmpfs", 0) < 0) return stopped(attack, "fsopen");
    return succeeded(attack, "a new file system by fsopen");
}

static enum attack_outcome clone_mount(struct attack *attack) {
    if (getenv("ATTACK_CONTROL") && own_mounts() < 0) return stopped(attack, "unshare");
    // The second with all that is mounted below: of locked mounts the kernel gives nothing less.
    if (syscall(SYS_open_tree, AT_FDCWD, "/", 1 /* OPEN_TREE_CLONE */) < 0 &&
        syscall(SYS_open_tree, AT_FDCWD, "/", 1 | 0x8000 /* AT_RECURSIVE */) < 0)
        return stopped(attack, "open_tree");
    return succeeded(attack, "a copy of a mount without what is mounted over it");
}

// A mask is a mount over what is to be hidden: taken away, it hides nothing.
static enum attack_outcome unmask(struct attack *attack) {
    static const char *const masks[] = {"/proc/keys", "/proc/timer_list", "/proc/interrupts", "/proc/kcore"};
    int error = 0;
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
        if (umount2(masks[i], MNT_DETACH) == 0) return succeeded(attack, "the mask of %s is gone", masks[i]);
        error = errno;
    }
    errno = error;
    return stopped(attack, "umount2");
}

// Read-only by its mount alone: made writable by one call.
static enum attack_outcome remount_writable(struct attack *attack) {
    const char *place = target("ATTACK_READ_ONLY");
    if (mount(NULL, place, NULL, MS_REMOUNT | MS_BIND, NULL) < 0) return stopped(attack, "mount");
    return succeeded(attack, "a read-only volume can be written");
}

static enum attack_outcome pivot(struct attack *attack) {
    if (getenv("ATTACK_CONTROL") && (own_mounts() < 0 || mount("none", "/tmp", "tmpfs", 0, "size=4k") < 0 || chdir("/tmp") < 0))
        return stopped(attack, "mount");
    if (syscall(SYS_pivot_root, getenv("ATTACK_CONTROL") ? "." : "/tmp", getenv("ATTACK_CONTROL") ? "." : "/tmp") < 0)
        return stopped(attack, "pivot_root");
    return succeeded(attack, "another root");
}

// Out of a changed root by one more: the working folder stays outside of the second.
static enum attack_outcome chroot_out(struct attack *attack) {
    char jail[512];
    snprintf(jail, sizeof jail, "%s/jail", target("ATTACK_PLACE"));
    if (getenv("ATTACK_CONTROL") && (chroot(jail) < 0 || chdir("/") < 0)) return stopped(attack, "chroot");
    const char *second = getenv("ATTACK_CONTROL") ? "/second" : "/tmp/second";
    if (mkdir(second, 0700) < 0 && errno != EEXIST) return stopped(attack, "mkdir");
    if (chroot(second) < 0) return stopped(attack, "chroot");
    for (int i = 0; i < 64; i++)
        if (chdir("..") < 0) return stopped(attack, "chdir");
    if (chroot(".") < 0) return stopped(attack, "chroot");
    return read_file(attack, target("ATTACK_SENTINEL"));
}

static enum attack_outcome change_hostname(struct attack *attack) {
    if (getenv("ATTACK_CONTROL") && unshare(CLONE_NEWUSER | CLONE_NEWUTS) < 0) return stopped(attack, "unshare");
    if (sethostname("attacked", 8) < 0) return stopped(attack, "sethostname");
    return succeeded(attack, "another host name");
}

// Whoever makes a user namespace is its root once that is written down.
static void become_root_of_own(unsigned uid, unsigned gid) {
    const char *const files[] = {"/proc/self/setgroups", "/proc/self/uid_map", "/proc/self/gid_map"};
    for (size_t i = 0; i < 3; i++) {
        char line[64] = "deny";
        if (i > 0) snprintf(line, sizeof line, "0 %u 1", i == 1 ? uid : gid);
        int file = open(files[i], O_WRONLY | O_CLOEXEC);
        if (file < 0) continue;
        (void)!write(file, line, strlen(line));
        close(file);
    }
}

// In namespaces of one's own anybody may mount one since Linux 5.11: files that are copied up take rights with them.
static enum attack_outcome overlay_confusion(struct attack *attack) {
    unsigned uid = geteuid(), gid = getegid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) return stopped(attack, "unshare");
    become_root_of_own(uid, gid);
    // Its own place: no volume lies below /dev, inside or outside.
    if (mount("none", "/dev", "tmpfs", 0, "size=64k") < 0) return stopped(attack, "mount");
    if (mkdir("/dev/upper", 0700) < 0 || mkdir("/dev/work", 0700) < 0 || mkdir("/dev/both", 0700) < 0)
        return stopped(attack, "mkdir");
    char options[1200];
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=/dev/upper,workdir=/dev/work", target("ATTACK_VOLUME"));
    if (mount("overlay", "/dev/both", "overlay", 0, options) < 0) {
        if (getenv("ATTACK_CONTROL") && is_absent(errno)) return impossible(attack, "this kernel has no overlay");
        return stopped(attack, "mount");
    }
    return succeeded(attack, "an overlay over a volume");
}

// A user namespace whose root is this process's user; its only process waits for its end. -1: there is none.
static pid_t mapped_namespace(void) {
    pid_t child = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (child == 0) for (;;) pause();
    if (child < 0) return -1;
    static const char *const maps[] = {"uid_map", "gid_map"};
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/%s", child, maps[i]);
        int map = open(path, O_WRONLY | O_CLOEXEC);
        if (map >= 0) (void)!write(map, "0 0 1", 5);
    }
    return child;
}

// A mount through which other users' files are one's own.
static enum attack_outcome map_confusion(struct attack *attack) {
    pid_t child = mapped_namespace();
    char path[64] = "/proc/self/ns/user";
    if (child > 0) snprintf(path, sizeof path, "/proc/%d/ns/user", child);
    int namespace = open(path, O_RDONLY | O_CLOEXEC);
    struct { unsigned long long set, clear, propagation, user_namespace; } change = {
        .set = 0x100000 /* MOUNT_ATTR_IDMAP */, .user_namespace = (unsigned long long)namespace};
    const char *call = "open_tree";
    int tree = (int)syscall(SYS_open_tree, AT_FDCWD, target("ATTACK_VOLUME"), 1 /* OPEN_TREE_CLONE */), result = tree;
    if (tree >= 0) {
        call = "mount_setattr";
        result = (int)syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &change, sizeof change);
    }
    int error = errno;
    if (child > 0) {
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    errno = error;
    if (result >= 0) return succeeded(attack, "a volume whose files have owners of its own choice");
    if (getenv("ATTACK_CONTROL") && error == EINVAL) return impossible(attack, "the volume's file system knows no id-mapped mounts");
    return stopped(attack, call);
}

const struct attack_program attack_namespaces[] = {
    {"unshare-user", unshare_user}, {"clone-user", clone_user}, {"clone3-user", clone3_user},
    {"nested-mount", nested_mount}, {"release-agent", release_agent}, {"release-agent-direct", release_agent_direct},
    {"cgroup-write", cgroup_write}, {"join-namespace", join_namespace}, {"mount", mount_here}, {"fsopen", mount_by_descriptor},
    {"open-tree", clone_mount}, {"unmask", unmask}, {"remount-writable", remount_writable}, {"pivot-root", pivot},
    {"chroot-escape", chroot_out}, {"set-hostname", change_hostname}, {"overlay-confusion", overlay_confusion},
    {"map-confusion", map_confusion}, {NULL, NULL},
};
