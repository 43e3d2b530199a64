// fault [-a] [-c] [-p PID] [-s STORE] -o REPORT WHO WHEN ACTION -- COMMAND...
//
// Runs COMMAND, and lets WHO (client, supervisor, both, child, forked) meet a fault at its WHEN-th call that matters:
// ACTION is `kill` (SIGKILL before the call is made), or an errno: that call fails with it (`28`), or that one and
// all after it (`28+`). The supervisor is the one that COMMAND starts, or that of PID; a child is what it starts, until
// its execve; forked is what will be the supervisor, until its own.
// Calls that matter change the file system below STORE, make or talk to a process, or lock something; only those
// on files of STORE are failed. Nothing is needed in codex32 for it: ptrace(2) stops each call at its entry.
// With -a every call matters, but those of the memory allocator and of signal handling: they fail for want of memory
// only, which ends every Swift program.
//
// REPORT gets one line: `hit CALL` or `missed COUNT`. The exit status is COMMAND's, 128+n for a signal. With -a
// it is `hit NUMBER ERRNO SUBJECT`: the call's number, what it failed with, and the path it was about, or `-`.
// With -c no supervisor is among the client's own children: one is what will be the program, until its execve.
// Once COMMAND has ended, a supervisor that waits for events again is let go.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum role { UNKNOWN, WRAPPER, FORKED, CLIENT, SUPERVISOR, CHILD };
enum { MOST = 256, OPTIONS = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC };

struct task {
    pid_t pid;
    enum role role;
    int held, waits, failing, leaving;
};

static struct task tasks[MOST];
static const char *store, *report;
static enum role target;
static int all, both, childless, forever, error_number, hit, client_is_gone;
static long when, count;

static void die(const char *what) {
    perror(what);
    exit(99);
}

static struct task *find(pid_t pid) {
    for (int i = 0; i < MOST; i++)
        if (tasks[i].pid == pid) return &tasks[i];
    return NULL;
}

static struct task *enter(pid_t pid, enum role role) {
    struct task *task = find(pid);
    if (!task) task = find(0);
    if (!task) exit(98);
    if (task->pid == 0) *task = (struct task){.pid = pid};
    task->role = role;
    return task;
}

static void tell(const char *text) {
    FILE *file = fopen(report, "w");
    if (!file) die(report);
    fprintf(file, "%s\n", text);
    fclose(file);
}

static int is_in_store(const char *path) { return store && strncmp(path, store, strlen(store)) == 0; }

// Reads at most 256 bytes of a path of the process, which may end with a page. False: there is none.
static int read_path(pid_t pid, uint64_t path, char *text) {
    struct iovec here = {text, 256}, there = {(void *)(uintptr_t)path, 256};
    memset(text, 0, 257);
    if (process_vm_readv(pid, &here, 1, &there, 1, 0) >= 0) return 1;
    there.iov_len = here.iov_len = 4096 - (path & 4095);
    if (here.iov_len > 256) here.iov_len = there.iov_len = 256;
    return process_vm_readv(pid, &here, 1, &there, 1, 0) >= 0;
}

// Whether a descriptor, or a path from one, is of the store.
static int on_store(pid_t pid, int64_t folder, uint64_t path, int has_path) {
    char text[4096], link[64];
    if (has_path) {
        if (!read_path(pid, path, text)) return 0;
        if (text[0] == '/') return is_in_store(text);
    }
    snprintf(link, sizeof link, (int)folder == AT_FDCWD ? "/proc/%d/cwd" : "/proc/%d/fd/%d", pid, (int)folder);
    ssize_t length = readlink(link, text, sizeof text - 1);
    if (length < 0) return 0;
    text[length] = 0;
    return is_in_store(text);
}

