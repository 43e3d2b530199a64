// How a process ended, asked of the kernel by somebody who is not its parent.
#define _GNU_SOURCE
#include "codex_kernel.h"

#include <errno.h>
#include <stddef.h>
#include <sys/ioctl.h>

// struct pidfd_info of linux/pidfd.h, as Linux 6.13 has it; newer ones only add to its end.
struct information {
    uint64_t mask, cgroup;
    uint32_t pid, tgid, ppid, ids[8];
    int32_t exit_code;
};
_Static_assert(sizeof(struct information) == 64, "PIDFD_INFO_SIZE_VER0");
_Static_assert(offsetof(struct information, exit_code) == 60, "PIDFD_INFO_SIZE_VER0");

int codex_pidfd_end(int pidfd, int *status) {
    // PIDFD_INFO_EXIT (Linux 6.15): there when the process was reaped, for those who had a pidfd by then.
    struct information told = {.mask = 1 << 3};
    if (ioctl(pidfd, _IOWR(0xFF, 11, struct information), &told) < 0) return -errno;
    if (!(told.mask & 1 << 3)) return 0;
    *status = told.exit_code;
    return 1;
}
