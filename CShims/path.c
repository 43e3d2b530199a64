// Walking inside a container's root, by descriptor from end to end.
//
// The kernel resolves every prefix with RESOLVE_IN_ROOT, so that an absolute link of the image
// means the image's own root and ".." stops there; magic links never work. What a racing writer
// exchanges between two of these calls can move the result only to another place inside the root
// (CVE-2021-30465, CVE-2024-45310).
#define _GNU_SOURCE
#include "codex_child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int codex_path_open(int root, const char *path, uint64_t flags, bool no_symlinks) {
    struct open_how how = {
        .flags = flags | O_CLOEXEC,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | (no_symlinks ? RESOLVE_NO_SYMLINKS : 0),
    };
    for (int attempt = 0; attempt < 128; attempt++) {
        long descriptor = syscall(SYS_openat2, root, path, &how, sizeof how);
        if (descriptor >= 0) return (int)descriptor;
        // A rename elsewhere on the system made ".." uncertain: openat2(2) asks to try again.
        if (errno != EAGAIN && errno != EINTR) return -errno;
    }
    return -EAGAIN;
}

static int folder_at(int root, const char *prefix, bool no_symlinks) {
    return codex_path_open(root, prefix, O_PATH | O_DIRECTORY, no_symlinks);
}

// Opens the folder that a prefix names, making it in parent when it is missing.
static int folder_or_make(int root, int parent, const char *prefix, const char *name, unsigned mode, bool no_symlinks) {
    int folder = folder_at(root, prefix, no_symlinks);
    if (folder != -ENOENT) return folder;
    if (mkdirat(parent, name, mode) < 0 && errno != EEXIST) return -errno;
    return folder_at(root, prefix, no_symlinks);
}

// Opens the folder that holds the last part of path, or answers root itself where that is the one; see leave.
static int walk_parent(int root, const char *path, const char **name, char *copy, size_t size, bool no_symlinks) {
    size_t length = strlen(path);
    if (length >= size) return -ENAMETOOLONG;
    memcpy(copy, path, length + 1);
    while (length > 1 && copy[length - 1] == '/') copy[--length] = 0;
    // Nearly always the folder above is there: one call instead of one for each part.
    char *last = strrchr(copy, '/');
    if (last == copy) {
        // Directly below a mount of ours, as /dev/null is below /dev: nothing to walk.
        *name = last + 1;
        return root;
    }
    if (last) {
        *last = 0;
        int above = folder_at(root, copy, no_symlinks);
        *last = '/';
        if (above >= 0) {
            *name = last + 1;
            return above;
        }
        if (above != -ENOENT) return above;
    }
    int parent = folder_at(root, "/", false);
    if (parent < 0) return parent;
    char *start = copy;
    while (*start == '/') start++;
    for (;;) {
        char *end = strchr(start, '/');
        if (!end) break;
        char *next = end;
        while (*next == '/') next++;
        *end = 0;
        int folder = folder_or_make(root, parent, copy, start, 0755, no_symlinks);
        close(parent);
        if (folder < 0) return folder;
        parent = folder;
        *end = '/';
        start = next;
    }
    *name = start;
    return parent;
}

static void leave(int root, int parent) {
    if (parent != root) close(parent);
}

static int path_parent(int root, const char *path, const char **name) {
    // The name must outlive this frame: it points into path, not into the copy.
    char copy[4096];
    const char *last;
    int parent = walk_parent(root, path, &last, copy, sizeof copy, false);
    if (parent >= 0) *name = path + (last - copy);
    return parent;
}

int codex_path_make_folder(int root, const char *path, unsigned mode) {
    char copy[4096];
    const char *name;
    int parent = walk_parent(root, path, &name, copy, sizeof copy, false);
    if (parent < 0) return parent;
    int result = mkdirat(parent, name, mode) == 0 ? 0 : -errno;
    // mkdirat(2) applies the umask; a sticky /tmp must come out as asked.
    if (result == 0 && fchmodat(parent, name, mode, 0) < 0) result = -errno;
    leave(root, parent);
    if (result != -EEXIST) return result;
    int folder = folder_at(root, path, false);
    if (folder < 0) return folder;
    close(folder);
    return 0;
}

