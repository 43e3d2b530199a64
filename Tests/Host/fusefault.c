/* A file system that shows a folder, and fails when it is told to: `fusefault FOLDER MOUNTPOINT CONTROL`.
 *
 * Speaks to /dev/fuse itself (linux/fuse.h), one request after the other. CONTROL is a file of four numbers of 32 bits,
 * which the test changes while this runs: how many changes there still are before one fails (0: none does), the errno that
 * it fails with, whether those after it fail too, and how many there were. A change is whatever writes, syncs, makes,
 * renames or removes. Needs root, and ends when it is unmounted. */
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MOST = 20000, LARGEST = 1 << 17 };

static struct {
    int fd;
    dev_t device;
    ino_t inode;
    uint64_t lookups;
} nodes[MOST];
static size_t count;
static int fuse;
static volatile struct {
    int32_t left, error, lasts, changes;
} *control;

static int node(const struct fuse_in_header *in) { return nodes[in->nodeid - 1].fd; }

static const char *path_of(int fd) {
    static char text[64];
    snprintf(text, sizeof text, "/proc/self/fd/%d", fd);
    return text;
}

static void reply(const struct fuse_in_header *in, int error, const void *data, size_t size) {
    struct fuse_out_header out = {.len = (uint32_t)(sizeof out + (error ? 0 : size)), .error = error, .unique = in->unique};
    struct iovec parts[] = {{&out, sizeof out}, {(void *)(uintptr_t)data, error ? 0 : size}};
    /* ENOENT: whoever asked was killed meanwhile. */
    if (writev(fuse, parts, 2) < 0 && errno != ENOENT) err(1, "writev");
}

static void put_attributes(struct fuse_attr *to, const struct stat *from) {
    *to = (struct fuse_attr){
        .ino = from->st_ino, .size = (uint64_t)from->st_size, .blocks = (uint64_t)from->st_blocks,
        .atime = (uint64_t)from->st_atim.tv_sec, .mtime = (uint64_t)from->st_mtim.tv_sec,
        .ctime = (uint64_t)from->st_ctim.tv_sec, .atimensec = (uint32_t)from->st_atim.tv_nsec,
        .mtimensec = (uint32_t)from->st_mtim.tv_nsec, .ctimensec = (uint32_t)from->st_ctim.tv_nsec,
        .mode = from->st_mode, .nlink = (uint32_t)from->st_nlink, .uid = from->st_uid, .gid = from->st_gid,
        .rdev = (uint32_t)from->st_rdev, .blksize = 4096};
}

/* Finds or makes the node of a name; 0, or -errno. */
static int find(int folder, const char *name, struct fuse_entry_out *entry) {
    int fd = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat status;
    if (fd < 0) return -errno;
    if (fstat(fd, &status) < 0) return -errno;
    size_t at = 0, unused = count;
    for (; at < count; at++) {
        if (nodes[at].fd < 0) unused = at;
        else if (nodes[at].inode == status.st_ino && nodes[at].device == status.st_dev) break;
    }
    if (at < count) close(fd);
    else {
        at = unused;
        if (at == MOST) errx(1, "too many files");
        if (at == count) count++;
        nodes[at].fd = fd;
        nodes[at].device = status.st_dev;
        nodes[at].inode = status.st_ino;
        nodes[at].lookups = 0;
    }
    nodes[at].lookups++;
    *entry = (struct fuse_entry_out){.nodeid = at + 1};
    put_attributes(&entry->attr, &status);
    return 0;
}

static void forget(uint64_t id, uint64_t lookups) {
    if (id == FUSE_ROOT_ID || nodes[id - 1].fd < 0) return;
    nodes[id - 1].lookups -= lookups;
    if (nodes[id - 1].lookups) return;
    close(nodes[id - 1].fd);
    nodes[id - 1].fd = -1;
}

/* Whether this change is to fail: -errno, or 0. */
static int fails(void) {
    control->changes++;
    if (control->left == 0 || --control->left > 0) return 0;
    if (control->lasts) control->left = 1;
    return -control->error;
}

