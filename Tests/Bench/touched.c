// Prints the address of every instruction that a program and its forks run until they execute another (or until the
// program has ended, and they wait for something),
// once each and in the order of their first time, a fork's behind a minus: start_order.py makes the linker's order of
// them.
//
//   touched PROGRAM [ARG...]
//
// Single-stepped (ptrace(2)), so that nothing is missed; a start takes about a minute.
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PLACES = 1 << 21 };
static uint64_t seen[PLACES];

static void touch(uint64_t address, int by_fork) {
    // Twice, where both run it: the highest bit is no program's.
    address |= (uint64_t)by_fork << 63;
    uint64_t place = address * 0x9e3779b97f4a7c15ULL >> 43;
    while (seen[place] && seen[place] != address) place = (place + 1) % PLACES;
    if (seen[place]) return;
    seen[place] = address;
    printf("%s%lx\n", by_fork ? "-" : "", address & ~(1ULL << 63));
}

static void step(pid_t pid, int signal) { ptrace(PTRACE_SINGLESTEP, pid, NULL, (void *)(intptr_t)signal); }

// Whether a process runs this very program, as one does that begins anew from elsewhere.
static int runs(pid_t pid, const struct stat *own) {
    char path[64];
    struct stat status;
    snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
    return stat(path, &status) == 0 && status.st_dev == own->st_dev && status.st_ino == own->st_ino;
}

int main(int count, char **arguments) {
    struct stat own;
    if (count < 2 || stat(arguments[1], &own) < 0) return 2;
    pid_t program = fork();
    if (program == 0) {
        // What it writes must not come between the addresses.
        dup2(2, 1);
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        execv(arguments[1], arguments + 1);
        _exit(127);
    }
    int status, started = 0, result = 1;
    waitpid(program, &status, 0);
    ptrace(PTRACE_SETOPTIONS, program, NULL,
           (void *)(PTRACE_O_TRACEFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC));
    ptrace(PTRACE_CONT, program, NULL, NULL);
    for (pid_t pid; (pid = waitpid(-1, &status, __WALL)) > 0;) {
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (pid != program) continue;
            result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            break; // others go on untraced
        } else if (status >> 16 == PTRACE_EVENT_EXEC) {
            started = 1;
            if (runs(pid, &own)) step(pid, 0);
            else ptrace(PTRACE_DETACH, pid, NULL, NULL);
        } else if (WSTOPSIG(status) == SIGTRAP || WSTOPSIG(status) == SIGSTOP) {
            struct user_regs_struct registers;
            if (started && status >> 16 == 0 && ptrace(PTRACE_GETREGS, pid, NULL, &registers) == 0)
                touch(registers.rip, pid != program);
            step(pid, 0);
        } else {
            step(pid, WSTOPSIG(status));
        }
    }
    return result;
}