// Makes an empty file, which was not there before, and returns it opened.
static int make_file(int root, const char *path, bool no_symlinks) {
    char copy[4096];
    const char *name;
    int parent = walk_parent(root, path, &name, copy, sizeof copy, no_symlinks);
    if (parent < 0) return parent;
    int made = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    int result = made < 0 ? -errno : made;
    leave(root, parent);
    return result;
}

// Where a path leads whose links lead nowhere yet, as a path without links: what links name is to be made, as they
// would be followed. Only ever within the root, as each part is looked at by descriptor; and what is looked at or made
// by the result later is so with no link allowed, so that one who exchanges a part meanwhile gets an error.
static int follow_dangling(int root, const char *path, char *result, size_t size) {
    char rest[4096], longer[4096];
    size_t length = 0;
    if (strlen(path) >= sizeof rest) return -ENAMETOOLONG;
    strcpy(rest, path);
    result[0] = 0;
    for (int links = 0;;) {
        char *name = rest + strspn(rest, "/");
        if (!*name) return length > 0 ? 0 : -ELOOP;
        size_t part = strcspn(name, "/");
        if (part == 2 && name[0] == '.' && name[1] == '.') {
            // Above the root is the root.
            while (length > 0 && result[--length] != '/') continue;
            result[length] = 0;
        } else if (!(part == 1 && name[0] == '.')) {
            if (length + 1 + part >= size) return -ENAMETOOLONG;
            result[length] = '/';
            memcpy(result + length + 1, name, part);
            result[length + 1 + part] = 0;
            // O_NOFOLLOW with O_PATH: the link itself.
            int found = codex_path_open(root, result, O_PATH | O_NOFOLLOW, false);
            struct stat status;
            ssize_t count = -1;
            if (found == -ENOENT) status.st_mode = 0;
            else if (found < 0) return found;
            else if (fstat(found, &status) < 0) status.st_mode = 0;
            if (S_ISLNK(status.st_mode)) count = readlinkat(found, "", longer, sizeof longer);
            if (found >= 0) close(found);
            if (S_ISLNK(status.st_mode)) {
                if (++links > 40 || count <= 0) return -ELOOP; // as the kernel counts (path_resolution(7))
                if ((size_t)count + 1 + strlen(name + part) >= sizeof longer) return -ENAMETOOLONG;
                if (longer[0] == '/') length = 0;
                result[length] = 0;
                strcpy(longer + count, name + part);
                strcpy(rest, longer);
                continue;
            }
            length += 1 + part;
        }
        memmove(rest, name + part, strlen(name + part) + 1);
    }
}

// Makes a mount point that is missing, and opens it.
static int make_target(int root, const char *path, bool is_file, bool no_symlinks) {
    if (is_file) {
        int target = make_file(root, path, no_symlinks);
        if (target != -EEXIST) return target;
    } else {
        char copy[4096];
        const char *name;
        int parent = walk_parent(root, path, &name, copy, sizeof copy, no_symlinks);
        if (parent < 0) return parent;
        int result = mkdirat(parent, name, 0755) < 0 && errno != EEXIST ? -errno : 0;
        leave(root, parent);
        if (result < 0) return result;
    }
    return codex_path_open(root, path, O_PATH, no_symlinks);
}

int codex_path_target(int root, const char *path, uint32_t flags) {
    bool no_symlinks = flags & CODEX_TARGET_NO_SYMLINKS;
    bool makes = !(flags & (CODEX_TARGET_OPTIONAL | CODEX_TARGET_EXISTING));
    bool is_file = flags & CODEX_TARGET_FILE;
    // The files that stand for devices are nearly always new, in a /dev of ours: made first, looked for then.
    int target = makes && is_file && no_symlinks ? make_file(root, path, true) : -EEXIST;
    if (target != -EEXIST) return target;
    target = codex_path_open(root, path, O_PATH, no_symlinks);
    if (target == -ENOENT && makes) {
        target = make_target(root, path, is_file, no_symlinks);
        // Something stands there, or on the way, that leads nowhere.
        if (target == -ENOENT && no_symlinks) return -ELOOP;
        if (target == -ENOENT) {
            char beyond[4096];
            int result = follow_dangling(root, path, beyond, sizeof beyond);
            target = result < 0 ? result : make_target(root, beyond, is_file, true);
        }
    }
    if (target < 0) return target;
    struct stat status;
    if (fstat(target, &status) < 0) {
        int error = errno;
        close(target);
        return -error;
    }
    int wrong = 0;
    if ((flags & CODEX_TARGET_FOLDER) && !S_ISDIR(status.st_mode)) wrong = -ENOTDIR;
    if ((flags & CODEX_TARGET_FILE) && S_ISDIR(status.st_mode)) wrong = -EISDIR;
    if (wrong) {
        close(target);
        return wrong;
    }
    return target;
}

