// Compiling seccomp filters with libseccomp, in the parent, before any child exists.
#ifndef CODEX_SECCOMP_H
#define CODEX_SECCOMP_H
#include <stddef.h>
#include <stdint.h>

struct codex_seccomp_argument {
    uint32_t index;
    uint32_t comparison; // enum scmp_compare
    uint64_t value;
    uint64_t mask_value;
};

typedef struct codex_seccomp codex_seccomp;

// native_only: the number has a meaning for the native architecture alone. A rule that says what the
// default does, and a call that an architecture does not have, are passed over.
// A new filter with a default action (SCMP_ACT_*), for the native architecture. NULL on failure.
codex_seccomp *codex_seccomp_new(uint32_t default_action);
void codex_seccomp_free(codex_seccomp *filter);
// Adds an architecture by libseccomp's token (SCMP_ARCH_*). 0 or -errno; one already there is fine.
int codex_seccomp_architecture(codex_seccomp *filter, uint32_t token);
// The token of an architecture's name as in "x86_64", or 0.
uint32_t codex_seccomp_architecture_token(const char *name);
uint32_t codex_seccomp_native_architecture(void);
// The number of a system call by name on this machine; negative pseudo numbers for calls of other
// architectures; -1 (__NR_SCMP_ERROR) for a name that libseccomp does not know.
int codex_seccomp_number(const char *name);
// Whether libseccomp has a name for a number on this machine: 1 or 0.
int codex_seccomp_knows(int number);
int codex_seccomp_rule(codex_seccomp *filter, uint32_t action, int number, const struct codex_seccomp_argument *arguments,
                       unsigned count, int native_only);
// Writes the program. Returns its size in bytes (a multiple of 8), or -errno. Free it with free(3).
long codex_seccomp_compile(codex_seccomp *filter, void **program);

// A call that a filter refuses, and that waits for its answer (notify.c).
struct codex_denial {
    uint64_t id;
    int32_t number;
    uint32_t architecture; // AUDIT_ARCH_*
    uint64_t instruction;
    uint64_t arguments[6];
};
// Reads the next from a filter's listener: 0, -ENOENT where the caller is gone, -errno.
int codex_notify_receive(int listener, struct codex_denial *denial);
// Answers it with an error number. 0 or -errno.
int codex_notify_answer(int listener, uint64_t id, int error);
// "EPERM", or NULL.
const char *codex_error_name(int error);
// The name of a call on an architecture: 0, or -errno where there is none.
int codex_seccomp_name(uint32_t architecture, int number, char *name, size_t size);

// A call that a program is about to make, and that waits until it is let go on (observe.c).
struct codex_observed {
    uint64_t id;
    int32_t pid; // of the thread, as this process sees it; 0 where it cannot
    int32_t number;
    uint32_t architecture; // AUDIT_ARCH_*
    uint64_t arguments[6];
};
// Reads the next from an observing filter's listener: 0, -ENOENT where the caller is gone, -errno.
int codex_observe_next(int listener, struct codex_observed *observed);
// Lets it go on. 0 or -errno.
int codex_observe_continue(int listener, uint64_t id);
// Waits until one of two can be read or is closed: 1, 2 or both, or -errno.
int codex_observe_either(int first, int second);
// Reads a process's memory, to the end of a text at the latest: how many bytes, or -errno.
long codex_observe_read(int pid, uint64_t address, void *buffer, size_t size);
// The mount that a descriptor's file is on, by the number that mountinfo has (Linux 5.8): 0 or -errno.
int codex_observe_mount(int descriptor, uint64_t *mount);

// The version of libseccomp, as major << 16 | minor << 8 | micro.
uint32_t codex_seccomp_version(void);
#endif
