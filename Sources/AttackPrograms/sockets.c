// Ways out by what is no file: networks, sockets without a path, System V memory, keys.
#define _GNU_SOURCE
#include "attack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

// The victim answers whoever reaches it with the secret.
static enum attack_outcome ask(struct attack *attack, int number, const struct sockaddr *address, socklen_t size) {
    if (number < 0) return stopped(attack, "socket");
    struct timeval limit = {.tv_sec = 20};
    setsockopt(number, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(number, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(number, address, size) < 0) return stopped(attack, "connect");
    char text[256];
    ssize_t length = recv(number, text, sizeof text, 0);
    return length < 0 ? stopped(attack, "recv") : found(attack, text, (size_t)length);
}

static enum attack_outcome machine_tcp(struct attack *attack) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons((unsigned short)atoi(target("ATTACK_PORT")))};
    return ask(attack, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), (struct sockaddr *)&address, sizeof address);
}

static enum attack_outcome abstract_socket(struct attack *attack) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(target("ATTACK_SOCKET"));
    memcpy(address.sun_path + 1, target("ATTACK_SOCKET"), length);
    return ask(attack, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), (struct sockaddr *)&address,
               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length));
}

static enum attack_outcome path_socket(struct attack *attack) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", target("ATTACK_SOCKET_PATH"));
    return ask(attack, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), (struct sockaddr *)&address, sizeof address);
}

// What Chrome's sandbox did not refuse in time.
static enum attack_outcome unix_out_of_band(struct attack *attack) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) return stopped(attack, "socketpair");
    if (send(ends[0], "x", 1, MSG_OOB) == 1) return succeeded(attack, "a byte out of band, by send");
    int error = errno;
    struct iovec piece = {"x", 1};
    struct mmsghdr messages[1] = {{.msg_hdr = {.msg_iov = &piece, .msg_iovlen = 1}}};
    if (sendmsg(ends[0], &messages[0].msg_hdr, MSG_OOB) == 1) return succeeded(attack, "a byte out of band, by sendmsg");
    if (sendmmsg(ends[0], messages, 1, MSG_OOB) == 1) return succeeded(attack, "a byte out of band, by sendmmsg");
    errno = error;
    if (getenv("ATTACK_CONTROL") && is_absent(errno)) return impossible(attack, "this kernel's Unix sockets have no such bytes");
    return stopped(attack, "send");
}

// A descriptor that comes over a socket brings its file into any root; nothing is asked of that by then.
static enum attack_outcome passed_descriptor(struct attack *attack) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(target("ATTACK_SOCKET"));
    memcpy(address.sun_path + 1, target("ATTACK_SOCKET"), length);
    int number = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (number < 0) return stopped(attack, "socket");
    struct timeval limit = {.tv_sec = 20};
    setsockopt(number, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(number, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length)) < 0)
        return stopped(attack, "connect");
    char text[256], space[CMSG_SPACE(sizeof(int))];
    struct iovec piece = {text, sizeof text};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    if (recvmsg(number, &message, MSG_CMSG_CLOEXEC) < 0) return stopped(attack, "recvmsg");
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (!header || header->cmsg_type != SCM_RIGHTS) return stopped_by(attack, "no descriptor came");
    int file;
    memcpy(&file, CMSG_DATA(header), sizeof file);
    ssize_t size = pread(file, text, sizeof text, 0);
    return size < 0 ? stopped(attack, "read") : found(attack, text, (size_t)size);
}

// No packet is sent: the kernel only looks for a way there (192.0.2.0/24 is nobody's, RFC 5737).
static enum attack_outcome way_out(struct attack *attack) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = inet_addr("192.0.2.1"), .sin_port = htons(53)};
    int number = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (number < 0) return stopped(attack, "socket");
    if (connect(number, (struct sockaddr *)&address, sizeof address) < 0) {
        if (getenv("ATTACK_CONTROL")) return impossible(attack, "this machine itself has no way out");
        return stopped(attack, "connect");
    }
    return succeeded(attack, "there is a route to other machines");
}

static enum attack_outcome system_v_memory(struct attack *attack) {
    const char *name = target("ATTACK_SHM");
    if (!*name) return impossible(attack, "no System V memory outside");
    void *memory = shmat(atoi(name), NULL, SHM_RDONLY);
    if (memory == (void *)-1) return stopped(attack, "shmat");
    return found(attack, memory, strnlen(memory, 255));
}

