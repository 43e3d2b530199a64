// failcall -o REPORT WHO N ERRNO -- COMMAND...
//
// Runs COMMAND, and fails the N-th system call of WHO with ERRNO: `client` is codex32 itself, with what it starts for
// itself of its own code; `child` is what will be the program, until its execve. Nothing is needed in codex32 for it:
// ptrace(2) stops each call at its entry. Calls of the memory allocator and of signal handling are not counted: they
// fail for want of memory only, which ends every Swift program.
//
// REPORT gets one line: `hit CALL` or `missed COUNT`. The exit status is COMMAND's, 128+n for a signal.
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum role { NOBODY, WRAPPER, CLIENT, CHILD };
enum { MOST = 256, OPTIONS = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL };

static struct task { pid_t pid; enum role role; int held, failing; } tasks[MOST];
static const char *report;
static enum role target;
static long when, count;
static int error_number, hit;

static void tell(const char *format, long number) {
    FILE *file = fopen(report, "w");
    if (!file || fprintf(file, format, number) < 0 || fclose(file) != 0) exit(99);
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

static int is_counted(long call) {
    switch (call) {
    case SYS_brk: case SYS_mmap: case SYS_munmap: case SYS_mprotect: case SYS_mremap: case SYS_madvise:
    case SYS_rt_sigaction: case SYS_rt_sigprocmask: case SYS_rt_sigreturn: case SYS_sigaltstack: case SYS_restart_syscall:
    case SYS_exit: case SYS_exit_group: case SYS_futex: case SYS_rseq: case SYS_set_robust_list: case SYS_set_tid_address:
    case SYS_arch_prctl: case SYS_getpid: case SYS_gettid: case SYS_getppid: case SYS_geteuid: case SYS_getuid: case SYS_getegid:
    case SYS_getgid: case SYS_umask: case SYS_sched_yield: return 0;
    case SYS_getrandom: return 0; // never fails for so few bytes (getrandom(2)), and codex32 counts on it
    case SYS_uname: return 0; // the first is the C library's own, before anything of codex32 runs
    }
    return 1;
}

static void at_entry(struct task *task, const struct __ptrace_syscall_info *info) {
    if (task->role != target || hit || !is_counted((long)info->entry.nr) || ++count < when) return;
    hit = 1;
    tell("hit %ld\n", (long)info->entry.nr);
    // That is its word for a file that is always ready (epoll_ctl(2)), and no failure.
    if (info->entry.nr == SYS_epoll_ctl && error_number == EPERM) error_number = ENOMEM;
    task->failing = 1;
    if (info->entry.nr == SYS_close) return; // whatever it answers, the descriptor is gone (close(2))
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, task->pid, 0, &registers) < 0) return;
    registers.orig_rax = (unsigned long)-1; // no such call: the kernel does nothing
    (void)ptrace(PTRACE_SETREGS, task->pid, 0, &registers);
}

static void at_exit(struct task *task) {
    if (!task->failing) return;
    task->failing = 0;
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, task->pid, 0, &registers) < 0) return;
    registers.rax = (unsigned long)-error_number;
    (void)ptrace(PTRACE_SETREGS, task->pid, 0, &registers);
}

static int is_codex32(pid_t pid) {
    char path[64], link[4096];
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    ssize_t length = readlink(path, link, sizeof link - 1);
    link[length > 0 ? length : 0] = 0;
    return strstr(link, "codex32") != NULL;
}

static void stopped(pid_t pid, int status) {
    struct task *task = find(pid);
    int number = WSTOPSIG(status), event = status >> 16;
    if (!task) {
        enter(pid, NOBODY)->held = 1; // seen before its parent's word of it
        return;
    }
    if (number == (SIGTRAP | 0x80)) {
        struct __ptrace_syscall_info info;
        if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof info, &info) > 0) {
            if (info.op == PTRACE_SYSCALL_INFO_ENTRY) at_entry(task, &info);
            else if (info.op == PTRACE_SYSCALL_INFO_EXIT) at_exit(task);
        }
    } else if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK || event == PTRACE_EVENT_CLONE) {
        unsigned long born = 0;
        (void)ptrace(PTRACE_GETEVENTMSG, pid, 0, &born);
        struct task *child = enter((pid_t)born, CHILD);
        if (child->held) {
            child->held = 0;
            (void)ptrace(PTRACE_SYSCALL, child->pid, 0, 0);
        }
    } else if (event == PTRACE_EVENT_EXEC) {
        // codex32 by way of setpriv, or again from where nobody can write; a child that executes is the program.
        if (task->role != CHILD && is_codex32(pid)) task->role = CLIENT;
        else if (task->role == CHILD) {
            (void)ptrace(PTRACE_DETACH, pid, 0, 0);
            *task = (struct task){0};
            return;
        }
    } else if (event == PTRACE_EVENT_STOP) {
        if (number != SIGTRAP) {
            (void)ptrace(PTRACE_LISTEN, pid, 0, 0);
            return;
        }
    } else if (!event) {
        (void)ptrace(PTRACE_SYSCALL, pid, 0, (void *)(long)number);
        return;
    }
    (void)ptrace(PTRACE_SYSCALL, pid, 0, 0);
}

int main(int argc, char **argv) {
    if (argc < 8 || strcmp(argv[1], "-o") != 0 || strcmp(argv[6], "--") != 0) return 97;
    report = argv[2];
    target = strcmp(argv[3], "client") == 0 ? CLIENT : CHILD;
    when = atol(argv[4]);
    error_number = atoi(argv[5]);
    int ready[2];
    if (pipe2(ready, 02000000) < 0) return 99;
    pid_t client = fork();
    if (client == 0) {
        char word;
        if (read(ready[0], &word, 1) != 1) _exit(96);
        execvp(argv[7], argv + 7);
        _exit(127);
    }
    if (ptrace(PTRACE_SEIZE, client, 0, OPTIONS) < 0 || ptrace(PTRACE_INTERRUPT, client, 0, 0) < 0) return 99;
    enter(client, WRAPPER);
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
            if (!begun) begun = write(ready[1], "g", 1) == 1;
            continue;
        }
        struct task *task = find(pid);
        if (task) *task = (struct task){0};
        if (pid == client) result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    if (!hit) tell("missed %ld\n", count);
    return result;
}
