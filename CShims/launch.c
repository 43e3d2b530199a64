// clone3, and the child's walk over its plan.
#define _GNU_SOURCE
#include "codex_child.h"
#include "codex_passing.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "codex_capabilities.h"

#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ULL
#endif

int codex_slot(const struct codex_child_state *state, int slot) {
    if (slot < 0 || (size_t)slot >= state->plan->slot_count) return -1;
    return state->plan->slots[slot];
}

int codex_base(const struct codex_child_state *state, const struct codex_step *step) {
    return step->within < 0 ? state->root : codex_slot(state, step->within);
}

int codex_store(struct codex_child_state *state, const struct codex_step *step, int descriptor) {
    if (descriptor < 0) return descriptor;
    if (step->slot < 0 || (size_t)step->slot >= state->plan->slot_count) return -EBADF;
    state->plan->slots[step->slot] = descriptor;
    return 0;
}

int codex_control_send(int control, const struct codex_message *message, int descriptor) {
    struct codex_passing passing;
    codex_passing_prepare(&passing, message, sizeof *message, descriptor);
    // The seccomp filter is already loaded when execve fails, and a user's profile may know write
    // but not sendmsg: a message without a descriptor is a plain write.
    ssize_t sent = descriptor >= 0 ? sendmsg(control, &passing.envelope, MSG_NOSIGNAL)
                                   : write(control, message, sizeof *message);
    return sent < 0 ? -errno : 0;
}

int codex_control_wait(int control) {
    char word;
    ssize_t count;
    do count = read(control, &word, 1);
    while (count < 0 && errno == EINTR);
    if (count < 0) return -errno;
    return count == 1 ? 0 : -ECANCELED; // the parent is gone: nobody owns this child
}

// Whether the parent had died before its death was watched: then what it said last is all that there is.
static bool is_alone(int control) { return recv(control, &(char){0}, 1, MSG_DONTWAIT | MSG_PEEK) == 0; }

// A word that was there from the beginning has hidden the end of the socket until now.
static int await_word(int control) {
    int result = codex_control_wait(control);
    return result < 0 ? result : is_alone(control) ? -ECANCELED : 0;
}

static int drop_inherited_signals(void) {
    // The kernel's own structure, all of it zero: SIG_DFL. By the system call, for glibc's function leaves out the
    // two signals that it keeps for itself, and its posix_spawn(3) hands them on ignored.
    static const unsigned long action[8];
    for (int number = 1; number < NSIG; number++)
        if (number != SIGKILL && number != SIGSTOP) (void)syscall(SYS_rt_sigaction, number, action, NULL, 8);
    sigset_t none;
    sigemptyset(&none);
    return sigprocmask(SIG_SETMASK, &none, NULL) == 0 ? 0 : -errno;
}

// A descriptor that stands where another is to go is moved out of the way first.
static int place_standard_streams(const struct codex_child_state *state) {
    const struct codex_plan *plan = state->plan;
    int from[3];
    for (int i = 0; i < 3; i++) {
        int slot = plan->standard_slot[i];
        from[i] = slot < 0 ? plan->standard[i] : codex_slot(state, slot);
        if (from[i] < 3 && from[i] != i) {
            from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, 3);
            if (from[i] < 0) return -errno;
        }
    }
    for (int i = 0; i < 3; i++)
        if (from[i] != i && dup2(from[i], i) < 0) return -errno;
    return 0;
}

static int rlimit_step(const struct codex_step *step) {
    __rlimit_resource_t resource = (__rlimit_resource_t)(step->flags & ~(uint32_t)CODEX_RLIMIT_LOWER);
    struct rlimit limit = {.rlim_cur = step->a, .rlim_max = step->b};
    if (step->flags & CODEX_RLIMIT_LOWER) {
        struct rlimit now;
        if (getrlimit(resource, &now) < 0) return -errno;
        if (limit.rlim_cur > now.rlim_cur) limit.rlim_cur = now.rlim_cur;
        if (limit.rlim_max > now.rlim_max) limit.rlim_max = now.rlim_max;
    }
    return setrlimit(resource, &limit) == 0 ? 0 : -errno;
}