static int give(int folder, const char *name, const struct fuse_in_header *in) {
    return fchownat(folder, name, in->uid, in->gid, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int set_attributes(int fd, const struct fuse_setattr_in *set) {
    const char *path = path_of(fd);
    if (set->valid & FATTR_MODE && chmod(path, set->mode & 07777) < 0) return -errno;
    if (set->valid & (FATTR_UID | FATTR_GID)) {
        uid_t uid = set->valid & FATTR_UID ? set->uid : (uid_t)-1;
        gid_t gid = set->valid & FATTR_GID ? set->gid : (gid_t)-1;
        if (fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0) return -errno;
    }
    if (set->valid & FATTR_SIZE && truncate(path, (off_t)set->size) < 0) return -errno;
    if (set->valid & (FATTR_ATIME | FATTR_MTIME)) {
        struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};
        if (set->valid & FATTR_ATIME) times[0] = (struct timespec){(time_t)set->atime, set->atimensec};
        if (set->valid & FATTR_MTIME) times[1] = (struct timespec){(time_t)set->mtime, set->mtimensec};
        if (set->valid & FATTR_ATIME_NOW) times[0].tv_nsec = UTIME_NOW;
        if (set->valid & FATTR_MTIME_NOW) times[1].tv_nsec = UTIME_NOW;
        if (utimensat(AT_FDCWD, path, times, 0) < 0) return -errno;
    }
    return 0;
}

static void read_folder(const struct fuse_in_header *in, const struct fuse_read_in *want) {
    char buffer[LARGEST];
    size_t used = 0;
    DIR *folder = (DIR *)(uintptr_t)want->fh;
    seekdir(folder, (long)want->offset);
    for (struct dirent *each; (each = readdir(folder));) {
        size_t name = strlen(each->d_name), size = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + name);
        if (used + size > want->size || used + size > sizeof buffer) break;
        struct fuse_dirent *entry = memset(buffer + used, 0, size);
        entry->ino = each->d_ino;
        entry->off = (uint64_t)telldir(folder);
        entry->namelen = (uint32_t)name;
        entry->type = each->d_type;
        memcpy(entry->name, each->d_name, name);
        used += size;
    }
    reply(in, 0, buffer, used);
}

static void start(const struct fuse_in_header *in, const struct fuse_init_in *theirs) {
    struct fuse_init_out out = {
        .major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION, .max_readahead = theirs->max_readahead,
        .flags = theirs->flags & (FUSE_BIG_WRITES | FUSE_ATOMIC_O_TRUNC), .max_write = LARGEST, .time_gran = 1,
        .max_background = 16, .congestion_threshold = 12};
    reply(in, 0, &out, sizeof out);
}

