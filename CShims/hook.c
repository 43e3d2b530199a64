// A hook of the OCI runtime specification (config.md, "POSIX-platform Hooks"): a program that gets the container's
// state on its standard input and has so much time.
//
// Asynchronous-signal-safe, for the child of a launch runs hooks too, under a filter perhaps that knows neither clone3
// nor pidfds: plain calls only.
#define _GNU_SOURCE
#include "codex_child.h"
#include "codex_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

struct pipes {
    int input[2];  // the state
    int output[2]; // what the hook prints
    int failed[2]; // why it could not be run; its end: it runs
};

static void close_pair(int pair[2]) {
    for (int i = 0; i < 2; i++)
        if (pair[i] >= 0) close(pair[i]);
}

static void close_all(struct pipes *pipes) {
    close_pair(pipes->input);
    close_pair(pipes->output);
    close_pair(pipes->failed);
}

static int make_pipes(struct pipes *pipes) {
    *pipes = (struct pipes){{-1, -1}, {-1, -1}, {-1, -1}};
    if (pipe2(pipes->input, O_CLOEXEC) == 0 && pipe2(pipes->output, O_CLOEXEC) == 0 &&
        pipe2(pipes->failed, O_CLOEXEC) == 0)
        return 0;
    int error = errno;
    close_all(pipes);
    return -error;
}

__attribute__((noreturn)) static void become_hook(const struct codex_hook *hook, const struct pipes *pipes) {
    // A session of its own: what it starts can be ended with it, and no terminal is in its reach.
    int error = 0;
    if (setsid() < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) error = errno;
    struct sigaction action = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++) (void)sigaction(number, &action, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (!error && (dup2(pipes->input[0], 0) < 0 || dup2(pipes->output[1], 1) < 0 || dup2(pipes->output[1], 2) < 0))
        error = errno;
    // All are born close-on-exec but those that are preserved for the program. A filter may not know the call: then
    // these are the hook's too, which is the caller's own.
    (void)syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
    if (!error && hook->folder && chdir(hook->folder) < 0) error = errno;
    if (!error) {
        execve(hook->path, hook->argv, hook->envp);
        error = errno;
    }
    ssize_t told = write(pipes->failed[1], &error, sizeof error);
    (void)told;
    _exit(127);
}

// Says the state on, keeps the beginning of what is printed, and waits for the end. 0, or -ETIME.
static int attend(const struct codex_hook *hook, pid_t pid, struct pipes *pipes, int *status, char *words, size_t size) {
    const char *state = hook->state;
    size_t left = hook->state_length, have = 0;
    int64_t end = hook->seconds > 0 ? milliseconds() + hook->seconds * 1000 : INT64_MAX;
    int pause = 1;
    (void)fcntl(pipes->input[1], F_SETFL, O_NONBLOCK);
    (void)fcntl(pipes->output[0], F_SETFL, O_NONBLOCK);
    for (bool ended = false;;) {
        if (left == 0 && pipes->input[1] >= 0) {
            close(pipes->input[1]);
            pipes->input[1] = -1;
        }
        char piece[1024];
        ssize_t count = pipes->output[0] < 0 ? -1 : read(pipes->output[0], piece, sizeof piece);
        if (count > 0) {
            // The rest is read and forgotten: a full pipe would stop the hook.
            size_t take = (size_t)count < size - 1 - have ? (size_t)count : size - 1 - have;
            memcpy(words + have, piece, take);
            have += take;
            words[have] = 0;
            continue;
        }
        if (count == 0) {
            close(pipes->output[0]);
            pipes->output[0] = -1;
        }
        if (ended) return 0;
        if (left > 0) {
            count = write(pipes->input[1], state, left);
            if (count > 0) {
                state += count;
                left -= (size_t)count;
                continue;
            }
            if (count < 0 && errno != EAGAIN && errno != EINTR) left = 0; // It does not want to know.
        }
        pid_t reaped = waitpid(pid, status, WNOHANG);
        if (reaped == pid || (reaped < 0 && errno == ECHILD)) {
            ended = true;
            continue;
        }
        int64_t rest = end - milliseconds();
        if (rest <= 0) return -ETIME;
        struct pollfd waits[2] = {{.fd = pipes->output[0], .events = POLLIN},
                                  {.fd = left > 0 ? pipes->input[1] : -1, .events = POLLOUT}};
        // Its end is no event of these two where what it started has them open as well.
        poll(waits, 2, rest < pause ? (int)rest : pause);
        if (pause < 16) pause *= 2;
    }
}

