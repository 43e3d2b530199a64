// Running codex32, and the corpus outside of it, as a person would: by execve, with both streams read to their end.
#define _GNU_SOURCE
#include "attack_programs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 4 << 20 }; // bytes of a stream that are kept: more is a flood, and counted only so far

static void become(const char *path, char *const *argv, char *const *envp, int input, int output, int errors, int leaked) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(errors, 2) < 0) _exit(125);
    if (syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) < 0) _exit(125);
    if (leaked > 2 && fcntl(leaked, F_SETFD, 0) < 0) _exit(125);
    execve(path, argv, envp);
    _exit(errno == ENOENT ? 127 : 126);
}

static void take(int stream, char **bytes, unsigned long *length) {
    static char spare[65536];
    if (*length + sizeof spare > MOST) {
        (void)!read(stream, spare, sizeof spare);
        return;
    }
    char *larger = realloc(*bytes, *length + sizeof spare);
    if (!larger) return;
    *bytes = larger;
    ssize_t count = read(stream, larger + *length, sizeof spare);
    if (count > 0) *length += (unsigned long)count;
}

static long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec;
}

int codex_attack_run(const char *path, char *const *argv, char *const *envp, int leaked, int seconds,
                     struct codex_attack_done *done) {
    memset(done, 0, sizeof *done);
    int output[2], errors[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0) return -errno;
    if (pipe2(output, O_CLOEXEC) < 0 || pipe2(errors, O_CLOEXEC) < 0) return -errno;
    pid_t child = fork();
    int error = errno;
    if (child == 0) become(path, argv, envp, null, output[1], errors[1], leaked);
    close(null);
    close(output[1]);
    close(errors[1]);
    if (child < 0) {
        close(output[0]);
        close(errors[0]);
        return -error;
    }
    int process = (int)syscall(SYS_pidfd_open, child, 0), late = 0;
    long end = now() + seconds;
    // Until the process itself has ended, not its streams: what a program leaves behind may hold them open.
    for (int ended = 0; !ended;) {
        struct pollfd entries[] = {{output[0], POLLIN, 0}, {errors[0], POLLIN, 0}, {process, POLLIN, 0}};
        if (poll(entries, 3, 1000) < 0 && errno != EINTR) break;
        if (!late && now() > end) {
            late = 1;
            kill(-child, SIGKILL);
        }
        ended = entries[2].revents != 0;
        for (int i = 0; i < 2; i++)
            if (entries[i].revents & POLLIN)
                take(entries[i].fd, i ? &done->errors : &done->output, i ? &done->errors_length : &done->output_length);
        // A closed stream would be ready for ever.
        if (!ended && !((entries[0].revents | entries[1].revents) & POLLIN) && (entries[0].revents | entries[1].revents))
            poll(&(struct pollfd){process, POLLIN, 0}, 1, 50);
    }
    for (int i = 0; i < 2; i++) {
        int stream = i ? errors[0] : output[0];
        while (poll(&(struct pollfd){stream, POLLIN, 0}, 1, 0) > 0) {
            unsigned long before = i ? done->errors_length : done->output_length;
            take(stream, i ? &done->errors : &done->output, i ? &done->errors_length : &done->output_length);
            if (before == (i ? done->errors_length : done->output_length)) break;
        }
        close(stream);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    close(process);
    done->status = late ? -1 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return 0;
}

int codex_attack_start(const char *path, char *const *argv, char *const *envp, int *input, int *output) {
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0) return -errno;
    pid_t child = fork();
    int error = errno;
    if (child == 0) become(path, argv, envp, in[0], out[1], 2, -1);
    close(in[0]);
    close(out[1]);
    if (child < 0) return -error;
    *input = in[1];
    *output = out[0];
    return child;
}

int codex_attack_wait(int pid) {
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return -errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