static void handle(const struct fuse_in_header *in, const char *rest) {
    struct fuse_entry_out entry;
    const char *second = rest + strlen(rest) + 1;
    int result = 0;
    switch (in->opcode) {
    case FUSE_INIT: return start(in, (const void *)rest);
    case FUSE_LOOKUP:
        result = find(node(in), rest, &entry);
        return reply(in, result, &entry, sizeof entry);
    case FUSE_FORGET: return forget(in->nodeid, ((const struct fuse_forget_in *)rest)->nlookup);
    case FUSE_BATCH_FORGET: {
        const struct fuse_batch_forget_in *batch = (const void *)rest;
        const struct fuse_forget_one *all = (const void *)(batch + 1);
        for (uint32_t i = 0; i < batch->count; i++) forget(all[i].nodeid, all[i].nlookup);
        return;
    }
    case FUSE_SETATTR:
        result = fails();
        if (result == 0) result = set_attributes(node(in), (const void *)rest);
        /* fall through */
    case FUSE_GETATTR: {
        struct stat status;
        struct fuse_attr_out out = {0};
        if (result == 0 && fstat(node(in), &status) < 0) result = -errno;
        if (result == 0) put_attributes(&out.attr, &status);
        return reply(in, result, &out, sizeof out);
    }
    case FUSE_READLINK: {
        char target[4096];
        ssize_t size = readlinkat(node(in), "", target, sizeof target);
        return reply(in, size < 0 ? -errno : 0, target, size < 0 ? 0 : (size_t)size);
    }
    case FUSE_MKNOD: {
        const struct fuse_mknod_in *make = (const void *)rest;
        const char *name = (const char *)(make + 1);
        result = fails();
        if (result == 0 && mknodat(node(in), name, make->mode & ~make->umask, make->rdev) < 0) result = -errno;
        if (result == 0) result = give(node(in), name, in);
        if (result == 0) result = find(node(in), name, &entry);
        return reply(in, result, &entry, sizeof entry);
    }
    case FUSE_MKDIR: {
        const struct fuse_mkdir_in *make = (const void *)rest;
        const char *name = (const char *)(make + 1);
        result = fails();
        if (result == 0 && mkdirat(node(in), name, make->mode & ~make->umask) < 0) result = -errno;
        if (result == 0) result = give(node(in), name, in);
        if (result == 0) result = find(node(in), name, &entry);
        return reply(in, result, &entry, sizeof entry);
    }
    case FUSE_SYMLINK:
        result = fails();
        if (result == 0 && symlinkat(second, node(in), rest) < 0) result = -errno;
        if (result == 0) result = give(node(in), rest, in);
        if (result == 0) result = find(node(in), rest, &entry);
        return reply(in, result, &entry, sizeof entry);
    case FUSE_LINK: {
        const struct fuse_link_in *link = (const void *)rest;
        const char *name = (const char *)(link + 1);
        result = fails();
        if (result == 0 && linkat(nodes[link->oldnodeid - 1].fd, "", node(in), name, AT_EMPTY_PATH) < 0) result = -errno;
        if (result == 0) result = find(node(in), name, &entry);
        return reply(in, result, &entry, sizeof entry);
    }
    case FUSE_UNLINK:
    case FUSE_RMDIR:
        result = fails();
        if (result == 0 && unlinkat(node(in), rest, in->opcode == FUSE_RMDIR ? AT_REMOVEDIR : 0) < 0) result = -errno;
        return reply(in, result, NULL, 0);
    case FUSE_RENAME:
    case FUSE_RENAME2: {
        const struct fuse_rename2_in *move = (const void *)rest;
        int is_second = in->opcode == FUSE_RENAME2;
        const char *old = rest + (is_second ? sizeof *move : sizeof(struct fuse_rename_in));
        result = fails();
        if (result == 0 && syscall(SYS_renameat2, node(in), old, nodes[move->newdir - 1].fd, old + strlen(old) + 1,
                                   is_second ? move->flags : 0) < 0)
            result = -errno;
        return reply(in, result, NULL, 0);
    }
    case FUSE_OPEN: {
        /* O_APPEND is the kernel's business: it says where each write goes. */
        int flags = (int)((const struct fuse_open_in *)rest)->flags & ~(O_NOFOLLOW | O_APPEND | O_CREAT | O_EXCL);
        result = flags & O_TRUNC ? fails() : 0;
        int fd = result ? -1 : open(path_of(node(in)), flags | O_CLOEXEC);
        struct fuse_open_out out = {.fh = (uint64_t)fd};
        return reply(in, result ? result : fd < 0 ? -errno : 0, &out, sizeof out);
    }
    case FUSE_CREATE: {
        const struct fuse_create_in *make = (const void *)rest;
        const char *name = (const char *)(make + 1);
        struct {
            struct fuse_entry_out entry;
            struct fuse_open_out open;
        } out = {0};
        result = fails();
        int flags = (int)make->flags & ~O_APPEND;
        int fd = result ? -1 : openat(node(in), name, flags | O_CREAT | O_NOFOLLOW | O_CLOEXEC, make->mode & ~make->umask);
        if (result == 0 && fd < 0) result = -errno;
        if (result == 0) result = give(node(in), name, in);
        if (result == 0) result = find(node(in), name, &out.entry);
        out.open.fh = (uint64_t)fd;
        return reply(in, result, &out, sizeof out);
    }
    case FUSE_READ: {
        static char buffer[LARGEST];
        const struct fuse_read_in *want = (const void *)rest;
        size_t size = want->size < sizeof buffer ? want->size : sizeof buffer;
        ssize_t got = pread((int)want->fh, buffer, size, (off_t)want->offset);
        return reply(in, got < 0 ? -errno : 0, buffer, got < 0 ? 0 : (size_t)got);
    }
    case FUSE_WRITE: {
        const struct fuse_write_in *give = (const void *)rest;
        result = fails();
        ssize_t done = result ? -1 : pwrite((int)give->fh, give + 1, give->size, (off_t)give->offset);
        if (result == 0 && done < 0) result = -errno;
        struct fuse_write_out out = {.size = (uint32_t)done};
        return reply(in, result, &out, sizeof out);
    }
    case FUSE_FSYNC:
        result = fails();
        if (result == 0 && fsync((int)((const struct fuse_fsync_in *)rest)->fh) < 0) result = -errno;
        return reply(in, result, NULL, 0);
    case FUSE_FSYNCDIR: return reply(in, fails(), NULL, 0);
    case FUSE_FLUSH: return reply(in, 0, NULL, 0);
    case FUSE_RELEASE:
        close((int)((const struct fuse_release_in *)rest)->fh);
        return reply(in, 0, NULL, 0);
    case FUSE_OPENDIR: {
        int fd = open(path_of(node(in)), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *folder = fd < 0 ? NULL : fdopendir(fd);
        struct fuse_open_out out = {.fh = (uint64_t)(uintptr_t)folder};
        return reply(in, folder ? 0 : -errno, &out, sizeof out);
    }
    case FUSE_READDIR: return read_folder(in, (const void *)rest);
    case FUSE_RELEASEDIR:
        closedir((DIR *)(uintptr_t)((const struct fuse_release_in *)rest)->fh);
        return reply(in, 0, NULL, 0);
    case FUSE_STATFS: {
        struct statvfs status;
        if (fstatvfs(nodes[0].fd, &status) < 0) return reply(in, -errno, NULL, 0);
        struct fuse_statfs_out out = {.st = {.blocks = status.f_blocks, .bfree = status.f_bfree, .bavail = status.f_bavail,
                                             .files = status.f_files, .ffree = status.f_ffree, .bsize = 4096,
                                             .namelen = 255, .frsize = (uint32_t)status.f_frsize}};
        return reply(in, 0, &out, sizeof out);
    }
    case FUSE_INTERRUPT: return;
    case FUSE_DESTROY: return reply(in, 0, NULL, 0);
    default: return reply(in, -ENOSYS, NULL, 0);
    }
}

int main(int argc, char **argv) {
    if (argc != 4) errx(2, "usage: fusefault FOLDER MOUNTPOINT CONTROL");
    struct rlimit most;
    if (getrlimit(RLIMIT_NOFILE, &most) < 0) err(1, "getrlimit");
    most.rlim_cur = most.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &most) < 0) err(1, "setrlimit");
    umask(0);
    int file = open(argv[3], O_RDWR | O_CLOEXEC);
    control = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file < 0 || control == MAP_FAILED) err(1, "%s", argv[3]);
    nodes[0].fd = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct stat status;
    if (nodes[0].fd < 0 || fstat(nodes[0].fd, &status) < 0) err(1, "%s", argv[1]);
    nodes[0].device = status.st_dev;
    nodes[0].inode = status.st_ino;
    count = 1;
    fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    char options[128];
    snprintf(options, sizeof options, "fd=%d,rootmode=%o,user_id=0,group_id=0,allow_other,default_permissions", fuse,
             status.st_mode & S_IFMT);
    if (fuse < 0 || mount("fusefault", argv[2], "fuse", MS_NOSUID | MS_NODEV, options) < 0) err(1, "%s", argv[2]);
    static char request[LARGEST + 65536] __attribute__((aligned(16)));
    for (;;) {
        ssize_t size = read(fuse, request, sizeof request - 1);
        if (size < 0 && errno == ENODEV) return 0; /* unmounted */
        if (size < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN)) continue;
        if (size < (ssize_t)sizeof(struct fuse_in_header)) err(1, "read");
        request[size] = 0;
        handle((const void *)request, request + sizeof(struct fuse_in_header));
    }
}
