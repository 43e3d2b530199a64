// Unix sockets with a path, one message a packet: how a supervisor is reached.
#define _GNU_SOURCE
#include "codex_kernel.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

// A socket's name has room for 107 bytes only (unix(7)): it is reached through its folder's descriptor.
static int address_in(int folder, const char *name, struct sockaddr_un *address) {
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    int length = snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", folder, name);
    return length > 0 && (size_t)length < sizeof address->sun_path ? 0 : -ENAMETOOLONG;
}

int codex_socket_listen(int folder, const char *name) {
    struct sockaddr_un address;
    int result = address_in(folder, name, &address);
    if (result < 0) return result;
    int number = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (number < 0) return -errno;
    if (bind(number, (struct sockaddr *)&address, sizeof address) < 0 || listen(number, 64) < 0) {
        result = -errno;
        close(number);
        return result;
    }
    return number;
}

int codex_socket_connect(int folder, const char *name) {
    struct sockaddr_un address;
    int result = address_in(folder, name, &address);
    if (result < 0) return result;
    int number = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (number < 0) return -errno;
    do result = connect(number, (struct sockaddr *)&address, sizeof address) == 0 ? 0 : -errno;
    while (result == -EINTR);
    if (result < 0) {
        close(number);
        return result;
    }
    return number;
}

int codex_socket_accept(int listener) {
    int number = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    return number < 0 ? -errno : number;
}

int codex_socket_peer(int number, uint32_t *uid) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(number, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) return -errno;
    *uid = peer.uid;
    return (int)peer.pid;
}

long codex_socket_send(int number, const void *bytes, size_t size) {
    ssize_t count;
    do count = send(number, bytes, size, MSG_NOSIGNAL);
    while (count < 0 && errno == EINTR);
    return count < 0 ? -errno : count;
}

long codex_socket_receive(int number, void *bytes, size_t size) {
    ssize_t count;
    // MSG_TRUNC: the true length, so that a packet that did not fit is noticed.
    do count = recv(number, bytes, size, MSG_TRUNC);
    while (count < 0 && errno == EINTR);
    if (count < 0) return errno == ECONNRESET ? 0 : -errno;
    return (size_t)count > size ? -EMSGSIZE : count;
}

int codex_stream_connect(const char *path, uint32_t *uid) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    int number = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (number < 0) return -errno;
    int result;
    do result = connect(number, (struct sockaddr *)&address, sizeof address) == 0 ? 0 : -errno;
    while (result == -EINTR);
    if (result == 0) result = codex_socket_peer(number, uid);
    if (result < 0) {
        close(number);
        return result;
    }
    return number;
}
