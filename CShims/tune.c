// What a bundle asks of the scheduler and the memory of its program (config.md, "Process"; config-linux.md).
#define _GNU_SOURCE
#include "codex_child.h"

#include <errno.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <unistd.h>

int codex_step_tune(const struct codex_step *step) {
    long result = -1;
    errno = EINVAL;
    switch (step->flags) {
    case CODEX_TUNE_AFFINITY: result = syscall(SYS_sched_setaffinity, 0, step->text_length, step->text); break;
    // struct sched_attr, its size first (sched_setattr(2)).
    case CODEX_TUNE_SCHEDULER: result = syscall(SYS_sched_setattr, 0, step->text, 0); break;
    case CODEX_TUNE_IO_PRIORITY: result = syscall(SYS_ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, 0, (int)step->a); break;
    case CODEX_TUNE_PERSONALITY: result = personality((unsigned long)step->a); break;
    case CODEX_TUNE_MEMORY:
        // One bit more than there are: the kernel counts that way (set_mempolicy(2), "BUGS").
        result = syscall(SYS_set_mempolicy, (int)step->a, step->text_length ? step->text : NULL,
                         step->text_length ? step->text_length * 8 + 1 : 0);
        break;
    case CODEX_TUNE_DOMAIN_NAME: result = setdomainname(step->text, step->text_length); break;
    case CODEX_TUNE_TIME_OFFSETS: return codex_time_offsets(step->text, step->text_length);
    case CODEX_TUNE_APPARMOR:
    case CODEX_TUNE_SELINUX: return codex_label((int)step->flags, step->text, step->text_length);
    default: break;
    }
    return result < 0 ? -errno : 0;
}
