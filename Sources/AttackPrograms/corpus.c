// Runs attacks by name, each in a process of its own: one that is killed, or that succeeds, does not disturb the next.
#define _GNU_SOURCE
#include "attack_programs.h"
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct attack_program *const families[] = {
    attack_namespaces, attack_files, attack_kernel, attack_processes, attack_sockets, attack_doors, attack_exhaustion,
    attack_quotas, attack_races,
};

const char *codex_attack_name(int index) {
    for (size_t family = 0; family < sizeof families / sizeof *families; family++)
        for (const struct attack_program *program = families[family]; program->name; program++)
            if (index-- == 0) return program->name;
    return NULL;
}

static const struct attack_program *by_name(const char *name) {
    for (size_t family = 0; family < sizeof families / sizeof *families; family++)
        for (const struct attack_program *program = families[family]; program->name; program++)
            if (strcmp(program->name, name) == 0) return program;
    return NULL;
}

// --- what a program says of itself ------------------------------------------------------------------------------

// One line, whatever is in it: it was read from anywhere.
static void tell(struct attack *attack, const char *text, size_t length) {
    if (length >= sizeof attack->detail) length = sizeof attack->detail - 1;
    for (size_t i = 0; i < length; i++) attack->detail[i] = text[i] >= ' ' && text[i] != 0x7f ? text[i] : ' ';
    attack->detail[length] = 0;
}

static enum attack_outcome tell_all(struct attack *attack, enum attack_outcome outcome, const char *format, va_list list) {
    char text[sizeof attack->detail];
    vsnprintf(text, sizeof text, format, list);
    tell(attack, text, strlen(text));
    return outcome;
}

#define TELL(outcome) \
    va_list list; \
    va_start(list, format); \
    enum attack_outcome result = tell_all(attack, outcome, format, list); \
    va_end(list); \
    return result

enum attack_outcome stopped_by(struct attack *attack, const char *format, ...) { TELL(ATTACK_STOPPED); }
enum attack_outcome succeeded(struct attack *attack, const char *format, ...) { TELL(ATTACK_SUCCEEDED); }
enum attack_outcome impossible(struct attack *attack, const char *format, ...) { TELL(ATTACK_IMPOSSIBLE); }

enum attack_outcome stopped(struct attack *attack, const char *call) {
    int error = errno;
    const char *name = strerrorname_np(error);
    return stopped_by(attack, "%s: %s", call, name ? name : "no error");
}

enum attack_outcome found(struct attack *attack, const void *bytes, size_t length) {
    tell(attack, bytes, length);
    return ATTACK_READ;
}

bool is_absent(int error) {
    return error == ENOSYS || error == EAFNOSUPPORT || error == EPROTONOSUPPORT || error == EOPNOTSUPP || error == ENODEV;
}

const char *target(const char *name) {
    const char *value = getenv(name);
    return value ? value : "";
}

enum attack_outcome read_file(struct attack *attack, const char *path) {
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file < 0) return stopped(attack, "open");
    char text[256];
    ssize_t length = read(file, text, sizeof text);
    int error = errno;
    close(file);
    errno = error;
    return length < 0 ? stopped(attack, "read") : found(attack, text, (size_t)length);
}

long attack_bound(void) {
    long value = strtol(target("ATTACK_BOUND"), NULL, 10);
    return value > 0 ? value : 1;
}

enum attack_outcome attack_counted(struct attack *attack, long count, const char *what, const char *call) {
    int error = errno;
    if (count >= attack_bound()) return succeeded(attack, "%ld %s", count, what);
    const char *name = strerrorname_np(error);
    return stopped_by(attack, "%s: %s after %ld %s", call, name ? name : "end", count, what);
}

// --- running them -----------------------------------------------------------------------------------------------

static const char *const outcomes[] = {"stopped", "succeeded", "read", "impossible"};

static void attempt(const struct attack_program *program) {
    int ends[2], status = 0;
    struct { enum attack_outcome outcome; struct attack attack; } told = {.outcome = ATTACK_STOPPED};
    fflush(stdout);
    if (pipe2(ends, O_CLOEXEC) < 0) {
        printf("%s\timpossible\tpipe2: %s\n", program->name, strerrorname_np(errno));
        return;
    }
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        // Whatever it goes on to do, it ends in a time that no honest try needs.
        alarm(60);
        errno = 0;
        told.outcome = program->run(&told.attack);
        _exit(write(ends[1], &told, sizeof told) != sizeof told);
    }
    int error = errno;
    close(ends[1]);
    ssize_t length = child < 0 ? -1 : read(ends[0], &told, sizeof told);
    close(ends[0]);
    if (child < 0) {
        printf("%s\timpossible\tfork: %s\n", program->name, strerrorname_np(error));
        return;
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    if (length == sizeof told)
        printf("%s\t%s\t%s\n", program->name, outcomes[told.outcome], told.attack.detail);
    else if (WIFSIGNALED(status))
        printf("%s\tstopped\tended by SIG%s\n", program->name, sigabbrev_np(WTERMSIG(status)));
    else
        printf("%s\timpossible\tit ended with %d and said nothing\n", program->name, WEXITSTATUS(status));
}

static int try_all(int count, char **names) {
    // A bound on what is left behind where the one who started this is killed.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int i = 0; i < count; i++) {
        const struct attack_program *program = by_name(names[i]);
        if (program) attempt(program);
        else printf("%s\timpossible\tthere is no such program\n", names[i]);
    }
    return fflush(stdout) == 0 ? 0 : 1;
}

static int become(int count, char **words) {
    if (count < 3) return 125;
    gid_t gid = (gid_t)strtoul(words[1], NULL, 10);
    uid_t uid = (uid_t)strtoul(words[0], NULL, 10);
    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0) {
        perror("codex32: cannot become the user");
        return 125;
    }
    execv(words[2], words + 2);
    perror("codex32: cannot run as the user");
    return 126;
}

// Does nothing until its input ends: nobody has a reason to end it.
static int bystand(void) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    puts("ready");
    fflush(stdout);
    char byte;
    while (read(0, &byte, 1) > 0) {}
    return 0;
}

int codex_attack_main(int count, char **words) {
    if (count >= 3 && strcmp(words[2], "try") == 0) return try_all(count - 3, words + 3);
    if (count == 3 && strcmp(words[2], "victim") == 0) return attack_victim();
    if (count == 3 && strcmp(words[2], "bystand") == 0) return bystand();
    if (count == 5 && strcmp(words[2], "exchange") == 0) return attack_exchange(words[3], words[4]);
    if (count >= 3 && strcmp(words[2], "as") == 0) return become(count - 3, words + 3);
    fputs("codex32: attack-program: this is a part of codex32 selftest\n", stderr);
    return 125;
}
