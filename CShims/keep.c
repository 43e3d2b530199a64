// A process that goes on when the one that it belonged to has ended.
#define _GNU_SOURCE
#include "codex_tree.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

void codex_go_on_alone(void) {
    (void)prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
    // Away from the terminal first, whose end is a signal for its session.
    (void)setsid();
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0) return;
    for (int number = 0; number < 3; number++) (void)dup2(null, number);
    if (null > 2) close(null);
}
