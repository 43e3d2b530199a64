// Compiling seccomp filters with libseccomp.
#define _GNU_SOURCE
#include "codex_seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

struct codex_seccomp {
    scmp_filter_ctx native;
    // The 32-bit and x32 sisters, apart: libseccomp cannot add a call that it knows no name of to a
    // filter with more than the native architecture. Merged into native by the compilation.
    scmp_filter_ctx foreign;
    uint32_t default_action;
};

static scmp_filter_ctx new_context(uint32_t default_action) {
    scmp_filter_ctx context = seccomp_init(default_action);
    if (!context) return NULL;
    // no_new_privs is a step of its own; the filter must not set it behind the plan's back.
    seccomp_attr_set(context, SCMP_FLTATR_CTL_NNP, 0);
    // A binary tree instead of a list: about 10 instead of 400 comparisons for each call.
    seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    // An architecture that the profile does not name ends the program: its calls have other numbers.
    seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    return context;
}

codex_seccomp *codex_seccomp_new(uint32_t default_action) {
    codex_seccomp *filter = malloc(sizeof *filter);
    if (!filter) return NULL;
    *filter = (codex_seccomp){.native = new_context(default_action), .default_action = default_action};
    if (!filter->native) {
        free(filter);
        return NULL;
    }
    return filter;
}

void codex_seccomp_free(codex_seccomp *filter) {
    if (!filter) return;
    seccomp_release(filter->native);
    if (filter->foreign) seccomp_release(filter->foreign);
    free(filter);
}

int codex_seccomp_architecture(codex_seccomp *filter, uint32_t token) {
    if (token == seccomp_arch_native() || token == SCMP_ARCH_NATIVE) return 0;
    if (!filter->foreign) {
        filter->foreign = new_context(filter->default_action);
        if (!filter->foreign) return -ENOMEM;
        int result = seccomp_arch_add(filter->foreign, token);
        return result < 0 ? result : seccomp_arch_remove(filter->foreign, SCMP_ARCH_NATIVE);
    }
    int result = seccomp_arch_add(filter->foreign, token);
    return result == -EEXIST ? 0 : result;
}

uint32_t codex_seccomp_architecture_token(const char *name) { return seccomp_arch_resolve_name(name); }
uint32_t codex_seccomp_native_architecture(void) { return seccomp_arch_native(); }
int codex_seccomp_number(const char *name) { return seccomp_syscall_resolve_name(name); }

int codex_seccomp_knows(int number) {
    char *name = seccomp_syscall_resolve_num_arch(seccomp_arch_native(), number);
    free(name);
    return name != NULL;
}

int codex_seccomp_rule(codex_seccomp *filter, uint32_t action, int number, const struct codex_seccomp_argument *arguments,
                       unsigned count, int native_only) {
    struct scmp_arg_cmp comparisons[6];
    if (count > 6) return -EINVAL;
    for (unsigned i = 0; i < count; i++)
        comparisons[i] = (struct scmp_arg_cmp){.arg = arguments[i].index,
                                               .op = (enum scmp_compare)arguments[i].comparison,
                                               .datum_a = arguments[i].value,
                                               .datum_b = arguments[i].mask_value};
    int result = seccomp_rule_add_array(filter->native, action, number, count, comparisons);
    if (result < 0 && result != -EDOM && result != -EACCES) return result;
    if (!filter->foreign) return 0;
    // Left out of an allow-list, the call stays refused there. In a deny-list that would be a hole.
    if (native_only) return filter->default_action == SCMP_ACT_ALLOW ? -EOPNOTSUPP : 0;
    result = seccomp_rule_add_array(filter->foreign, action, number, count, comparisons);
    return result == -EDOM || result == -EACCES ? 0 : result;
}

long codex_seccomp_compile(codex_seccomp *filter, void **program) {
    if (filter->foreign) {
        int merged = seccomp_merge(filter->native, filter->foreign);
        if (merged < 0) return merged;
        filter->foreign = NULL; // seccomp_merge(3) released it
    }
    int file = memfd_create("seccomp", MFD_CLOEXEC);
    if (file < 0) return -errno;
    long result = seccomp_export_bpf(filter->native, file);
    off_t size = result == 0 ? lseek(file, 0, SEEK_END) : 0;
    // RLIMIT_FSIZE cuts a write off, and libseccomp does not look whether one was short.
    struct rlimit most;
    if (result == 0 && getrlimit(RLIMIT_FSIZE, &most) == 0 && (rlim_t)size >= most.rlim_cur) result = -EFBIG;
    if (result == 0) {
        void *bytes = malloc((size_t)size);
        if (!bytes) result = -ENOMEM;
        else if (pread(file, bytes, (size_t)size, 0) != size) result = -EIO, free(bytes);
        else *program = bytes, result = size;
    }
    close(file);
    return result;
}

uint32_t codex_seccomp_version(void) {
    const struct scmp_version *version = seccomp_version();
    return version ? version->major << 16 | version->minor << 8 | version->micro : 0;
}
