// What a filter refuses, told to the parent before it is refused (seccomp_unotify(2), Linux 5.0).
//
// The answer is always an error number: no call is ever let through from here, so that nothing depends on what
// its arguments point to, which another thread may change meanwhile.
#define _GNU_SOURCE
#include "codex_notice.h"
#include "codex_seccomp.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

int codex_notify_receive(int listener, struct codex_denial *denial) {
    union codex_notice received;
    int result = codex_notice_receive(listener, &received);
    if (result < 0) return result;
    denial->id = received.notice.id;
    denial->number = received.notice.data.nr;
    denial->architecture = received.notice.data.arch;
    denial->instruction = received.notice.data.instruction_pointer;
    for (int i = 0; i < 6; i++) denial->arguments[i] = received.notice.data.args[i];
    return 0;
}

int codex_notify_answer(int listener, uint64_t id, int error) {
    union codex_notice answer;
    memset(&answer, 0, sizeof answer);
    answer.answer.id = id;
    answer.answer.error = -error;
    return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) < 0 ? -errno : 0;
}

const char *codex_error_name(int error) { return strerrorname_np(error); }

int codex_seccomp_name(uint32_t architecture, int number, char *name, size_t size) {
    char *known = seccomp_syscall_resolve_num_arch(architecture, number);
    if (!known) return -ENOENT;
    int fits = strlen(known) < size;
    if (fits) strcpy(name, known);
    free(known);
    return fits ? 0 : -ENAMETOOLONG;
}
