// Taking mounts away from a mount namespace that others are in too: known by a source of their own.
#define _GNU_SOURCE
#include "codex_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// A line of proc_pid_mountinfo(5) holds two paths, in which each byte may be written as four, and options of a page.
static char lines[1 << 16];

// Behind the field of that number from 0; NULL: there are fewer.
static char *field(char *line, int number) {
    for (; number > 0 && line; number--) {
        line = strchr(line, ' ');
        if (line) line++;
    }
    return line;
}

static void end_field(char *text) { text[strcspn(text, " ")] = 0; }

// "\040" and the like, in place.
static void unescape(char *text) {
    char *to = text;
    for (; *text; to++) {
        if (text[0] == '\\' && text[1] && text[2] && text[3]) {
            *to = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
            text += 4;
        } else {
            *to = *text++;
        }
    }
    *to = 0;
}

// Where a line's mount is, if it has that source.
static const char *place(char *line, const char *mark) {
    char *target = field(line, 4), *kind = strstr(line, " - ");
    char *source = kind ? field(kind + 3, 1) : NULL;
    if (!target || !source) return NULL;
    end_field(source);
    if (strcmp(source, mark) != 0) return NULL;
    end_field(target);
    unescape(target);
    return target;
}

// The first mount with that source; NULL and *error 0: there is none.
static const char *find(int proc, const char *mark, int *error) {
    int file = openat(proc, "self/mountinfo", O_RDONLY | O_CLOEXEC);
    *error = file < 0 ? errno : 0;
    const char *found = NULL;
    size_t have = 0;
    while (file >= 0 && !found) {
        ssize_t count = read(file, lines + have, sizeof lines - 1 - have);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) *error = errno;
        if (count <= 0) break;
        have += (size_t)count;
        lines[have] = 0;
        char *line = lines;
        for (char *end; !found && (end = strchr(line, '\n')); line = end + 1) {
            *end = 0;
            found = place(line, mark);
        }
        have = strlen(line);
        if (have == sizeof lines - 1) have = 0; // No line is that long.
        if (!found) memmove(lines, line, have);
    }
    if (file >= 0) close(file);
    return found;
}

static int unmount_all(int proc, const char *mark) {
    // Of a mount that went on to others of its group there are several.
    for (int round = 0; round < 4096; round++) {
        int error;
        const char *target = find(proc, mark, &error);
        if (!target) return -error;
        if (strcmp(target, "/") == 0) return -EBUSY; // By that name it would be what is below it.
        // What is on top of it, and is its container's, goes first.
        if (umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW) < 0) return -errno;
    }
    return -EBUSY;
}

int codex_unmount_marked(int user_namespace, int mount_namespace, const char *mark) {
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = _Fork();
    int error = errno;
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        // What is mounted at /proc in the other namespace may be anything.
        int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
        int result = proc < 0 ? -errno : 0;
        if (result == 0 && user_namespace >= 0) {
            if (setns(user_namespace, CLONE_NEWUSER) < 0) result = -errno;
            if (result == 0 && syscall(SYS_setresgid, 0, 0, 0) < 0) result = -errno;
            if (result == 0 && syscall(SYS_setresuid, 0, 0, 0) < 0) result = -errno;
        }
        if (result == 0 && mount_namespace >= 0 && setns(mount_namespace, CLONE_NEWNS) < 0) result = -errno;
        if (result == 0) result = unmount_all(proc, mark);
        _exit(-result);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid < 0) return -error;
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return -errno;
    return WIFEXITED(status) ? -WEXITSTATUS(status) : -ECANCELED;
}