// A device node, or a pipe, with exactly this mode. One that is there already must be the same.
int codex_step_make_node(struct codex_child_state *state, const struct codex_step *step) {
    char copy[4096];
    const char *name;
    int base = codex_base(state, step);
    int parent = walk_parent(base, step->path, &name, copy, sizeof copy, step->within >= 0);
    if (parent < 0) return parent;
    // flags: the mode with its type; slot 0 where nothing may be made, for the folder is the host's.
    mode_t mask = umask(0);
    int result = step->slot == 0 ? -EEXIST
                 : mknodat(parent, name, (mode_t)step->flags, (dev_t)step->a) == 0 ? 0 : -errno;
    umask(mask);
    int node = -1;
    if (result == 0 || result == -EEXIST) {
        bool is_new = result == 0;
        node = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        struct stat status;
        result = node < 0 || fstat(node, &status) < 0 ? -errno : 0;
        if (result == 0 && ((status.st_mode & S_IFMT) != (step->flags & S_IFMT) ||
                            (!S_ISFIFO(status.st_mode) && status.st_rdev != (dev_t)step->a)))
            result = -EEXIST;
        if (result == 0 && is_new &&
            fchownat(node, "", (uid_t)step->b, (gid_t)(step->b >> 32), AT_EMPTY_PATH) < 0)
            result = -errno;
    }
    if (node >= 0) close(node);
    leave(base, parent);
    return result;
}

int codex_step_make_link(struct codex_child_state *state, const struct codex_step *step) {
    const char *name;
    int base = codex_base(state, step);
    int parent = path_parent(base, step->path, &name);
    if (parent < 0) return parent;
    int result = symlinkat(step->text, parent, name) == 0 || errno == EEXIST ? 0 : -errno;
    leave(base, parent);
    return result;
}

int codex_step_make_file(struct codex_child_state *state, const struct codex_step *step) {
    const char *name;
    int parent = path_parent(state->root, step->path, &name);
    if (parent < 0) return parent;
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int file = openat(parent, name, flags, (mode_t)step->a);
    // At a second start the name is taken, and by then it may be a pipe or a link of the program's.
    if (file < 0 && errno == EEXIST && unlinkat(parent, name, 0) == 0)
        file = openat(parent, name, flags, (mode_t)step->a);
    int result = file < 0 ? -errno : 0;
    leave(state->root, parent);
    const char *bytes = step->text;
    size_t left = step->text_length;
    while (result == 0 && left > 0) {
        ssize_t count = write(file, bytes, left);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) result = -errno;
        else bytes += count, left -= (size_t)count;
    }
    if (file >= 0) close(file);
    return result;
}

// Writes below a procfs that this process mounted itself and that nobody else can reach, so that
// no fake file can take the write (CVE-2019-16884, CVE-2025-52881).
int codex_step_write(struct codex_child_state *state, const struct codex_step *step) {
    int file = codex_path_open(codex_slot(state, step->source), step->path, O_WRONLY, true);
    if (file < 0) return file;
    ssize_t count = write(file, step->text, step->text_length);
    int result = count < 0 ? -errno : (size_t)count == step->text_length ? 0 : -EIO;
    close(file);
    return result;
}

int codex_step_chdir(struct codex_child_state *state, const struct codex_step *step) {
    int folder = codex_path_open(state->root, step->path, O_PATH | O_DIRECTORY, false);
    if (folder == -ENOENT && (step->flags & 1)) {
        int result = codex_path_make_folder(state->root, step->path, 0755);
        if (result < 0) return result;
        folder = codex_path_open(state->root, step->path, O_PATH | O_DIRECTORY, false);
    }
    if (folder < 0) return folder;
    int result = fchdir(folder) == 0 ? 0 : -errno;
    close(folder);
    if (result < 0) return result;
    // A working folder outside the new root has no path in it (CVE-2024-21626).
    char path[4096];
    long length = syscall(SYS_getcwd, path, sizeof path);
    if (length < 0) return -errno;
    return path[0] == '/' ? 0 : -EXDEV;
}
