// What the program is labelled for a Linux Security Module (proc(5), "/proc/pid/attr/exec"; apparmor(7)): in force
// from its execve(2) on.
#define _GNU_SOURCE
#include "codex_child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

// /proc is the container's, whose image or mounts may show something else there, so that the label would go
// nowhere (CVE-2019-16884, CVE-2019-19921, CVE-2025-52881): it must be the root of a procfs, and nothing may be
// mounted, nor a magic link stand, on the way to this process's own file below it. The root is inode 1 (PROC_ROOT_INO).
static int open_attribute(const char *name) {
    int proc = open("/proc", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (proc < 0) return -errno;
    struct statfs system;
    struct stat status;
    int result = -ENODEV;
    if (fstatfs(proc, &system) < 0 || fstat(proc, &status) < 0) result = -errno;
    else if (system.f_type == PROC_SUPER_MAGIC && status.st_ino == 1) {
        struct open_how how = {
            .flags = O_WRONLY | O_CLOEXEC,
            .resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS,
        };
        long file = syscall(SYS_openat2, proc, name, &how, sizeof how);
        result = file < 0 ? -errno : (int)file;
    }
    close(proc);
    return result;
}

int codex_label(int which, const char *text, size_t length) {
    // Kernels with several modules have AppArmor's in a folder of its own; the other is the first module's.
    int file = which == CODEX_TUNE_APPARMOR ? open_attribute("thread-self/attr/apparmor/exec") : -ENOENT;
    if (file == -ENOENT) file = open_attribute("thread-self/attr/exec");
    if (file < 0) return file;
    static const char before[] = "exec ";
    char command[4096];
    size_t start = which == CODEX_TUNE_APPARMOR ? sizeof before - 1 : 0;
    int result = -ENAMETOOLONG;
    if (length < sizeof command - start) {
        memcpy(command, before, start);
        memcpy(command + start, text, length);
        ssize_t count = write(file, command, start + length);
        result = count < 0 ? -errno : (size_t)count == start + length ? 0 : -EIO;
    }
    close(file);
    return result;
}

// For a file system that knows no label for all that is in it (mqueue, which the kernel made with the namespace).
int codex_step_label_mount(struct codex_child_state *state, const struct codex_step *step) {
    int root = openat(codex_slot(state, step->source), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) return -errno;
    // With the NUL at its end, as SELinux has it.
    int result = fsetxattr(root, "security.selinux", step->text, step->text_length, 0) == 0 ? 0 : -errno;
    close(root);
    return result;
}
