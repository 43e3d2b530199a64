// What this kernel offers.
#define _GNU_SOURCE
#include "codex_kernel.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

int codex_seccomp_action_available(uint32_t action) {
    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

int codex_kernel_release(char *bytes, size_t size) {
    struct utsname name;
    if (uname(&name) < 0) return -errno;
    return snprintf(bytes, size, "%s", name.release) < 0 ? -EINVAL : 0;
}

int codex_machine(char *bytes, size_t size) {
    struct utsname name;
    if (uname(&name) < 0) return -errno;
    return snprintf(bytes, size, "%s", name.machine) < 0 ? -EINVAL : 0;
}

int codex_random(void *bytes, size_t size) {
    ssize_t count;
    do count = getrandom(bytes, size, 0);
    while (count < 0 && errno == EINTR);
    return count == (ssize_t)size ? 0 : -EIO;
}