// What a call is about, for people and for the tests' own exceptions.
static const char *subject(pid_t pid, const struct __ptrace_syscall_info *info) {
    static char text[257];
    char link[64];
    const __uint64_t *args = info->entry.args;
    int at = -1; // which argument is a path
    switch (info->entry.nr) {
    case SYS_execve: case SYS_mkdir: case SYS_readlink: case SYS_access: case SYS_stat: case SYS_mount: at = 0; break;
    case SYS_openat: case SYS_openat2: case SYS_newfstatat: case SYS_readlinkat: case SYS_mkdirat: case SYS_mknodat:
    case SYS_unlinkat: case SYS_faccessat: case SYS_faccessat2: case SYS_fchmodat: case SYS_fchownat: case SYS_renameat:
    case SYS_renameat2: case SYS_open_tree: case SYS_move_mount: case SYS_statx: at = 1; break;
    case SYS_symlinkat: at = 2; break;
    case SYS_clone: case SYS_clone3: case SYS_fork: case SYS_vfork: case SYS_socket: case SYS_prctl: case SYS_wait4: case SYS_waitid:
    case SYS_epoll_create1: case SYS_pipe2: case SYS_unshare: case SYS_capget: case SYS_capset: return "-";
    }
    if (at >= 0 && read_path(pid, args[at], text) && text[0]) return text;
    // A relative one is rarely in doubt; one of no length is the descriptor's own.
    snprintf(link, sizeof link, "/proc/%d/fd/%d", pid, (int)args[0]);
    ssize_t length = readlink(link, text, sizeof text - 1);
    if (length < 0) return "-";
    text[length] = 0;
    return text;
}

// Whether a signal that is caught may end a call with EINTR (signal(7), and the calls' own pages).
static int may_be_interrupted(long call) {
    switch (call) {
    case SYS_read: case SYS_write: case SYS_readv: case SYS_writev: case SYS_openat: case SYS_wait4: case SYS_waitid: case SYS_poll:
    case SYS_ppoll: case SYS_epoll_wait: case SYS_epoll_pwait: case SYS_accept4: case SYS_connect: case SYS_sendto: case SYS_sendmsg:
    case SYS_recvfrom: case SYS_recvmsg: case SYS_flock: case SYS_nanosleep: case SYS_clock_nanosleep: case SYS_fsync: return 1;
    }
    return 0;
}

// The number of a call as text if it can fail for other reasons than want of memory.
static const char *number(long call) {
    static char text[24];
    switch (call) {
    case SYS_brk: case SYS_mmap: case SYS_munmap: case SYS_mprotect: case SYS_mremap: case SYS_madvise:
    case SYS_rt_sigaction: case SYS_rt_sigprocmask: case SYS_rt_sigreturn: case SYS_sigaltstack: case SYS_restart_syscall:
    case SYS_exit: case SYS_exit_group: case SYS_futex: case SYS_rseq: case SYS_set_robust_list: case SYS_set_tid_address:
    case SYS_arch_prctl: case SYS_getpid: case SYS_gettid: case SYS_getppid: case SYS_geteuid: case SYS_getuid: case SYS_getegid:
    case SYS_getgid: case SYS_umask: case SYS_sched_yield: return NULL;
    case SYS_getrandom: return NULL; // never fails for so few bytes (getrandom(2)), and codex32 counts on it
    case SYS_uname: return NULL; // the first is the C library's own, before anything of codex32 runs
    }
    snprintf(text, sizeof text, "%ld", call);
    return text;
}

// The call's name if it matters.
static const char *name(pid_t pid, const struct __ptrace_syscall_info *info) {
    const __uint64_t *args = (const __uint64_t *)info->entry.args;
    if (all) return number((long)info->entry.nr);
    switch (info->entry.nr) {
#define AT(call) case SYS_##call: return on_store(pid, (int64_t)args[0], args[1], 1) ? #call : NULL
#define FD(call) case SYS_##call: return on_store(pid, (int64_t)args[0], 0, 0) ? #call : NULL
    case SYS_openat:
        if (!on_store(pid, (int64_t)args[0], args[1], 1)) return NULL;
        return error_number || (args[2] & (O_CREAT | O_TRUNC)) ? "openat" : NULL;
    case SYS_mkdir: return on_store(pid, AT_FDCWD, args[0], 1) ? "mkdir" : NULL;
    case SYS_symlinkat: return on_store(pid, (int64_t)args[1], args[2], 1) ? "symlinkat" : NULL;
        AT(mkdirat);
        AT(mknodat);
        AT(unlinkat);
        AT(renameat);
        AT(renameat2);
        FD(write);
        FD(pwrite64);
        FD(fsync);
        FD(fdatasync);
        FD(ftruncate);
        FD(fchmod);
        AT(fchownat);
    case SYS_splice: return on_store(pid, (int64_t)args[2], 0, 0) ? "splice" : NULL;
    case SYS_read:
    case SYS_pread64:
    case SYS_getdents64: return error_number && on_store(pid, (int64_t)args[0], 0, 0) ? "read" : NULL;
    }
    if (error_number) return NULL;
    switch (info->entry.nr) {
#define ANY(call) case SYS_##call: return #call
        ANY(clone);
        ANY(clone3);
        ANY(fork);
        ANY(vfork);
        ANY(execve);
        ANY(execveat);
        ANY(flock);
        ANY(bind);
        ANY(listen);
        ANY(connect);
        ANY(accept4);
        ANY(sendto);
        ANY(recvfrom);
        ANY(sendmsg);
        ANY(recvmsg);
        ANY(pidfd_send_signal);
        ANY(pidfd_open);
        ANY(wait4);
        ANY(prctl);
        ANY(setsid);
        ANY(unshare);
        ANY(move_mount);
        ANY(pivot_root);
        ANY(seccomp);
        ANY(exit_group);
    case SYS_fcntl: return args[1] == F_OFD_SETLK || args[1] == F_OFD_GETLK ? "fcntl" : NULL;
    }
    return NULL;
}

