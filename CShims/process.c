// The child's last steps: who it is, what it may do, and execve.
#define _GNU_SOURCE
#include "codex_capabilities.h"
#include "codex_child.h"
#include "codex_notice.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// setgroups and friends by system call: glibc's wrappers signal all threads, of which a child has none.
static int set_ids(uint32_t uid, uint32_t gid) {
    if (syscall(SYS_setresgid, gid, gid, gid) < 0) return -errno;
    if (syscall(SYS_setresuid, uid, uid, uid) < 0) return -errno;
    return 0;
}

int codex_watch_parent_again(void) {
    // prctl(2): PDEATHSIG and dumpability are lost when the effective ids change.
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) return -errno;
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : -errno;
}

int codex_step_become_root(const struct codex_step *step) {
    if ((step->flags & 1) && syscall(SYS_setgroups, 0, NULL) < 0) return -errno;
    int result = set_ids((uint32_t)step->a, (uint32_t)step->b);
    return result < 0 ? result : codex_watch_parent_again();
}

int codex_step_identity(const struct codex_step *step) {
    if ((step->flags & CODEX_IDENTITY_GROUPS) &&
        syscall(SYS_setgroups, step->text_length / sizeof(gid_t), step->text) < 0)
        return -errno;
    int result = codex_capabilities_keep();
    if (result == 0) result = set_ids((uint32_t)step->a, (uint32_t)step->b);
    return result < 0 ? result : codex_watch_parent_again();
}

int codex_step_loopback(void) {
    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (control < 0) return -errno;
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int result = ioctl(control, SIOCSIFFLAGS, &request) == 0 ? 0 : -errno;
    close(control);
    return result;
}

// While it can be done whatever the filter knows. Where it cannot, the last step says so.
int codex_step_close_others(struct codex_child_state *state) {
    enum { MOST = 512 };
    int kept[MOST + 3] = {state->control, state->root, state->report};
    size_t slots = state->plan->slot_count;
    if (slots > MOST) return 0;
    for (size_t i = 0; i < slots; i++) kept[i + 3] = codex_slot(state, (int)i);
    state->has_no_strangers = codex_close_others(state, kept, slots + 3) == 0;
    return 0;
}

int codex_step_seccomp(struct codex_child_state *state, const struct codex_step *step) {
    struct sock_fprog program = {
        .len = (unsigned short)(step->text_length / sizeof(struct sock_filter)),
        .filter = (struct sock_filter *)(uintptr_t)step->text,
    };
    if (!(step->flags & SECCOMP_FILTER_FLAG_NEW_LISTENER))
        return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, step->flags, &program) < 0 ? -errno : 0;
    long listener = codex_notice_filter(step->flags, &program);
    if (listener < 0) return -errno;
    // The plan was made only where the filter lets this through: nobody could answer for it yet.
    struct codex_message message = {.kind = CODEX_MESSAGE_LISTENER, .step = state->index, .descriptor = -1};
    int result = codex_control_send(state->control, &message, (int)listener);
    close((int)listener);
    return result < 0 ? result : 0;
}

int codex_step_hold(struct codex_child_state *state) {
    static const char *const names[CODEX_NAMESPACE_COUNT] = {
        "cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"};
    struct codex_message message = {.kind = CODEX_MESSAGE_HELD, .step = state->index, .descriptor = -1};
    int folder = openat(state->root, "proc/self/ns", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0) {
        struct stat status;
        for (int i = 0; i < CODEX_NAMESPACE_COUNT; i++)
            if (fstatat(folder, names[i], &status, 0) == 0) message.namespaces[i] = status.st_ino;
        close(folder);
    }
    int result = codex_control_send(state->control, &message, -1);
    return result < 0 ? result : codex_control_wait(state->control);
}

// By descriptor, for procfs shows it to nobody but root while this process is not dumpable.
int codex_step_lend_root(struct codex_child_state *state) {
    struct codex_message message = {.kind = CODEX_MESSAGE_ROOT, .step = state->index, .descriptor = -1};
    int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) return -errno;
    int result = codex_control_send(state->control, &message, root);
    close(root);
    return result < 0 ? result : codex_control_wait(state->control);
}

