// Loop devices (loop(4)), and the file system in one, mounted where nobody but the holder of a descriptor sees it.
#define _GNU_SOURCE
#include "codex_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

_Static_assert(LO_NAME_SIZE == CODEX_LOOP_NAME, "a loop device's name");

enum { loop_major = 7 }; // Documentation/admin-guide/devices.txt

// Only looked at, a device is opened to be read: udev takes the close of a writer for a change of what is in it.
int codex_loop_open(int number, int write) {
    char path[32];
    snprintf(path, sizeof path, "/dev/loop%d", number);
    int device = open(path, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (device < 0) return -errno;
    struct stat status;
    int result = fstat(device, &status) < 0 ? -errno : 0;
    // Without devtmpfs anything may stand there.
    if (result == 0 && (!S_ISBLK(status.st_mode) || major(status.st_rdev) != loop_major)) result = -ENODEV;
    if (result == 0) return device;
    close(device);
    return result;
}

int codex_loop_name(int device, char *name) {
    struct loop_info64 info;
    memset(&info, 0, sizeof info);
    if (ioctl(device, LOOP_GET_STATUS64, &info) < 0) return -errno;
    memcpy(name, info.lo_file_name, LO_NAME_SIZE);
    name[LO_NAME_SIZE - 1] = 0;
    return 0;
}

int codex_loop_attach(int file, const char *name, int *number) {
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (control < 0) return -errno;
    struct loop_config config;
    memset(&config, 0, sizeof config);
    config.fd = (uint32_t)file;
    // The kernel takes it away with the last that has it open: a mount, or whoever is about to make one.
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
    snprintf((char *)config.info.lo_file_name, LO_NAME_SIZE, "%s", name);
    int result = -EBUSY;
    // A free one may be another's a moment later.
    for (int attempt = 0; attempt < 64 && result == -EBUSY; attempt++) {
        *number = ioctl(control, LOOP_CTL_GET_FREE);
        if (*number < 0) {
            result = -errno;
            break;
        }
        int device = codex_loop_open(*number, 1);
        if (device < 0) {
            result = device;
            break;
        }
        result = ioctl(device, LOOP_CONFIGURE, &config) < 0 ? -errno : device;
        if (result < 0) close(device);
    }
    close(control);
    return result;
}

int codex_mount_device(const char *type, int number, const char *const *options, uint64_t attributes) {
    char source[32];
    snprintf(source, sizeof source, "/dev/loop%d", number);
    long context = syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
    if (context < 0) return -errno;
    int result = 0;
    if (syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "source", source, 0) < 0) result = -errno;
    for (; *options && result == 0; options++) {
        if (syscall(SYS_fsconfig, context, FSCONFIG_SET_FLAG, *options, NULL, 0) < 0) result = -errno;
    }
    if (result == 0 && syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) result = -errno;
    if (result == 0) {
        long mount = syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, (unsigned)attributes);
        result = mount < 0 ? -errno : (int)mount;
    }
    close((int)context);
    return result;
}
