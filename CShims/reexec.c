// Running this program again from where no container can change it (CVE-2019-5736).
#define _GNU_SOURCE
#include "codex_kernel.h"
#include "codex_launch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U // Linux 6.3
#endif

enum { ALL_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

// A file system's own file has no seals: F_GET_SEALS fails for it.
static bool is_sealed(int file) {
    int seals = fcntl(file, F_GET_SEALS);
    return seals >= 0 && (seals & ALL_SEALS) == ALL_SEALS;
}

static int sealed_copy(int own) {
    // A machine may ask for executable memory to be asked for by name (vm.memfd_noexec, Linux 6.3);
    // older kernels know no such flag.
    int copy = memfd_create("codex32", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
    if (copy < 0 && errno == EINVAL) copy = memfd_create("codex32", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (copy < 0) return -errno;
    int result = 0;
    for (;;) {
        ssize_t count = sendfile(copy, own, NULL, 1 << 20);
        if (count == 0) break;
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) {
            result = -errno;
            break;
        }
    }
    if (result == 0 && fcntl(copy, F_ADD_SEALS, ALL_SEALS) < 0) result = -errno;
    if (result == 0) return copy;
    close(copy);
    return result;
}

int codex_run_from_sealed_copy(char *const *argv) {
    int own = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (own < 0) return -errno;
    if (is_sealed(own)) {
        close(own);
        return 0;
    }
    int copy = sealed_copy(own);
    close(own);
    if (copy < 0) return copy;
    syscall(SYS_execveat, copy, "", argv, environ, AT_EMPTY_PATH);
    int result = -errno;
    close(copy);
    return result;
}