static bool is_kept(int number, const int *kept, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (kept[i] == number) return true;
    return false;
}

void codex_close_known(const struct codex_child_state *state, const int *kept, size_t count) {
    for (size_t i = 0; i < state->plan->slot_count; i++) {
        int number = codex_slot(state, (int)i);
        if (number >= 3 + state->preserved && !is_kept(number, kept, count)) close(number);
    }
}

int codex_close_others(const struct codex_child_state *state, const int *kept, size_t count) {
    unsigned from = 3U + (unsigned)state->preserved;
    for (;;) {
        // The next one that stays: the few are not in order.
        unsigned next = ~0U;
        for (size_t i = 0; i < count; i++)
            if (kept[i] >= 0 && (unsigned)kept[i] >= from && (unsigned)kept[i] < next) next = (unsigned)kept[i];
        if (next > from && syscall(SYS_close_range, from, next == ~0U ? next : next - 1, 0U) < 0) return -errno;
        if (next == ~0U) return 0;
        from = next + 1;
    }
}

// What pid 1 does with --init: everything it is sent goes on to the program, every child is
// reaped, and when the program ends so does it. An exit status cannot tell 143 from SIGTERM, and
// pid 1 cannot end itself by a signal, so the whole wait status goes to codex32 first.
__attribute__((noreturn)) static void reap_for(pid_t program, int report, const struct codex_plan *plan) {
    // Root of the machine could write to shared memory of this process's through /proc. Nobody reads this
    // any more; there is no reason to keep it either.
    munmap((void *)(uintptr_t)plan, plan->room_size);
    // write(2), not send(2): the filter is loaded, and a user's profile may know no more.
    if (dup2(report, 0) < 0) _exit(125);
    syscall(SYS_close_range, 1U, ~0U, 0U);
    sigset_t all;
    sigfillset(&all);
    for (;;) {
        int status;
        pid_t ended;
        while ((ended = waitpid(-1, &status, WNOHANG)) > 0)
            if (ended == program) {
                ssize_t told = write(0, &status, sizeof status);
                (void)told; // codex32 is gone: nobody is left to be told
                _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
            }
        siginfo_t received;
        int number = sigwaitinfo(&all, &received);
        if (number > 0 && number != SIGCHLD) kill(program, number);
    }
}

int codex_step_init(struct codex_child_state *state) {
    sigset_t all, before;
    sigfillset(&all);
    if (sigprocmask(SIG_SETMASK, &all, &before) < 0) return -errno;
    pid_t program = _Fork();
    if (program < 0) return -errno;
    if (program > 0) reap_for(program, state->report, state->plan);
    close(state->report);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) return -errno;
    if (state->plan->terminal) {
        // A group of its own in the foreground: Ctrl-C reaches the program, not pid 1.
        if (setpgid(0, 0) < 0) return -errno;
        pid_t group = getpid();
        if (ioctl(0, TIOCSPGRP, &group) < 0) return -errno;
    }
    return sigprocmask(SIG_SETMASK, &before, NULL) == 0 ? 0 : -errno;
}

int codex_step_exec(struct codex_child_state *state) {
    // Closed, and not only by execve: the program's own path, or a link in its image, may lead through
    // /proc/self/fd to a folder that is open until then. The control socket must last; it is close-on-exec.
    int result = codex_close_others(state, &state->control, 1);
    if (result < 0 && !state->has_no_strangers) return result;
    if (result < 0) {
        codex_close_known(state, &state->control, 1);
        if (state->root > 2 && state->root != state->control) close(state->root);
    }
    state->root = -1;
    result = -ENOENT;
    for (const char *const *candidate = state->plan->candidates; *candidate; candidate++) {
        execve(*candidate, state->plan->argv, state->plan->envp);
        int error = errno;
        // As execvp(3): what is not there is passed over, what may not be run is remembered.
        if (error == EACCES) result = -EACCES;
        else if (error != ENOENT && error != ENOTDIR) return -error;
    }
    return result;
}
