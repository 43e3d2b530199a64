// Joining a container that runs: the steps of exec before those that restrict every program.
#define _GNU_SOURCE
#include "codex_child.h"
#include "codex_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

// All namespaces in one call (setns(2) with a pidfd, Linux 5.8). The kernel takes the user namespace first
// and asks for the rights over the others in it, which is the one order that works for an ordinary user;
// and either all are joined or none.
int codex_step_join(struct codex_child_state *state, const struct codex_step *step) {
    if (syscall(SYS_setns, codex_slot(state, step->source), (int)step->flags) < 0) return -errno;
    // Another user namespace came with capabilities that this process did not have, so that it now is as
    // dumpable as fs.suid_dumpable says, and no longer watched (credentials(7), prctl(2)).
    return codex_watch_parent_again();
}

// A pid namespace is only entered by birth (setns(2)). CLONE_PARENT makes codex32 the parent, which reaps and
// is watched; nothing of ours stays between the two. The process is closed to tracing from birth: it has this
// one's memory, which no user namespace below the host's owns (CVE-2016-9962).
int codex_step_enter(struct codex_child_state *state) {
    // From its birth on the container can see that process: one with CAP_SYS_PTRACE over the whole machine, in no
    // user namespace of its own, can open what it has open too. Nothing of the host's is there any more then.
    enum { MOST = 512 };
    int kept[MOST + 2] = {state->control, state->root};
    size_t slots = state->plan->slot_count;
    if (slots > MOST) return -E2BIG;
    for (size_t i = 0; i < slots; i++) kept[i + 2] = codex_slot(state, (int)i);
    int closed = codex_close_others(state, kept, slots + 2);
    if (closed < 0) return closed;
    int pidfd = -1;
    bool is_first = state->plan->steps[state->index].flags & 1;
    struct clone_args arguments = {
        .flags = CLONE_PARENT | CLONE_PIDFD | (is_first ? CLONE_NEWPID : 0), .pidfd = (uint64_t)(uintptr_t)&pidfd};
    long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid < 0) return -errno;
    if (pid > 0) {
        struct codex_message message = {
            .kind = CODEX_MESSAGE_ENTERED, .step = state->index, .descriptor = -1, .pid = (int32_t)pid};
        _exit(codex_control_send(state->control, &message, pidfd) < 0 ? 125 : 0);
    }
    int result = codex_watch_parent_again();
    if (result < 0) return result;
    // Not codex32's terminal, and a process group that can be signalled as a whole.
    if (setsid() < 0) return -errno;
    // What it says next the parent takes for the word of the process that it knows.
    if (is_first) return codex_control_wait(state->control);
    // A parent that ended before it was watched shows as the end of the socket. Nothing is waited for: the
    // parent may learn of this process after the process has said something itself.
    return recv(state->control, &(char){0}, 1, MSG_DONTWAIT | MSG_PEEK) == 0 ? -ECANCELED : 0;
}

int codex_step_open_devpts(struct codex_child_state *state, const struct codex_step *step) {
    int folder = codex_path_open(state->root, step->path, O_PATH | O_DIRECTORY, true);
    if (folder < 0) return folder;
    struct statfs system;
    if (fstatfs(folder, &system) < 0) {
        int result = -errno;
        close(folder);
        return result;
    }
    if (system.f_type != DEVPTS_SUPER_MAGIC) {
        close(folder);
        return -ENODEV;
    }
    return codex_store(state, step, folder);
}

int codex_step_outlive(void) { return prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) == 0 ? 0 : -errno; }

int codex_signal_group(int leader, int signal) {
    // kill(2): 0 is this process's own group, -1 everybody, and 1 no child's.
    if (leader <= 1) return -EINVAL;
    return kill(-leader, signal) == 0 ? 0 : -errno;
}
