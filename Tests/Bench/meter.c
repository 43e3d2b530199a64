// Runs a program and measures it, for bench.py: Python's own start and size would be part of the
// figures (a child's ru_maxrss begins with the size of the process that it was forked from).
//
//   meter UID GID COPIES PROGRAM [ARG...]
//
// Becomes UID:GID, starts COPIES at once ("%" in an argument becomes the copy's number), waits for
// all, and prints: nanoseconds, the largest ru_maxrss in KiB, and how many did not return 0.
// What the programs write goes to standard error.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void start(char **arguments, int copy) {
    static char text[64][256];
    for (int i = 0; arguments[i] && i < 64; i++) {
        char *mark = strchr(arguments[i], '%');
        if (!mark) continue;
        snprintf(text[i], sizeof text[i], "%.*s%d%s", (int)(mark - arguments[i]), arguments[i], copy, mark + 1);
        arguments[i] = text[i];
    }
    dup2(2, 1);
    execv(arguments[0], arguments);
    fprintf(stderr, "meter: %s: %s\n", arguments[0], strerror(errno));
    _exit(127);
}

int main(int count, char **arguments) {
    if (count < 5) {
        fputs("usage: meter UID GID COPIES PROGRAM [ARG...]\n", stderr);
        return 2;
    }
    uid_t uid = (uid_t)atoi(arguments[1]);
    gid_t gid = (gid_t)atoi(arguments[2]);
    int copies = atoi(arguments[3]);
    if (uid != geteuid() && (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)) {
        perror("meter: ids");
        return 2;
    }

    long long begin = now();
    for (int copy = 0; copy < copies; copy++) {
        pid_t pid = fork();
        if (pid < 0) {
            perror("meter: fork");
            return 2;
        }
        if (pid == 0) start(arguments + 4, copy);
    }
    long largest = 0;
    int failures = 0, status;
    struct rusage usage;
    while (wait4(-1, &status, 0, &usage) > 0) {
        if (usage.ru_maxrss > largest) largest = usage.ru_maxrss;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) failures++;
    }
    printf("%lld %ld %d\n", now() - begin, largest, failures);
    return 0;
}
