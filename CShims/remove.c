// Removing a tree that somebody hostile may have made: by descriptor, links never followed, and
// with two descriptors and no recursion however deep it is.
#define _GNU_SOURCE
#include "codex_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// struct linux_dirent64 of getdents64(2).
struct entry {
    uint64_t inode;
    int64_t offset;
    uint16_t length;
    uint8_t type;
    char name[];
};

static void append_number(char *text, uint64_t number) {
    char digits[17];
    int count = 0;
    do digits[count++] = "0123456789abcdef"[number & 15];
    while (number >>= 4);
    text += strlen(text);
    while (count) *text++ = digits[--count];
    *text = 0;
}

static void append_decimal(char *text, unsigned number) {
    char digits[11];
    int count = 0;
    do digits[count++] = (char)('0' + number % 10);
    while (number /= 10);
    text += strlen(text);
    while (count) *text++ = digits[--count];
    *text = 0;
}

// A folder's mode may keep its owner out. O_PATH needs no permission, and its name in /proc/self/fd
// leads to what it is, so that nothing put in its place meanwhile is followed.
static int unlock(int folder, const char *name) {
    int closed = openat(folder, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (closed < 0) return -errno;
    char path[32] = "/proc/self/fd/";
    append_decimal(path, (unsigned)closed);
    int result = chmod(path, 0700) == 0 ? 0 : -errno;
    close(closed);
    return result;
}

static int open_to_empty(int folder, const char *name) {
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int opened = openat(folder, name, flags);
    if (opened < 0 && errno == EACCES) {
        int result = unlock(folder, name);
        if (result < 0) return result;
        opened = openat(folder, name, flags);
    }
    if (opened < 0) return -errno;
    struct stat status;
    // What may be read may still not be written to; where this fails, the removal says why.
    if (fstat(opened, &status) == 0 && (status.st_mode & 0700) != 0700) (void)fchmod(opened, 0700);
    return opened;
}

// 0: gone; 1: a folder that is not empty; -errno.
static int remove_one(int folder, const char *name) {
    if (unlinkat(folder, name, 0) == 0 || errno == ENOENT) return 0;
    if (errno != EISDIR && errno != EPERM) return -errno;
    int refused = -errno;
    if (unlinkat(folder, name, AT_REMOVEDIR) == 0 || errno == ENOENT) return 0;
    // No folder: what the first call said is the reason (an immutable file, another's in a sticky folder).
    if (errno == ENOTDIR) return refused;
    return errno == ENOTEMPTY || errno == EEXIST ? 1 : -errno;
}

// Moves a folder to the top under a name that is free there: depth costs nothing then.
static int lift(int folder, const char *name, int top, uint64_t *serial) {
    for (int tries = 0; tries < 4;) {
        char free_name[40] = ".codex32-";
        append_number(free_name, (*serial)++);
        if (syscall(SYS_renameat2, folder, name, top, free_name, 1 /* RENAME_NOREPLACE */) == 0) return 0;
        if (errno == EEXIST) continue;
        if (errno != EACCES) return -errno;
        // Its own ".." changes, so it must be writable itself.
        int result = unlock(folder, name);
        if (result < 0) return result;
        tries++;
    }
    return -EACCES;
}

// Empties a folder: what is in it is removed, and the full folders in it are lifted to the top. At
// the top itself each of those is emptied in its turn. Returns how many entries were met, or -errno.
static int empty(int folder, int top, uint64_t *serial) {
    _Alignas(struct entry) char buffer[8192];
    int met = 0;
    if (lseek(folder, 0, SEEK_SET) < 0) return -errno;
    for (;;) {
        long count = syscall(SYS_getdents64, folder, buffer, sizeof buffer);
        if (count < 0) return -errno;
        if (count == 0) return met;
        for (long at = 0; at < count;) {
            struct entry *entry = (struct entry *)(void *)(buffer + at);
            at += entry->length;
            const char *name = entry->name;
            if (name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]))) continue;
            met = 1;
            int result = remove_one(folder, name);
            if (result < 0) return result;
            if (result == 0) continue;
            if (folder != top) {
                result = lift(folder, name, top, serial);
                if (result < 0) return result;
                continue;
            }
            int below = open_to_empty(top, name);
            if (below < 0) return below;
            // An entry removed while a folder is read can hide another: until none is met.
            do result = empty(below, top, serial);
            while (result > 0);
            close(below);
            if (result < 0) return result;
            if (unlinkat(top, name, AT_REMOVEDIR) < 0) return -errno;
        }
    }
}

// -ENOENT: somebody else removes it too.
static int remove_tree(int folder, const char *name) {
    int result = remove_one(folder, name);
    if (result <= 0) return result;
    int top = open_to_empty(folder, name);
    if (top < 0) return top;
    uint64_t serial = 0;
    do result = empty(top, top, &serial);
    while (result > 0);
    close(top);
    if (result < 0) return result;
    return unlinkat(folder, name, AT_REMOVEDIR) == 0 ? 0 : -errno;
}

int codex_remove_tree(int folder, const char *name) {
    // Two that remove one tree, as a command and the supervisor that clears up behind it may, take entries away from
    // under each other: each goes on until the tree is gone. What keeps changing for ever is not waited for.
    int result = -ENOENT;
    for (int tries = 0; tries < 1000 && result == -ENOENT; tries++) result = remove_tree(folder, name);
    return result;
}

int codex_inside(int user_namespace, int (*work)(const void *), const void *context) {
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = _Fork();
    int error = errno;
    if (pid == 0) {
        // Signals stay blocked: SIGKILL with the parent is the only way to end early.
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        int result = 0;
        if (user_namespace >= 0) {
            if (setns(user_namespace, CLONE_NEWUSER) < 0) result = -errno;
            if (result == 0 && syscall(SYS_setresgid, 0, 0, 0) < 0) result = -errno;
            if (result == 0 && syscall(SYS_setresuid, 0, 0, 0) < 0) result = -errno;
        }
        if (result == 0) result = work(context);
        _exit(-result);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid < 0) return -error;
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return -errno;
    return WIFEXITED(status) ? -WEXITSTATUS(status) : -ECANCELED;
}

struct tree {
    int folder;
    const char *name;
};

static int remove_inside(const void *context) {
    const struct tree *tree = context;
    return codex_remove_tree(tree->folder, tree->name);
}

int codex_remove_tree_in(int user_namespace, int folder, const char *name) {
    return codex_inside(user_namespace, remove_inside, &(struct tree){folder, name});
}