static int walk_one(struct codex_child_state *state, const struct codex_step *step) {
    if (codex_furniture_serves(state, step)) return 0;
    switch ((enum codex_step_kind)step->kind) {
    case CODEX_STEP_BECOME_ROOT: return codex_step_become_root(step);
    case CODEX_STEP_HOSTNAME: return sethostname(step->text, step->text_length) == 0 ? 0 : -errno;
    case CODEX_STEP_LOOPBACK: return codex_step_loopback();
    case CODEX_STEP_PRIVATE_MOUNTS: return codex_step_private_mounts();
    case CODEX_STEP_UNSHARE: return unshare((int)step->flags) == 0 ? 0 : -errno;
    case CODEX_STEP_OPEN: return codex_step_open(state, step);
    case CODEX_STEP_OPEN_DEVICE: return codex_step_open_device(state, step);
    case CODEX_STEP_CLONE_TREE: return codex_step_clone_tree(state, step);
    case CODEX_STEP_NEW_FS: return codex_step_new_fs(state, step);
    case CODEX_STEP_MOUNT_ATTR: return codex_step_mount_attr(state, step);
    case CODEX_STEP_ENTER_HOST: return codex_step_enter_host(state, step);
    case CODEX_STEP_USE_ROOT:
        if (step->source >= 0) {
            state->root = codex_slot(state, step->source);
            return state->root < 0 ? -EBADF : 0;
        }
        state->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        return state->root < 0 ? -errno : 0;
    case CODEX_STEP_ATTACH: return codex_step_attach(state, step);
    case CODEX_STEP_MASK: return codex_step_mask(state, step);
    case CODEX_STEP_READ_ONLY: return codex_step_read_only(state, step);
    case CODEX_STEP_MAKE_FOLDER: return codex_path_make_folder(state->root, step->path, (unsigned)step->a);
    case CODEX_STEP_MAKE_LINK: return codex_step_make_link(state, step);
    case CODEX_STEP_FURNISH: return codex_step_furnish(state, step);
    case CODEX_STEP_MAKE_FILE: return codex_step_make_file(state, step);
    case CODEX_STEP_WRITE: return codex_step_write(state, step);
    case CODEX_STEP_TERMINAL: return codex_step_terminal(state, step);
    case CODEX_STEP_PIVOT: return codex_step_pivot(state);
    case CODEX_STEP_RLIMIT: return rlimit_step(step);
    case CODEX_STEP_UMASK: umask((mode_t)step->a); return 0;
    case CODEX_STEP_SESSION_KEYRING: {
        // KEYCTL_JOIN_SESSION_KEYRING of an anonymous one. A kernel without keys has nothing to leak,
        // and one that is out of key quota or filtered keeps the caller's: that is an error.
        long ring = syscall(SYS_keyctl, 1, NULL, 0, 0, 0);
        return ring >= 0 || errno == ENOSYS ? 0 : -errno;
    }
    case CODEX_STEP_CHDIR: return codex_step_chdir(state, step);
    case CODEX_STEP_AWAIT_WORD: return await_word(state->control);
    case CODEX_STEP_HOLD: return codex_step_hold(state);
    case CODEX_STEP_LEND_ROOT: return codex_step_lend_root(state);
    case CODEX_STEP_LANDLOCK_CREATE: return codex_step_landlock_create(state, step);
    case CODEX_STEP_LANDLOCK_PATH: return codex_step_landlock_path(state, step);
    case CODEX_STEP_LANDLOCK_ENFORCE: return codex_step_landlock_enforce(state, step);
    case CODEX_STEP_BOUNDING_SET: return codex_capabilities_bound(step->a);
    case CODEX_STEP_IDENTITY: return codex_step_identity(step);
    case CODEX_STEP_CAPABILITIES: return codex_capabilities_set(step->a, step->b);
    case CODEX_STEP_NO_NEW_PRIVS: return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? 0 : -errno;
    case CODEX_STEP_CLOSE_OTHERS: return codex_step_close_others(state);
    case CODEX_STEP_SECCOMP: return codex_step_seccomp(state, step);
    case CODEX_STEP_OBSERVE: return codex_step_observe(state, step);
    case CODEX_STEP_INIT: return codex_step_init(state);
    case CODEX_STEP_JOIN: return codex_step_join(state, step);
    case CODEX_STEP_ENTER: return codex_step_enter(state);
    case CODEX_STEP_OPEN_DEVPTS: return codex_step_open_devpts(state, step);
    case CODEX_STEP_OUTLIVE: return codex_step_outlive();
    case CODEX_STEP_AWAIT: return codex_step_await(state, step);
    case CODEX_STEP_TUNE: return codex_step_tune(step);
    case CODEX_STEP_PROPAGATION: return codex_step_propagation(state, step);
    case CODEX_STEP_LABEL_MOUNT: return codex_step_label_mount(state, step);
    case CODEX_STEP_CHROOT: return codex_step_chroot(state);
    case CODEX_STEP_MAKE_NODE: return codex_step_make_node(state, step);
    case CODEX_STEP_COPY_UP: return codex_step_copy_up(state, step);
    case CODEX_STEP_READY: return codex_step_ready(state);
    case CODEX_STEP_HOOK: return codex_step_hook(state, step);
    case CODEX_STEP_LEND_NETWORK: return codex_step_lend_network(state);
    case CODEX_STEP_PRESERVE: return codex_step_preserve(state, step);
    case CODEX_STEP_CAPABILITY_SETS: return codex_step_capability_sets(step);
    case CODEX_STEP_EXEC: return codex_step_exec(state);
    case CODEX_STEP_NONE:
    case CODEX_STEP_COUNT: break;
    }
    return -EINVAL;
}

