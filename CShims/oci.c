// What an OCI runtime needs beside a run: a child that waits for `start`, and the console socket.
#define _GNU_SOURCE
#include "codex_capabilities.h"
#include "codex_child.h"
#include "codex_kernel.h"
#include "codex_passing.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

// The program is looked for before `start` is waited for, so that `create` can say that it is not there. Ids
// and root are final by now, and execve(2) has the last word.
static int find_program(const struct codex_plan *plan) {
    int result = -ENOENT;
    for (const char *const *candidate = plan->candidates; *candidate; candidate++) {
        struct stat status;
        if (syscall(SYS_faccessat, AT_FDCWD, *candidate, X_OK) == 0 && stat(*candidate, &status) == 0) {
            if (S_ISREG(status.st_mode)) return 0;
            errno = EACCES; // as execve(2) says of a folder
        }
        if (errno == EACCES) result = -EACCES;
        else if (errno != ENOENT && errno != ENOTDIR) return -errno;
    }
    return result;
}

// The runtime writes its state down, then lets this process outlive it. What it waits on is a pipe with a name
// in the state folder, opened for both directions: it never ends by itself, and nothing of the host's file
// system but this pipe is open here; it closes with execve.
int codex_step_await(struct codex_child_state *state, const struct codex_step *step) {
    int pipe = codex_slot(state, step->source);
    int result = find_program(state->plan);
    if (result < 0) return result;
    struct codex_message message = {.kind = CODEX_MESSAGE_HELD, .step = state->index, .descriptor = -1};
    result = codex_control_send(state->control, &message, -1);
    if (result == 0) result = codex_control_wait(state->control);
    if (result < 0) return result;
    if (prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) < 0) return -errno;
    // The root's descriptors go too.
    // What goes wrong behind `start` is told on a second pipe, in the place of the control socket; it closes with
    // execve too.
    int outcome = codex_slot(state, step->slot);
    int first = 3 + state->preserved;
    if (outcome == first) {
        outcome = fcntl(outcome, F_DUPFD_CLOEXEC, first + 2);
        if (outcome < 0) return -errno;
    }
    if (pipe != first && dup3(pipe, first, O_CLOEXEC) < 0) return -errno;
    if (outcome != first + 1 && dup3(outcome, first + 1, O_CLOEXEC) < 0) return -errno;
    outcome = first + 1;
    int former[] = {state->root, state->control};
    state->root = -1;
    state->control = outcome;
    int kept[] = {first, outcome};
    result = codex_close_others(state, kept, 2);
    if (result < 0 && !state->has_no_strangers) return result;
    if (result < 0) {
        codex_close_known(state, kept, 2);
        for (int i = 0; i < 2; i++)
            if (former[i] > outcome) close(former[i]);
    }
    char word;
    ssize_t count;
    do count = read(first, &word, 1);
    while (count < 0 && errno == EINTR);
    if (count != 1) return count < 0 ? -errno : -ECANCELED;
    close(first);
    return 0;
}

int codex_step_preserve(struct codex_child_state *state, const struct codex_step *step) {
    for (int number = 3; number < 3 + (int)step->a; number++)
        if (fcntl(number, F_SETFD, 0) < 0) return -errno;
    state->preserved = (int)step->a;
    return 0;
}

// text: the permitted, effective, inheritable and ambient sets (capabilities(7)), 8 bytes each.
int codex_step_capability_sets(const struct codex_step *step) {
    uint64_t sets[4];
    if (step->text_length != sizeof sets) return -EINVAL;
    memcpy(sets, step->text, sizeof sets);
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    for (int i = 0; i < 2; i++)
        data[i] = (struct __user_cap_data_struct){.permitted = (uint32_t)(sets[0] >> 32 * i),
                                                  .effective = (uint32_t)(sets[1] >> 32 * i),
                                                  .inheritable = (uint32_t)(sets[2] >> 32 * i)};
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0) return -errno;
    if (syscall(SYS_capset, &header, data) < 0) return -errno;
    for (int number = 0; number < 64; number++)
        if ((sets[3] & (1ULL << number)) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0) < 0)
            return -errno;
    return prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) == 0 ? 0 : -errno;
}

int codex_console_send(int folder, const char *name, int master) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int length = snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", folder, name);
    if (length < 0 || (size_t)length >= sizeof address.sun_path) return -ENAMETOOLONG;
    int number = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (number < 0) return -errno;
    int result = connect(number, (struct sockaddr *)&address, sizeof address) == 0 ? 0 : -errno;
    static const char text[] = "/dev/ptmx";
    struct codex_passing passing;
    codex_passing_prepare(&passing, text, sizeof text - 1, master);
    if (result == 0 && sendmsg(number, &passing.envelope, MSG_NOSIGNAL) < 0) result = -errno;
    close(number);
    return result;
}
