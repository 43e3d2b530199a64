#ifndef CODEX_PASSING_H
#define CODEX_PASSING_H

#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

// A message that passes a descriptor on (SCM_RIGHTS, unix(7)); it stays where it is, for it points into itself.
struct codex_passing {
    struct iovec part;
    _Alignas(struct cmsghdr) char ancillary[CMSG_SPACE(sizeof(int))];
    struct msghdr envelope;
};

// Prepares it for sendmsg(2); descriptor -1: the bytes alone.
static inline void codex_passing_prepare(struct codex_passing *passing, const void *bytes, size_t length, int descriptor) {
    memset(passing, 0, sizeof *passing);
    passing->part = (struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = length};
    passing->envelope = (struct msghdr){.msg_iov = &passing->part, .msg_iovlen = 1};
    if (descriptor < 0) return;
    passing->envelope.msg_control = passing->ancillary;
    passing->envelope.msg_controllen = sizeof passing->ancillary;
    struct cmsghdr *header = CMSG_FIRSTHDR(&passing->envelope);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
}

#endif
