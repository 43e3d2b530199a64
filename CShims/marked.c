// Taking mounts away from a mount namespace that others are in too: known by a source of their own.
#define _GNU_SOURCE
#include "codex_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
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

static void append_number(char *text, unsigned number) {
    char digits[11];
    int count = 0;
    do digits[count++] = (char)('0' + number % 10);
    while (number /= 10);
    text += strlen(text);
    while (count) *text++ = digits[--count];
    *text = 0;
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

// What is looked for, and found, in a list of mounts.
struct search {
    const char *mark;  // of the base: a tmpfs with that source
    uint64_t id;       // or the mount of that number, where it is not 0
    uint64_t found_id, found_parent;
    const char *target; // where it is; NULL: there is none
};

static void look(char *line, struct search *search) {
    char *parent = field(line, 1), *target = field(line, 4), *kind = strstr(line, " - ");
    char *source = kind ? field(kind + 3, 1) : NULL;
    if (!parent || !target || !source) return;
    uint64_t id = strtoull(line, NULL, 10);
    end_field(source);
    if (search->id ? id != search->id : strncmp(kind, " - tmpfs ", 9) != 0 || strcmp(source, search->mark) != 0) return;
    search->found_id = id;
    search->found_parent = strtoull(parent, NULL, 10);
    end_field(target);
    unescape(target);
    search->target = target;
}

// 0, or -errno.
static int find(int proc, struct search *search) {
    int file = openat(proc, "self/mountinfo", O_RDONLY | O_CLOEXEC);
    int error = file < 0 ? errno : 0;
    search->target = NULL;
    size_t have = 0;
    while (file >= 0 && !search->target) {
        ssize_t count = read(file, lines + have, sizeof lines - 1 - have);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) error = errno;
        if (count <= 0) break;
        have += (size_t)count;
        lines[have] = 0;
        char *line = lines;
        for (char *end; !search->target && (end = strchr(line, '\n')); line = end + 1) {
            *end = 0;
            look(line, search);
        }
        have = strlen(line);
        if (have == sizeof lines - 1) have = 0; // No line is that long.
        if (!search->target) memmove(lines, line, have);
    }
    if (file >= 0) close(file);
    return -error;
}

// Takes away the base of that mark, or what is the container's own on top of it; of others' it is theirs to do first.
// By descriptor: what its path leads to may be another mount by then. 1: it was done, 0: there is none.
static int unmount_one(int proc, const char *mark) {
    struct search base = {.mark = mark};
    int result = find(proc, &base);
    if (result < 0 || !base.target) return result;
    int top = open(base.target, O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
    if (top < 0) return -errno;
    struct statx status;
    if (statx(top, "", AT_EMPTY_PATH, STATX_MNT_ID, &status) < 0) result = -errno;
    if (result == 0 && status.stx_mnt_id != base.found_id) {
        struct search own = {.id = status.stx_mnt_id};
        result = find(proc, &own);
        if (result == 0 && (!own.target || own.found_parent != base.found_id)) result = -EBUSY;
    }
    // Relative, by the procfs that was there before: what is at /proc by now may be anything.
    char path[32] = "self/fd/";
    append_number(path, (unsigned)top);
    if (result == 0 && (fchdir(proc) < 0 || umount2(path, MNT_DETACH) < 0)) result = -errno;
    close(top);
    return result < 0 ? result : 1;
}

static int unmount_all(int proc, const char *mark) {
    // Of a mount that went on to others of its group there are several.
    for (int round = 0; round < 4096; round++) {
        int result = unmount_one(proc, mark);
        if (result <= 0) return result;
    }
    return -EBUSY;
}

struct marked {
    int mount_namespace;
    const char *mark;
};

static int unmount(const void *context) {
    const struct marked *marked = context;
    // What is mounted at /proc in the other namespace may be anything.
    int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (proc < 0 || (marked->mount_namespace >= 0 && setns(marked->mount_namespace, CLONE_NEWNS) < 0)) return -errno;
    return unmount_all(proc, marked->mark);
}

int codex_unmount_marked(int user_namespace, int mount_namespace, const char *mark) {
    return codex_inside(user_namespace, unmount, &(struct marked){mount_namespace, mark});
}