__attribute__((noreturn)) static void fail(struct codex_child_state *state, uint32_t kind, int error) {
    struct codex_message message = {.kind = kind, .step = state->index, .error = -error, .descriptor = -1};
    if (state->index < state->plan->step_count) message.pid = (int32_t)state->plan->steps[state->index].kind;
    memcpy(message.detail, state->detail, sizeof message.detail);
    message.detail[CODEX_DETAIL - 1] = 0;
    (void)codex_control_send(state->control, &message, -1);
    _exit(125);
}

// As many descriptors as the kernel passes on at once (SCM_MAX_FD).
enum { MOST_AT_ONCE = 253 };
union passed {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(MOST_AT_ONCE * sizeof(int))];
};

// The word that the plan is in its place, and the descriptors that it names.
static int receive_plan(int control, const struct codex_plan *plan) {
    size_t have = 0;
    do {
        char word;
        struct iovec part = {.iov_base = &word, .iov_len = 1};
        union passed ancillary;
        struct msghdr envelope = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = ancillary.bytes, .msg_controllen = sizeof ancillary.bytes};
        ssize_t count;
        do count = recvmsg(control, &envelope, MSG_CMSG_CLOEXEC);
        while (count < 0 && errno == EINTR);
        if (count < 0) return -errno;
        if (count == 0) return -ECANCELED; // the parent is gone, or has no plan after all
        if (envelope.msg_flags & MSG_CTRUNC) return -EMFILE;
        struct cmsghdr *header = CMSG_FIRSTHDR(&envelope);
        if (!header) {
            if (have < plan->given_count) return -EPROTO;
            continue;
        }
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) return -EPROTO;
        int numbers[MOST_AT_ONCE];
        size_t here = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(numbers, CMSG_DATA(header), here * sizeof(int));
        for (size_t i = 0; i < here; i++, have++) {
            if (have >= plan->given_count || (size_t)plan->given[have] >= plan->slot_count) return -EPROTO;
            plan->slots[plan->given[have]] = numbers[i];
        }
    } while (have < plan->given_count);
    return 0;
}

// What the child makes itself, while the parent goes on: making namespaces takes longest of all. They
// belong to the user namespace that clone3 made, where the child has every capability already
// (user_namespaces(7)): the order is as if all were made by clone3. A pid and a time namespace are only
// entered by birth (unshare(2)).
#define BORN_LATER ((uint64_t)(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP))

