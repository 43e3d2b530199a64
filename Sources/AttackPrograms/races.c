// Winning by being quick: a name is exchanged for a link between its check and its use.
#define _GNU_SOURCE
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <signal.h>
#include <unistd.h>

int attack_exchange(const char *one, const char *other) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    unsigned long count = 0;
    struct pollfd input = {0, POLLIN, 0};
    while (count % 1024 != 0 || poll(&input, 1, 0) == 0) {
        if (renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE) < 0) return 1;
        if (count++ == 0) {
            puts("racing");
            fflush(stdout);
        }
    }
    // An even count leaves the names as they were; a power of two is one.
    return 0;
}

// A program as there are many: it looks that a name is no link, and then uses it. As a control it loses the race.
static enum attack_outcome check_then_use(struct attack *attack) {
    const char *name = target("ATTACK_RACED");
    char path[4096], text[256];
    snprintf(path, sizeof path, "%s/file", name);
    for (long attempt = 0; attempt < 20000000; attempt++) {
        struct stat status;
        if (lstat(name, &status) < 0 || S_ISLNK(status.st_mode)) continue;
        // The name itself where it is a file.
        int file = open(S_ISDIR(status.st_mode) ? path : name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (file < 0) continue;
        ssize_t length = read(file, text, sizeof text);
        close(file);
        if (length > 0) return found(attack, text, (size_t)length);
    }
    return stopped_by(attack, "it never lost");
}

const struct attack_program attack_races[] = {{"check-then-use", check_then_use}, {NULL, NULL}};
