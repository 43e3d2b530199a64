// epoll, timers, signals and clocks as descriptors.
#define _GNU_SOURCE
#include "codex_kernel.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

int codex_epoll_create(void) {
    int descriptor = epoll_create1(EPOLL_CLOEXEC);
    return descriptor < 0 ? -errno : descriptor;
}

int codex_epoll_add(int epoll, int descriptor, uint32_t events, uint64_t token) {
    struct epoll_event event = {.events = events, .data.u64 = token};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) == 0 ? 0 : -errno;
}

int codex_epoll_change(int epoll, int descriptor, uint32_t events, uint64_t token) {
    struct epoll_event event = {.events = events, .data.u64 = token};
    return epoll_ctl(epoll, EPOLL_CTL_MOD, descriptor, &event) == 0 ? 0 : -errno;
}

int codex_epoll_remove(int epoll, int descriptor) {
    return epoll_ctl(epoll, EPOLL_CTL_DEL, descriptor, NULL) == 0 ? 0 : -errno;
}

int codex_epoll_wait(int epoll, uint64_t *tokens, uint32_t *events, int capacity, int timeout) {
    struct epoll_event ready[16];
    if (capacity > 16) capacity = 16;
    int count = epoll_wait(epoll, ready, capacity, timeout);
    if (count < 0) return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < count; i++) {
        tokens[i] = ready[i].data.u64;
        events[i] = ready[i].events;
    }
    return count;
}

int codex_timer_create(void) {
    int descriptor = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    return descriptor < 0 ? -errno : descriptor;
}

int codex_timer_set(int timer, int64_t nanoseconds) {
    struct itimerspec when = {.it_value = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000}};
    return timerfd_settime(timer, 0, &when, NULL) == 0 ? 0 : -errno;
}

static int change_mask(int how, uint64_t signals, sigset_t *set) {
    sigemptyset(set);
    for (int number = 1; number <= 64; number++)
        if (signals & (1ULL << (number - 1))) sigaddset(set, number);
    return sigprocmask(how, set, NULL) < 0 ? -errno : 0;
}

int codex_signal_hold(uint64_t signals) { return change_mask(SIG_BLOCK, signals, &(sigset_t){0}); }

int codex_signal_release(uint64_t signals) { return change_mask(SIG_UNBLOCK, signals, &(sigset_t){0}); }

int codex_signal_descriptor(uint64_t signals) {
    sigset_t set;
    int result = change_mask(SIG_BLOCK, signals, &set);
    if (result < 0) return result;
    int descriptor = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return descriptor < 0 ? -errno : descriptor;
}

int codex_signal_read(int descriptor) {
    struct signalfd_siginfo information;
    ssize_t count = read(descriptor, &information, sizeof information);
    if (count < 0) return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    return count == sizeof information ? (int)information.ssi_signo : 0;
}

static int64_t clock_now(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int64_t codex_clock_monotonic(void) { return clock_now(CLOCK_MONOTONIC); }
int64_t codex_clock_realtime(void) { return clock_now(CLOCK_REALTIME); }