static void kill_targets(struct task *task) {
    if (!both) {
        kill(task->pid, SIGKILL);
        return;
    }
    for (int i = 0; i < MOST; i++)
        if (tasks[i].pid && (tasks[i].role == CLIENT || tasks[i].role == SUPERVISOR)) kill(tasks[i].pid, SIGKILL);
}

static void at_entry(struct task *task, const struct __ptrace_syscall_info *info) {
    task->waits = info->entry.nr == SYS_epoll_wait || info->entry.nr == SYS_epoll_pwait;
    if (task->role != target && !(both && (task->role == CLIENT || task->role == SUPERVISOR))) return;
    if (hit && !(forever && error_number)) return;
    const char *call = name(task->pid, info);
    if (!call || ++count < when) return;
    task->failing = error_number;
    // That is its word for a file that is always ready (epoll_ctl(2)), and no failure.
    if (info->entry.nr == SYS_epoll_ctl && error_number == EPERM) task->failing = ENOMEM;
    if (error_number == EINTR && !may_be_interrupted((long)info->entry.nr)) task->failing = EIO;
    if (!hit) {
        char text[512];
        if (all) snprintf(text, sizeof text, "hit %s %d %s", call, task->failing, subject(task->pid, info));
        else snprintf(text, sizeof text, "hit %s", call);
        tell(text);
    }
    hit = 1;
    if (!error_number) return kill_targets(task);
    if (info->entry.nr == SYS_close) return; // whatever it answers, the descriptor is gone (close(2))
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, task->pid, 0, &registers) < 0) return;
    registers.orig_rax = (unsigned long)-1; // no such call: the kernel does nothing
    (void)ptrace(PTRACE_SETREGS, task->pid, 0, &registers);
}

static void at_exit(struct task *task) {
    task->waits = 0;
    if (!task->failing) return;
    int failing = task->failing;
    task->failing = 0;
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, task->pid, 0, &registers) < 0) return;
    registers.rax = (unsigned long)-failing;
    (void)ptrace(PTRACE_SETREGS, task->pid, 0, &registers);
}

// After an exec: who is this now? False: nobody of interest.
static int recognize(struct task *task) {
    char path[64], words[4096];
    snprintf(path, sizeof path, "/proc/%d/cmdline", task->pid);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 1;
    ssize_t length = read(file, words, sizeof words - 1);
    close(file);
    if (length <= 0) return 1;
    words[length] = 0;
    const char *second = words + strlen(words) + 1;
    const char *base = strrchr(words, '/') ? strrchr(words, '/') + 1 : words;
    if (second < words + length && strcmp(second, "supervise") == 0) task->role = SUPERVISOR;
    else if (task->role == WRAPPER && strcmp(base, "codex32") == 0) task->role = CLIENT;
    else if (task->role == FORKED || task->role == CHILD) return 0;
    return 1;
}

static void leave(struct task *task) {
    (void)ptrace(PTRACE_DETACH, task->pid, 0, 0);
    *task = (struct task){0};
}

static void resume(struct task *task, int number) {
    if (task->role == CHILD && target != CHILD) return leave(task);
    (void)ptrace(PTRACE_SYSCALL, task->pid, 0, (void *)(intptr_t)number);
}

