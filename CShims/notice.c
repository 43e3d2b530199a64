// Hearing of a filter's calls, for `--explain` and for `codex32 learn` (seccomp_unotify(2)).
#define _GNU_SOURCE
#include "codex_notice.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5) // Linux 5.19
#endif

long codex_notice_filter(unsigned flags, const struct sock_fprog *program) {
    // A signal does not disturb a call that is being looked at: it would begin anew, again and again.
    unsigned killable = flags | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    long listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, killable, program);
    if (listener < 0 && errno == EINVAL) listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program);
    return listener;
}

static void wake(int number) { (void)number; }

// A call that was told may be taken back: a signal came for whoever makes it. To read the next waits then, without a
// way not to, and while it waited nothing else would be looked after. So a clock interrupts it. SIGSYS is a signal that
// nobody sends codex32, and that is not passed on to a program.
static int make_clock(timer_t *clock) {
    struct sigaction action = {.sa_handler = wake};
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, SIGSYS);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGSYS};
    if (sigaction(SIGSYS, &action, NULL) < 0 || sigprocmask(SIG_UNBLOCK, &one, NULL) < 0) return -errno;
    return timer_create(CLOCK_MONOTONIC, &event, clock) < 0 ? -errno : 0;
}

int codex_notice_receive(int listener, union codex_notice *received) {
    static timer_t clock;
    static bool is_made;
    struct pollfd one = {.fd = listener, .events = POLLIN};
    if (poll(&one, 1, 0) < 1 || !(one.revents & POLLIN)) return -EINTR;
    if (!is_made) {
        int result = make_clock(&clock);
        if (result < 0) return result;
        is_made = true;
    }
    memset(received, 0, sizeof *received);
    // Again and again: the first may come before the waiting begins.
    const struct timespec piece = {.tv_nsec = 10 * 1000 * 1000};
    if (timer_settime(clock, 0, &(struct itimerspec){.it_interval = piece, .it_value = piece}, NULL) < 0) return -errno;
    int result = ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, received) < 0 ? -errno : 0;
    (void)timer_settime(clock, 0, &(struct itimerspec){0}, NULL);
    return result;
}
