// Telling the parent of every call that a program makes, for `codex32 learn` (seccomp_unotify(2), Linux 5.5).
//
// Each call is told and then let go on. That is no wall, and is not meant to be one: the level's own filter is loaded
// on top, and what it refuses it refuses in the kernel, for its refusals come before this filter's telling
// (seccomp(2), the order of actions). So nothing here decides what a program may do.
#define _GNU_SOURCE
#include "codex_child.h"
#include "codex_notice.h"
#include "codex_passing.h"
#include "codex_seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x00001000U
#endif

// The one call that nobody can answer for yet is the one that hands the listener over. It is known by a number in an
// argument that sendmsg(2) does not have: the filter looks at it, and the kernel does not.
int codex_step_observe(struct codex_child_state *state, const struct codex_step *step) {
    struct sock_fprog program = {
        .len = (unsigned short)(step->text_length / sizeof(struct sock_filter)),
        .filter = (struct sock_filter *)(uintptr_t)step->text,
    };
    long listener = codex_notice_filter(SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    if (listener < 0) return -errno;
    struct codex_message message = {.kind = CODEX_MESSAGE_LISTENER, .step = state->index, .descriptor = -1};
    struct codex_passing passing;
    codex_passing_prepare(&passing, &message, sizeof message, (int)listener);
    long sent = syscall(SYS_sendmsg, state->control, &passing.envelope, MSG_NOSIGNAL, 0L, 0L, step->a);
    if (sent < 0) return -errno;
    close((int)listener);
    return 0;
}

int codex_observe_next(int listener, struct codex_observed *observed) {
    union codex_notice received;
    int result = codex_notice_receive(listener, &received);
    if (result < 0) return result;
    observed->id = received.notice.id;
    observed->pid = (int32_t)received.notice.pid;
    observed->number = received.notice.data.nr;
    observed->architecture = received.notice.data.arch;
    for (int i = 0; i < 6; i++) observed->arguments[i] = received.notice.data.args[i];
    return 0;
}

int codex_observe_continue(int listener, uint64_t id) {
    union codex_notice answer;
    memset(&answer, 0, sizeof answer);
    answer.answer.id = id;
    answer.answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) < 0 ? -errno : 0;
}

int codex_observe_either(int first, int second) {
    struct pollfd both[2] = {{.fd = first, .events = POLLIN}, {.fd = second, .events = POLLIN}};
    int count;
    do count = poll(both, 2, -1);
    while (count < 0 && errno == EINTR);
    if (count < 0) return -errno;
    return (both[0].revents ? 1 : 0) | (both[1].revents ? 2 : 0);
}

long codex_observe_read(int pid, uint64_t address, void *buffer, size_t size) {
    // Not over the end of a page: what is behind a text may not be there.
    size_t done = 0;
    while (done < size) {
        size_t piece = 4096 - (size_t)((address + done) & 4095);
        if (piece > size - done) piece = size - done;
        struct iovec here = {.iov_base = (char *)buffer + done, .iov_len = piece};
        struct iovec there = {.iov_base = (void *)(uintptr_t)(address + done), .iov_len = piece};
        ssize_t count = process_vm_readv((pid_t)pid, &here, 1, &there, 1, 0);
        if (count <= 0) return done > 0 ? (long)done : -errno;
        // As far as the end of the text, where it is one.
        int ends = memchr((char *)buffer + done, 0, (size_t)count) != NULL;
        done += (size_t)count;
        if (ends || (size_t)count < piece) break;
    }
    return (long)done;
}

int codex_observe_mount(int descriptor, uint64_t *mount) {
    struct statx status;
    memset(&status, 0, sizeof status);
    if (statx(descriptor, "", AT_EMPTY_PATH, STATX_MNT_ID, &status) < 0) return -errno;
    if (!(status.stx_mask & STATX_MNT_ID)) return -ENOSYS;
    *mount = status.stx_mnt_id;
    return 0;
}
