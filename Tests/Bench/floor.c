// The least that a sandbox in namespaces can cost: what every runtime has to ask of the kernel, and
// nothing else. bench.py relates the others' times to this one's.
//
//   floor [--five] ROOTFS PROGRAM [ARG...]
//
// --five leaves the user namespace out, which only root can: what runtimes without one have to do.
// One clone3 with all namespaces, the id maps written by the parent, ROOTFS bound and made the root,
// a fresh /proc, execve, wait. Root maps 0..65535 to 1073741824.., anybody else 0 to its own id.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// sys/mount.h and linux/mount.h exclude each other.
extern int mount(const char *, const char *, const char *, unsigned long, const void *);
extern int umount2(const char *, int);
enum { NO_SETUID = 2, NO_DEVICES = 4, NO_EXEC = 8, RECURSIVE = 0x4000, PRIVATE = 0x40000, DETACH = 2 };

static void need(int good, const char *what) {
    if (good) return;
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    _exit(125);
}

static void put(pid_t pid, const char *name, const char *text) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    int file = open(path, O_WRONLY | O_CLOEXEC);
    need(file >= 0, path);
    need(write(file, text, strlen(text)) == (ssize_t)strlen(text), path);
    close(file);
}

static void child(int ready, int five, char **arguments) {
    char byte;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    need(read(ready, &byte, 1) == 1, "the parent");
    need(setresgid(0, 0, 0) == 0 && setresuid(0, 0, 0) == 0, "ids");
    // In a user namespace the copy of the mounts passes nothing on to the original already.
    if (five) need(mount(NULL, "/", NULL, RECURSIVE | PRIVATE, NULL) == 0, "private mounts");

    int tree = (int)syscall(SYS_open_tree, AT_FDCWD, arguments[0], OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | 0x8000 /* AT_RECURSIVE */);
    need(tree >= 0, arguments[0]);
    need(syscall(SYS_move_mount, tree, "", AT_FDCWD, arguments[0], MOVE_MOUNT_F_EMPTY_PATH) == 0, "move_mount");
    need(fchdir(tree) == 0, "fchdir");
    need(mount("proc", "proc", "proc", NO_SETUID | NO_DEVICES | NO_EXEC, NULL) == 0, "proc");
    need(syscall(SYS_pivot_root, ".", ".") == 0, "pivot_root");
    need(umount2(".", DETACH) == 0 && chdir("/") == 0, "the old root");
    execve(arguments[1], arguments + 1, (char *[]){"PATH=/bin", NULL});
    need(0, arguments[1]);
}

int main(int count, char **arguments) {
    int five = count > 1 && strcmp(arguments[1], "--five") == 0;
    count -= five;
    arguments += five;
    if (count < 3) {
        fputs("usage: floor [--five] ROOTFS PROGRAM [ARG...]\n", stderr);
        return 2;
    }
    uid_t uid = getuid();
    gid_t gid = getgid();
    int pipes[2];
    need(pipe2(pipes, O_CLOEXEC) == 0, "pipe2");

    struct clone_args options = {
        .flags = (five ? 0 : CLONE_NEWUSER) | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS,
        .exit_signal = SIGCHLD,
    };
    pid_t pid = (pid_t)syscall(SYS_clone3, &options, sizeof options);
    need(pid >= 0, "clone3");
    if (pid == 0) child(pipes[0], five, arguments + 1);

    char map[64];
    if (!five && uid == 0) {
        put(pid, "uid_map", "0 1073741824 65536");
        put(pid, "gid_map", "0 1073741824 65536");
    } else if (!five) {
        put(pid, "setgroups", "deny");
        snprintf(map, sizeof map, "0 %u 1", uid);
        put(pid, "uid_map", map);
        snprintf(map, sizeof map, "0 %u 1", gid);
        put(pid, "gid_map", map);
    }
    need(write(pipes[1], "g", 1) == 1, "the child");

    int status;
    while (waitpid(pid, &status, 0) < 0) need(errno == EINTR, "waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
