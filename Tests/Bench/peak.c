// peak COMMAND [ARG...]: runs a command and writes "NANOSECONDS KIB" on descriptor 3: how long it took, and the largest
// of it and its children that it waited for. A process begins with the size of the one that it was forked from
// (getrusage(2), ru_maxrss), so that a script that measures has to be small itself.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int main(int count, char **words) {
    struct timespec before, after;
    if (count < 2) return 2;
    clock_gettime(CLOCK_MONOTONIC, &before);
    pid_t pid = fork();
    if (pid == 0) {
        close(3);
        execv(words[1], words + 1);
        _exit(127);
    }
    int status;
    struct rusage usage;
    if (pid < 0 || wait4(pid, &status, 0, &usage) < 0) return 2;
    clock_gettime(CLOCK_MONOTONIC, &after);
    long long took = (after.tv_sec - before.tv_sec) * 1000000000LL + (after.tv_nsec - before.tv_nsec);
    dprintf(3, "%lld %ld\n", took, usage.ru_maxrss);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
