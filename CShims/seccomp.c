// Compiling seccomp filters with libseccomp.
#define _GNU_SOURCE
#include "codex_seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct codex_seccomp {
    scmp_filter_ctx context;
};

codex_seccomp *codex_seccomp_new(uint32_t default_action) {
    codex_seccomp *filter = malloc(sizeof *filter);
    if (!filter) return NULL;
    filter->context = seccomp_init(default_action);
    if (!filter->context) {
        free(filter);
        return NULL;
    }
    // no_new_privs is a step of its own; the filter must not set it behind the plan's back.
    seccomp_attr_set(filter->context, SCMP_FLTATR_CTL_NNP, 0);
    // A binary tree instead of a list: about 10 instead of 400 comparisons for each call.
    seccomp_attr_set(filter->context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    // An architecture that the profile does not name ends the program: its calls have other numbers.
    seccomp_attr_set(filter->context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    return filter;
}

void codex_seccomp_free(codex_seccomp *filter) {
    if (!filter) return;
    seccomp_release(filter->context);
    free(filter);
}

int codex_seccomp_architecture(codex_seccomp *filter, uint32_t token) {
    int result = seccomp_arch_add(filter->context, token);
    return result == -EEXIST ? 0 : result;
}

uint32_t codex_seccomp_architecture_token(const char *name) { return seccomp_arch_resolve_name(name); }
uint32_t codex_seccomp_native_architecture(void) { return seccomp_arch_native(); }
int codex_seccomp_number(const char *name) { return seccomp_syscall_resolve_name(name); }

int codex_seccomp_rule(codex_seccomp *filter, uint32_t action, int number, const struct codex_seccomp_argument *arguments,
                       unsigned count) {
    struct scmp_arg_cmp comparisons[6];
    if (count > 6) return -EINVAL;
    for (unsigned i = 0; i < count; i++)
        comparisons[i] = (struct scmp_arg_cmp){.arg = arguments[i].index,
                                               .op = (enum scmp_compare)arguments[i].comparison,
                                               .datum_a = arguments[i].value,
                                               .datum_b = arguments[i].mask_value};
    return seccomp_rule_add_array(filter->context, action, number, count, comparisons);
}

long codex_seccomp_compile(codex_seccomp *filter, void **program) {
    int file = memfd_create("seccomp", MFD_CLOEXEC);
    if (file < 0) return -errno;
    long result = seccomp_export_bpf(filter->context, file);
    off_t size = result == 0 ? lseek(file, 0, SEEK_END) : 0;
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
