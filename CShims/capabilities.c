// Capability names by libcap, capability sets by capset(2).
#define _GNU_SOURCE
#include "codex_capabilities.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int codex_capability_number(const char *name) {
    cap_value_t value;
    return cap_from_name(name, &value) == 0 ? (int)value : -EINVAL;
}

int codex_capability_name(int number, char *bytes, unsigned long size) {
    char *name = cap_to_name((cap_value_t)number);
    if (!name) return -EINVAL;
    int length = snprintf(bytes, size, "%s", name);
    cap_free(name);
    return length > 0 && (unsigned long)length < size ? 0 : -EINVAL;
}

int codex_capability_count(void) { return cap_max_bits(); }

static int get(struct __user_cap_data_struct data[2]) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    return syscall(SYS_capget, &header, data) == 0 ? 0 : -errno;
}

uint64_t codex_capabilities_effective(void) {
    struct __user_cap_data_struct data[2] = {0};
    if (get(data) < 0) return 0;
    return data[0].effective | (uint64_t)data[1].effective << 32;
}

int codex_capabilities_keep(void) { return prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0 ? 0 : -errno; }

int codex_capabilities_bound(uint64_t keep) {
    for (int number = 0; number < 64; number++) {
        if (keep & (1ULL << number)) continue;
        if (prctl(PR_CAPBSET_DROP, number, 0, 0, 0) < 0) {
            if (errno == EINVAL) return 0; // past the last one this kernel knows
            return -errno;
        }
    }
    return 0;
}

int codex_capabilities_set(uint64_t permitted, uint64_t inheritable) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {
        {.effective = (uint32_t)permitted, .permitted = (uint32_t)permitted, .inheritable = (uint32_t)inheritable},
        {.effective = (uint32_t)(permitted >> 32),
         .permitted = (uint32_t)(permitted >> 32),
         .inheritable = (uint32_t)(inheritable >> 32)},
    };
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0) return -errno;
    if (syscall(SYS_capset, &header, data) < 0) return -errno;
    for (int number = 0; number < 64; number++)
        if ((inheritable & (1ULL << number)) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0) < 0)
            return -errno;
    return prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) == 0 ? 0 : -errno;
}
