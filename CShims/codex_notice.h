#ifndef CODEX_NOTICE_H
#define CODEX_NOTICE_H

#include <linux/filter.h>
#include <linux/seccomp.h>

// What a filter's listener hears and says (seccomp_unotify(2)). The kernel copies as much as it knows of, which may
// become more (SECCOMP_GET_NOTIF_SIZES).
union codex_notice {
    struct seccomp_notif notice;
    struct seccomp_notif_resp answer;
    char room[1024];
};

// Loads a filter whose calls are told; returns what seccomp(2) does: its listener, or -1 and errno.
long codex_notice_filter(unsigned flags, const struct sock_fprog *program);
// The next notice; -EINTR: there is none after all. Never waits longer than a moment.
int codex_notice_receive(int listener, union codex_notice *received);

#endif