// The whole of the child. Runs with its own copy of the parent's memory and nothing of Swift.
//
// One that is born early has nothing of the sandbox yet but its namespaces. It has a copy of the parent's
// descriptor table as it was then, not the table itself, so that what the parent opens and closes while it
// plans is out of its reach; what the plan needs of that is passed to it, by number of slots, with the plan.
// The memory in which the plan comes is the only thing that both may write: the parent writes it once,
// before its word, takes its own mapping away after it, and reads nothing there but one byte, which only says where
// the child had better run; a child that went astray could spoil its own plan and nothing else. Until the parent's first word the child must be dumpable, or its id
// maps could not be written; that word comes as soon as they are, before there is a plan. A process outside
// that may trace it then, of the same user and in the same pid namespace, could trace codex32 itself as well;
// no container can, for it sees neither.
__attribute__((noreturn)) static void child_main(
    const struct codex_birth *birth, const struct codex_plan *plan, int control, int report) {
    struct codex_child_state state = {.plan = plan, .control = control, .report = report, .root = -1, .index = UINT32_MAX};
    codex_hide_words();
    int later = (int)(birth->clone_flags & BORN_LATER);
    int result = drop_inherited_signals();
    if (result == 0 && later && unshare(later) < 0) result = -errno;
    if (result < 0) fail(&state, CODEX_MESSAGE_UNBORN, result);
    // There is nothing else to do meanwhile. A plan that wants it has a step for it, which tells of failure.
    if (birth->early) {
        codex_early_ready(plan);
        if (later & CLONE_NEWNET) (void)codex_step_loopback();
        codex_furniture_make(&state, birth->clone_flags, false);
    }
    result = codex_control_wait(control);
    if (result < 0) fail(&state, CODEX_MESSAGE_FAILED, result);

    // Not dumpable from here to execve: no process of the same uid may trace the set-up or read
    // its descriptors (CVE-2016-9962, CVE-2026-41163). Only then is the parent's death watched:
    // a change of dumpability does not clear it, a change of uid does, so IDENTITY sets it again.
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || setsid() < 0)
        fail(&state, CODEX_MESSAGE_FAILED, -errno);
    if (birth->early) {
        // Where it has a root: what it makes belongs to that one. Otherwise half of the ids may have changed.
        if (codex_step_become_root(&(struct codex_step){0}) == 0)
            codex_furniture_make(&state, birth->clone_flags, true);
        else if (codex_watch_parent_again() < 0)
            fail(&state, CODEX_MESSAGE_FAILED, -errno);
        // A parent that has died since its word shows here as the end of the socket.
        result = receive_plan(control, plan);
        if (result < 0) fail(&state, CODEX_MESSAGE_FAILED, result);
    }
    // The parent wrote its word before this line ran, and may have died since: the end of the
    // socket would show it.
    if (is_alone(control)) _exit(125);
    if (!plan->terminal) {
        result = place_standard_streams(&state);
        if (result < 0) fail(&state, CODEX_MESSAGE_FAILED, result);
    }
    for (size_t i = 0; i < plan->step_count; i++) {
        state.index = (uint32_t)i;
        result = walk_one(&state, &plan->steps[i]);
        if (result < 0) fail(&state, CODEX_MESSAGE_FAILED, result);
    }
    _exit(125); // a plan ends in CODEX_STEP_EXEC
}

void *codex_launch_room(size_t size) {
    // Pages are made when they are written to: a large room costs no more than what is in it.
    void *room = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return room == MAP_FAILED ? NULL : room;
}

void codex_launch_leave_room(void *room, size_t size) { munmap(room, size); }