static void stopped(pid_t pid, int status) {
    struct task *task = find(pid);
    int number = WSTOPSIG(status), event = status >> 16;
    if (!task) {
        // A new process, seen before its parent's word of it.
        enter(pid, UNKNOWN)->held = 1;
        return;
    }
    if (number == (SIGTRAP | 0x80)) {
        struct __ptrace_syscall_info info;
        if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof info, &info) > 0) {
            if (info.op == PTRACE_SYSCALL_INFO_ENTRY) at_entry(task, &info);
            else if (info.op == PTRACE_SYSCALL_INFO_EXIT) at_exit(task);
        }
        // An interrupted call's own stop may be all there is to see of the interruption.
        return task->leaving ? leave(task) : resume(task, 0);
    }
    if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK || event == PTRACE_EVENT_CLONE) {
        unsigned long born = 0;
        (void)ptrace(PTRACE_GETEVENTMSG, pid, 0, &born);
        int is_child = task->role == SUPERVISOR || task->role == CHILD || (childless && task->role == CLIENT);
        struct task *child = enter((pid_t)born, is_child ? CHILD : FORKED);
        if (child->held) {
            child->held = 0;
            resume(child, 0);
        }
        return resume(task, 0);
    }
    if (event == PTRACE_EVENT_EXEC) return recognize(task) ? resume(task, 0) : leave(task);
    if (event == PTRACE_EVENT_STOP) {
        if (task->leaving) return leave(task);
        if (number != SIGTRAP) {
            (void)ptrace(PTRACE_LISTEN, pid, 0, 0);
            return;
        }
        return resume(task, 0);
    }
    resume(task, event ? 0 : number);
}

static void release_idle(void) {
    for (int i = 0; i < MOST; i++)
        if (tasks[i].pid && tasks[i].role == SUPERVISOR && tasks[i].waits && !tasks[i].leaving) {
            tasks[i].leaving = 1;
            (void)ptrace(PTRACE_INTERRUPT, tasks[i].pid, 0, 0);
        }
}

int main(int argc, char **argv) {
    pid_t other = 0;
    int option;
    while ((option = getopt(argc, argv, "+acp:s:o:")) > 0) {
        if (option == 'a') all = 1;
        else if (option == 'c') childless = 1;
        else if (option == 'p') other = atoi(optarg);
        else if (option == 's') store = optarg;
        else if (option == 'o') report = optarg;
        else return 97;
    }
    if (argc - optind < 4 || !report) return 97;
    const char *who = argv[optind], *action = argv[optind + 2];
    both = strcmp(who, "both") == 0;
    static const char *const names[] = {"forked", "client", "supervisor", "child"};
    target = SUPERVISOR; // of both, where one is meant
    for (int i = 0; i < 4; i++)
        if (strcmp(who, names[i]) == 0) target = FORKED + (enum role)i;
    when = atol(argv[optind + 1]);
    error_number = atoi(action);
    forever = strchr(action, '+') != NULL;
    char **command = argv + optind + 3;
    if (strcmp(command[0], "--") == 0) command++;

    int ready[2];
    if (pipe2(ready, O_CLOEXEC) < 0) die("pipe2");
    pid_t client = fork();
    if (client == 0) {
        char word;
        if (read(ready[0], &word, 1) != 1) _exit(96);
        execvp(command[0], command);
        _exit(127);
    }
    if (ptrace(PTRACE_SEIZE, client, 0, OPTIONS) < 0 || ptrace(PTRACE_INTERRUPT, client, 0, 0) < 0) die("PTRACE_SEIZE");
    enter(client, WRAPPER); // setpriv and the like, until it is codex32
    if (other) {
        if (ptrace(PTRACE_SEIZE, other, 0, OPTIONS) < 0 || ptrace(PTRACE_INTERRUPT, other, 0, 0) < 0) die("PTRACE_SEIZE");
        enter(other, SUPERVISOR);
    }
    int result = 99, begun = 0;
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, __WALL);
        if (pid < 0) {
            if (errno == EINTR) continue;
            break;
        }
        if (WIFSTOPPED(status)) {
            stopped(pid, status);
            // Both are traced before the command begins.
            if (!begun && pid == (other ? other : client)) begun = write(ready[1], "g", 1) == 1;
        } else {
            struct task *task = find(pid);
            if (task) *task = (struct task){0};
            if (pid == client) {
                result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
                client_is_gone = 1;
            }
        }
        if (client_is_gone) release_idle();
    }
    if (!hit) {
        char text[64];
        snprintf(text, sizeof text, "missed %ld", count);
        tell(text);
    }
    return result;
}
