// Asks not to be told of its parent's death (prctl(2)), says so, and stays.
#include <sys/prctl.h>
#include <unistd.h>

int main(void) {
    if (prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) < 0 || write(1, "free\n", 5) != 5) return 1;
    for (;;) pause();
}
