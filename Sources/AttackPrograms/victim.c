// What attacks are aimed at: a process of the machine, outside of every sandbox, that has a secret in all the places
// that one keeps one in, and gives it to whoever reaches it. It ends, and takes all of it away, when its standard
// input does.
#define _GNU_SOURCE
#include "attack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static void print_handle(const char *path) {
    struct { struct file_handle handle; unsigned char bytes[MAX_HANDLE_SZ]; } made = {.handle.handle_bytes = MAX_HANDLE_SZ};
    int mount;
    printf("handle\t");
    if (name_to_handle_at(AT_FDCWD, path, &made.handle, &mount, 0) == 0) {
        unsigned char type[4];
        memcpy(type, &made.handle.handle_type, 4);
        for (int i = 0; i < 4; i++) printf("%02x", type[i]);
        for (unsigned i = 0; i < made.handle.handle_bytes; i++) printf("%02x", made.handle.f_handle[i]);
    }
    printf("\n");
}

// The secret, and an open file with it (unix(7), SCM_RIGHTS): as a daemon passes descriptors to whoever asks.
static void give(int peer, const char *secret, int file) {
    char space[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec text = {(void *)(uintptr_t)secret, strlen(secret)};
    struct msghdr message = {.msg_iov = &text, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(header), &file, sizeof file);
    (void)!sendmsg(peer, &message, MSG_NOSIGNAL);
}

int attack_victim(void) {
    const char *secret = target("ATTACK_SECRET");
    if (!*secret) return 125;
    // Where Yama lets only a parent trace, the attacker is a cousin.
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    char *copy = strdup(secret);

    int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (tcp < 0 || bind(tcp, (struct sockaddr *)&address, size) < 0 || listen(tcp, 16) < 0 ||
        getsockname(tcp, (struct sockaddr *)&address, &size) < 0) {
        perror("codex32: selftest: cannot listen");
        return 125;
    }
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int length = snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "codex32-selftest-%d", getpid());
    int local = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (local < 0 || bind(local, (struct sockaddr *)&name, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length)) < 0 ||
        listen(local, 16) < 0) {
        perror("codex32: selftest: cannot listen");
        return 125;
    }
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    snprintf(path.sun_path, sizeof path.sun_path, "%s", target("ATTACK_SOCKET_PATH"));
    int filed = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (filed < 0 || bind(filed, (struct sockaddr *)&path, sizeof path) < 0 || listen(filed, 16) < 0) {
        perror("codex32: selftest: cannot listen");
        return 125;
    }
    int shared = shmget(IPC_PRIVATE, 4096, 0600 | IPC_CREAT);
    if (shared >= 0) {
        char *memory = shmat(shared, NULL, 0);
        if (memory != (char *)-1) snprintf(memory, 4096, "%s", secret);
    }
    char key_name[64];
    snprintf(key_name, sizeof key_name, "codex32-selftest-%d", getpid());
    long key = syscall(SYS_add_key, "user", key_name, secret, strlen(secret), -4 /* the user's keyring */);
    // A kernel may let the owner do more than the one who only finds it.
    if (key >= 0) syscall(SYS_keyctl, 5 /* KEYCTL_SETPERM */, key, 0x3f3f0000);
    int file = open(target("ATTACK_SENTINEL"), O_RDONLY | O_CLOEXEC);

    printf("pid\t%d\nport\t%d\nsocket\tcodex32-selftest-%d\naddress\t%llx\ndescriptor\t%d\n", getpid(), ntohs(address.sin_port),
           getpid(), (unsigned long long)(uintptr_t)copy, file);
    if (shared >= 0) printf("shm\t%d\n", shared);
    if (key >= 0) printf("key\t%s\n", key_name);
    print_handle(target("ATTACK_SENTINEL"));
    printf("ready\t\n");
    fflush(stdout);

    for (;;) {
        struct pollfd entries[] = {{0, POLLIN, 0}, {tcp, POLLIN, 0}, {local, POLLIN, 0}, {filed, POLLIN, 0}};
        if (poll(entries, 4, -1) < 0 && errno != EINTR) break;
        if (entries[0].revents) break;
        for (int i = 1; i < 4; i++) {
            if (!(entries[i].revents & POLLIN)) continue;
            int peer = accept4(entries[i].fd, NULL, NULL, SOCK_CLOEXEC);
            if (peer < 0) continue;
            if (i == 1) (void)!write(peer, secret, strlen(secret));
            else give(peer, secret, file);
            close(peer);
        }
    }
    if (shared >= 0) shmctl(shared, IPC_RMID, NULL);
    if (key >= 0) syscall(SYS_keyctl, 9 /* KEYCTL_UNLINK */, key, -4);
    unlink(path.sun_path);
    return 0;
}