static enum attack_outcome user_key(struct attack *attack) {
    const char *name = target("ATTACK_KEY");
    if (!*name) return impossible(attack, "no keyring outside");
    long key = syscall(SYS_keyctl, 10 /* KEYCTL_SEARCH */, -4 /* the user's keyring */, "user", name, 0);
    if (key < 0) return stopped(attack, "keyctl");
    char text[256];
    long length = syscall(SYS_keyctl, 11 /* KEYCTL_READ */, key, text, sizeof text);
    return length < 0 ? stopped(attack, "keyctl") : found(attack, text, (size_t)length);
}

// Takes away a route that nobody has: "no such process" comes behind the look at the caller's rights.
static enum attack_outcome netlink_route(struct attack *attack) {
    struct { struct nlmsghdr header; struct rtmsg route; } request = {
        .header = {.nlmsg_len = sizeof request, .nlmsg_type = RTM_DELROUTE, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
        .route = {.rtm_family = AF_INET, .rtm_table = 199, .rtm_protocol = 199, .rtm_type = RTN_UNICAST, .rtm_scope = RT_SCOPE_LINK}};
    int number = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (number < 0) return stopped(attack, "socket");
    if (send(number, &request, sizeof request, 0) < 0) return stopped(attack, "send");
    struct { struct nlmsghdr header; struct nlmsgerr error; char rest[256]; } answer;
    ssize_t length = recv(number, &answer, sizeof answer, 0);
    if (length < (ssize_t)(sizeof answer.header + sizeof answer.error)) return stopped(attack, "recv");
    errno = -answer.error.error;
    if (errno == EPERM || errno == EACCES || errno == EOPNOTSUPP) return stopped(attack, "RTM_DELROUTE");
    return succeeded(attack, "routes can be changed");
}

static enum attack_outcome family(struct attack *attack, int family, int type, int protocol, const char *what) {
    int number = socket(family, type | SOCK_CLOEXEC, protocol);
    if (number >= 0) return succeeded(attack, "a socket: %s", what);
    if (getenv("ATTACK_CONTROL") && is_absent(errno)) return impossible(attack, "this kernel has no %s", what);
    return stopped(attack, "socket");
}

static enum attack_outcome vsock(struct attack *attack) { return family(attack, 40, SOCK_STREAM, 0, "AF_VSOCK"); }
static enum attack_outcome algorithms(struct attack *attack) { return family(attack, 38, SOCK_SEQPACKET, 0, "AF_ALG"); }
static enum attack_outcome netlink_audit(struct attack *attack) { return family(attack, AF_NETLINK, SOCK_RAW, 9, "NETLINK_AUDIT"); }
static enum attack_outcome netlink_filter(struct attack *attack) { return family(attack, AF_NETLINK, SOCK_RAW, 12, "NETLINK_NETFILTER"); }
static enum attack_outcome netlink_events(struct attack *attack) { return family(attack, AF_NETLINK, SOCK_RAW, 15, "NETLINK_KOBJECT_UEVENT"); }
static enum attack_outcome xdp(struct attack *attack) { return family(attack, 44, SOCK_RAW, 0, "AF_XDP"); }
static enum attack_outcome raw_ip(struct attack *attack) { return family(attack, AF_INET, SOCK_RAW, 1, "raw ICMP"); }

// Listening to what others send: a socket alone sees nothing where no interface is but its own loopback.
static enum attack_outcome packets(struct attack *attack) {
    int number = socket(17 /* AF_PACKET */, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (number < 0) return stopped(attack, "socket");
    struct if_nameindex *list = if_nameindex();
    if (!list) return stopped(attack, "if_nameindex");
    for (int i = 0; list[i].if_index; i++)
        if (strcmp(list[i].if_name, "lo") != 0) return succeeded(attack, "it listens on %s", list[i].if_name);
    if (getenv("ATTACK_CONTROL")) return impossible(attack, "this machine has no interface");
    return stopped_by(attack, "no interface but its own loopback");
}

const struct attack_program attack_sockets[] = {
    {"machine-tcp", machine_tcp}, {"abstract-socket", abstract_socket}, {"path-socket", path_socket}, {"passed-descriptor", passed_descriptor}, {"unix-out-of-band", unix_out_of_band},
    {"way-out", way_out},
    {"system-v-memory", system_v_memory}, {"user-key", user_key}, {"netlink-route", netlink_route}, {"vsock", vsock},
    {"kernel-crypto", algorithms}, {"netlink-audit", netlink_audit}, {"netlink-netfilter", netlink_filter},
    {"netlink-uevent", netlink_events}, {"xdp", xdp}, {"raw-ip", raw_ip}, {"packets", packets}, {NULL, NULL},
};