int codex_launch(const struct codex_birth *birth, const struct codex_plan *plan, struct codex_child *child) {
    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0) return -errno;
    // A socket, not a pipe: a pipe of pid 1's could be opened again through /proc and written to.
    int reports[2] = {-1, -1};
    if (birth->reaper && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, reports) < 0) {
        int error = errno;
        close(sockets[0]);
        close(sockets[1]);
        return -error;
    }

    // No handler of the parent may run in the child before it has reset them.
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);

    int pidfd = -1;
    struct clone_args arguments = {
        .flags = (birth->clone_flags & ~BORN_LATER) | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
        .pidfd = (uint64_t)(uintptr_t)&pidfd,
        .exit_signal = SIGCHLD,
    };
    if (birth->cgroup >= 0) {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = (uint64_t)birth->cgroup;
    }
    long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    int error = errno;
    if (pid == 0) {
        close(sockets[0]);
        if (birth->reaper) close(reports[0]);
        child_main(birth, plan, sockets[1], reports[1]);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(sockets[1]);
    if (birth->reaper) close(reports[1]);
    if (pid < 0) {
        close(sockets[0]);
        if (birth->reaper) close(reports[0]);
        return -error;
    }
    *child = (struct codex_child){.pid = (pid_t)pid, .pidfd = pidfd, .control = sockets[0], .report = reports[0]};
    return 0;
}

int codex_launch_give(int control, const int32_t *descriptors, size_t count) {
    do {
        struct iovec part = {.iov_base = "p", .iov_len = 1};
        union passed ancillary;
        struct msghdr envelope = {.msg_iov = &part, .msg_iovlen = 1};
        size_t here = count < MOST_AT_ONCE ? count : MOST_AT_ONCE;
        if (here > 0) {
            envelope.msg_control = ancillary.bytes;
            envelope.msg_controllen = CMSG_SPACE(here * sizeof(int));
            struct cmsghdr *header = CMSG_FIRSTHDR(&envelope);
            header->cmsg_level = SOL_SOCKET;
            header->cmsg_type = SCM_RIGHTS;
            header->cmsg_len = CMSG_LEN(here * sizeof(int));
            memcpy(CMSG_DATA(header), descriptors, here * sizeof(int));
        }
        ssize_t sent;
        do sent = sendmsg(control, &envelope, MSG_NOSIGNAL);
        while (sent < 0 && errno == EINTR);
        if (sent < 0) return -errno;
        descriptors += here;
        count -= here;
    } while (count > 0);
    return 0;
}

int codex_launch_go(int control) {
    ssize_t count;
    do count = send(control, "g", 1, MSG_NOSIGNAL);
    while (count < 0 && errno == EINTR);
    return count < 0 ? -errno : 0;
}

int codex_launch_receive(int control, struct codex_message *message) {
    struct iovec part = {.iov_base = message, .iov_len = sizeof *message};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } ancillary = {0};
    struct msghdr envelope = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = ancillary.bytes, .msg_controllen = sizeof ancillary.bytes};
    ssize_t count;
    // A child that ended with a word of ours unread shows so once, before what it said itself.
    int resets = 0;
    do count = recvmsg(control, &envelope, MSG_CMSG_CLOEXEC);
    while (count < 0 && (errno == EINTR || (errno == ECONNRESET && resets++ == 0)));
    if (count < 0) return errno == ECONNRESET ? 0 : -errno;
    if (count == 0) return 0;
    if ((size_t)count != sizeof *message) return -EPROTO;
    message->descriptor = -1;
    message->detail[CODEX_DETAIL - 1] = 0;
    struct cmsghdr *header = CMSG_FIRSTHDR(&envelope);
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&message->descriptor, CMSG_DATA(header), sizeof(int));
    return 1;
}

int codex_launch_outcome(int pipe, struct codex_message *message) {
    size_t have = 0;
    while (have < sizeof *message) {
        ssize_t count = read(pipe, (char *)message + have, sizeof *message - have);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return -errno;
        if (count == 0) return have == 0 ? 0 : -EPROTO;
        have += (size_t)count;
    }
    message->detail[CODEX_DETAIL - 1] = 0;
    return 1;
}

int codex_launch_reported(int report, int *status) {
    ssize_t count;
    do count = recv(report, status, sizeof *status, MSG_DONTWAIT);
    while (count < 0 && errno == EINTR);
    if (count < 0) return errno == EAGAIN || errno == ECONNRESET ? 0 : -errno;
    // A status that no wait(2) gives is no report.
    return (size_t)count == sizeof *status && (WIFEXITED(*status) || WIFSIGNALED(*status));
}