int codex_hook_run(const struct codex_hook *hook, int *status, char *words, size_t size) {
    words[0] = 0;
    *status = 0;
    struct pipes pipes;
    int result = make_pipes(&pipes);
    if (result < 0) return result;
    // A hook need not read.
    struct sigaction ignored = {.sa_handler = SIG_IGN}, before;
    sigaction(SIGPIPE, &ignored, &before);
    pid_t pid = _Fork();
    if (pid < 0) result = -errno;
    if (pid == 0) become_hook(hook, &pipes);
    close(pipes.input[0]);
    close(pipes.output[1]);
    close(pipes.failed[1]);
    pipes.input[0] = pipes.output[1] = pipes.failed[1] = -1;
    if (pid > 0) {
        int error = 0;
        ssize_t count;
        do count = read(pipes.failed[0], &error, sizeof error);
        while (count < 0 && errno == EINTR);
        if (count == sizeof error) {
            result = -error;
            waitpid(pid, status, 0);
        } else {
            result = attend(hook, pid, &pipes, status, words, size);
            // It leads its group until it is reaped, so the number is nobody else's.
            if (result == -ETIME) {
                kill(-pid, SIGKILL);
                waitpid(pid, status, 0);
            }
        }
    }
    sigaction(SIGPIPE, &before, NULL);
    close_all(&pipes);
    return result;
}

static char *put(char *at, const char *end, const char *text) {
    while (*text && at < end - 1) *at++ = *text++;
    *at = 0;
    return at;
}

static char *put_number(char *at, const char *end, int number) {
    char digits[12];
    char *start = digits + sizeof digits - 1;
    *start = 0;
    do *--start = (char)('0' + number % 10);
    while (number /= 10);
    return put(at, end, start);
}

// text: the state up to its pid, which comes last and is this process's own as the container sees it; a, b: argv and
// envp; slot of source: none.
int codex_step_hook(struct codex_child_state *state, const struct codex_step *step) {
    if (step->text_length > (1 << 21)) return -E2BIG;
    char tail[16];
    char *end = put_number(tail, tail + sizeof tail, (int)getpid());
    (void)put(end, tail + sizeof tail, "}");
    // The text has room for a tail behind it.
    char *text = (char *)(uintptr_t)step->text;
    size_t head = step->text_length - CODEX_HOOK_TAIL;
    memset(text + head, ' ', CODEX_HOOK_TAIL);
    memcpy(text + head, tail, strlen(tail));
    struct codex_hook hook = {
        .path = step->path, .argv = (char *const *)(uintptr_t)step->a, .envp = (char *const *)(uintptr_t)step->b,
        .folder = "/", .state = text, .state_length = step->text_length, .seconds = step->flags};
    int status;
    char words[CODEX_DETAIL];
    int result = codex_hook_run(&hook, &status, words, sizeof words);
    char *at = state->detail;
    const char *limit = state->detail + sizeof state->detail;
    if (result == -ETIME) {
        (void)put(at, limit, "it took too long");
        return result;
    }
    if (result < 0 || status == 0) return result;
    at = put(at, limit, WIFEXITED(status) ? "exit status " : "signal ");
    at = put_number(at, limit, WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    if (words[0]) (void)put(put(at, limit, ": "), limit, words);
    return -ECANCELED;
}

// The parent runs its own hooks at this moment: the namespaces and mounts are there, and the root is still the host's.
int codex_step_ready(struct codex_child_state *state) {
    struct codex_message message = {.kind = CODEX_MESSAGE_READY, .step = state->index, .descriptor = -1};
    int result = codex_control_send(state->control, &message, -1);
    return result < 0 ? result : codex_control_wait(state->control);
}
