// Programs that take all they can get, up to a bound that harms nobody: reached, it is as good as the machine.
#define _GNU_SOURCE
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static enum attack_outcome fork_many(struct attack *attack) {
    pid_t own = getpid();
    long count = 0;
    setpgid(0, 0);
    for (; count < attack_bound(); count++) {
        pid_t child = fork();
        if (child < 0) break;
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != own) _exit(0);
            for (;;) pause();
        }
    }
    int error = errno;
    signal(SIGTERM, SIG_IGN);
    kill(0, SIGTERM);
    while (wait(NULL) > 0) {}
    errno = error;
    return attack_counted(attack, count, "processes", "fork");
}

static enum attack_outcome memory(struct attack *attack) { // in MiB, and touched
    long count = 0;
    for (; count < attack_bound(); count++) {
        char *piece = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (piece == MAP_FAILED) break;
        memset(piece, 1, 1 << 20);
    }
    return attack_counted(attack, count, "MiB of memory", "mmap");
}

static enum attack_outcome fill(struct attack *attack, const char *folder) { // in MiB
    char path[256];
    static char bytes[1 << 20];
    snprintf(path, sizeof path, "%s/fill-%d", folder, getpid());
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0) return stopped(attack, "open");
    unlink(path);
    long count = 0;
    errno = 0;
    for (; count < attack_bound(); count++)
        if (write(file, bytes, sizeof bytes) != (ssize_t)sizeof bytes) break;
    if (count < attack_bound() && errno == 0) errno = ENOSPC; // a part of it went in
    return attack_counted(attack, count, "MiB written", "write");
}

static enum attack_outcome fill_tmp(struct attack *attack) { return fill(attack, getenv("ATTACK_CONTROL") ? target("ATTACK_PLACE") : "/tmp"); }
static enum attack_outcome fill_shm(struct attack *attack) { return fill(attack, getenv("ATTACK_CONTROL") ? target("ATTACK_PLACE") : "/dev/shm"); }
static enum attack_outcome fill_root(struct attack *attack) { return fill(attack, getenv("ATTACK_CONTROL") ? target("ATTACK_PLACE") : "/"); }
static enum attack_outcome fill_dev(struct attack *attack) { return fill(attack, getenv("ATTACK_CONTROL") ? target("ATTACK_PLACE") : "/dev"); }

static enum attack_outcome inodes(struct attack *attack) {
    char folder[256], path[512];
    snprintf(folder, sizeof folder, "%s/inodes-%d", getenv("ATTACK_CONTROL") ? target("ATTACK_PLACE") : "/tmp", getpid());
    if (mkdir(folder, 0700) < 0) return stopped(attack, "mkdir");
    long count = 0;
    for (; count < attack_bound(); count++) {
        snprintf(path, sizeof path, "%s/%ld", folder, count);
        int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (file < 0) break;
        close(file);
    }
    int error = errno;
    for (long i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/%ld", folder, i);
        unlink(path);
    }
    rmdir(folder);
    errno = error;
    return attack_counted(attack, count, "files", "open");
}

static enum attack_outcome descriptors(struct attack *attack) {
    long count = 0;
    while (count < attack_bound() && open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0) count++;
    return attack_counted(attack, count, "descriptors", "open");
}

static enum attack_outcome timers(struct attack *attack) {
    long count = 0;
    timer_t timer;
    while (count < attack_bound() && timer_create(CLOCK_MONOTONIC, NULL, &timer) == 0) count++;
    return attack_counted(attack, count, "timers", "timer_create");
}

static enum attack_outcome message_queues(struct attack *attack) {
    long count = 0;
    struct mq_attr attributes = {.mq_maxmsg = 10, .mq_msgsize = 8192};
    char name[64];
    for (; count < attack_bound(); count++) {
        snprintf(name, sizeof name, "/codex32-selftest-%d-%ld", getpid(), count);
        if (mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes) < 0) break;
    }
    int error = errno;
    for (long i = 0; i < count; i++) {
        snprintf(name, sizeof name, "/codex32-selftest-%d-%ld", getpid(), i);
        mq_unlink(name);
    }
    errno = error;
    return attack_counted(attack, count, "message queues", "mq_open");
}

static enum attack_outcome locked_memory(struct attack *attack) { // in MiB
    long count = 0;
    for (; count < attack_bound(); count++) {
        void *piece = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (piece == MAP_FAILED || mlock(piece, 1 << 20) < 0) break;
    }
    return attack_counted(attack, count, "MiB of locked memory", "mlock");
}

// Standard output itself: whoever started it counts what comes out. In KiB.
static enum attack_outcome flood(struct attack *attack) {
    static char bytes[1024];
    memset(bytes, 'x', sizeof bytes);
    bytes[sizeof bytes - 1] = '\n';
    long count = 0;
    for (; count < attack_bound(); count++)
        if (write(1, bytes, sizeof bytes) < 0) break;
    return attack_counted(attack, count, "KiB of output", "write");
}

// A daemon: no parent, no session, no terminal, deaf to every signal that can be ignored. Whoever started it looks
// whether it is still there when the rest is gone.
static enum attack_outcome run_away(struct attack *attack) {
    int ends[2];
    if (pipe(ends) < 0) return impossible(attack, "no pipe");
    pid_t middle = fork();
    if (middle == 0) {
        setsid();
        pid_t last = fork();
        if (last != 0) _exit(last < 0);
        for (int number = 1; number < NSIG; number++) signal(number, SIG_IGN);
        prctl(PR_SET_PDEATHSIG, 0);
        (void)!write(ends[1], "x", 1);
        for (int number = 0; number < 64; number++) close(number);
        // Bounded, as everything here: a control that nobody ends is gone by itself.
        sleep(300);
        _exit(0);
    }
    close(ends[1]);
    waitpid(middle, NULL, 0);
    char byte;
    if (read(ends[0], &byte, 1) != 1) return stopped(attack, "fork");
    return found(attack, "daemon", 6);
}

const struct attack_program attack_exhaustion[] = {
    {"fork-many", fork_many}, {"memory", memory}, {"fill-tmp", fill_tmp}, {"fill-shm", fill_shm}, {"fill-root", fill_root},
    {"fill-dev", fill_dev}, {"inodes", inodes}, {"descriptors", descriptors},
    {"timers", timers}, {"message-queues", message_queues}, {"locked-memory", locked_memory}, {"flood", flood},
    {"run-away", run_away}, {NULL, NULL},
};
