// The same calls by other doors: a filter that forgets one has a hole. And what is typed into a terminal.
#define _GNU_SOURCE
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#ifdef __x86_64__
static enum attack_outcome i386_door(struct attack *attack) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(310L), "b"((long)CLONE_NEWUSER) : "memory", "r8", "r9", "r10", "r11");
    if (result == 0) return succeeded(attack, "unshare, by the calls of i386");
    errno = (int)-result;
    if (errno == ENOSYS && getenv("ATTACK_CONTROL")) return impossible(attack, "this kernel has no calls of i386");
    return stopped(attack, "unshare");
}

static enum attack_outcome x32_door(struct attack *attack) {
    if (syscall(0x40000000L | SYS_unshare, CLONE_NEWUSER) == 0) return succeeded(attack, "unshare, by the calls of x32");
    if (errno == ENOSYS && getenv("ATTACK_CONTROL")) return impossible(attack, "this kernel has no calls of x32");
    return stopped(attack, "unshare");
}
// The one page of code whose address every program knows. Its time(2) is a call as any other where the kernel asks the
// filter for it too; by its old way (vsyscall=native) it was not.
static enum attack_outcome vsyscall_door(struct attack *attack) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) return stopped(attack, "pipe2");
    long told = 0;
    pid_t child = fork();
    if (child < 0) return stopped(attack, "fork");
    if (child == 0) {
        long (*volatile seconds)(long *) = (long (*)(long *))0xffffffffff600400;
        told = seconds(NULL);
        _exit(write(ends[1], &told, sizeof told) != sizeof told);
    }
    close(ends[1]);
    ssize_t length = read(ends[0], &told, sizeof told);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
    if (length != sizeof told) {
        // The page is not there (vsyscall=none), for nobody.
        if (getenv("ATTACK_CONTROL")) return impossible(attack, "this kernel has no vsyscall page");
        return stopped_by(attack, "it ended at the vsyscall page");
    }
    if (told > 0) return succeeded(attack, "time, by the vsyscall page");
    errno = (int)-told;
    return stopped(attack, "time");
}
#else
static enum attack_outcome vsyscall_door(struct attack *attack) { return impossible(attack, "a door of x86_64 only"); }
static enum attack_outcome i386_door(struct attack *attack) { return impossible(attack, "a door of x86_64 only"); }
static enum attack_outcome x32_door(struct attack *attack) { return impossible(attack, "a door of x86_64 only"); }
#endif

// The kernel reads 32 bits of an ioctl's number: a filter that compares 64 is passed by setting one above (CVE-2019-7303).
static enum attack_outcome type_into_terminal(struct attack *attack, unsigned long bits, const char *call) {
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0) return stopped(attack, "openpty");
    int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY);
    if (slave < 0) return stopped(attack, "openpty");
    if (setsid() < 0 || ioctl(slave, TIOCSCTTY, 0) < 0) return stopped(attack, "TIOCSCTTY");
    if (syscall(SYS_ioctl, slave, bits | TIOCSTI, "x") < 0) {
        if (errno == EIO && getenv("ATTACK_CONTROL")) return impossible(attack, "dev.tty.legacy_tiocsti is off");
        return stopped(attack, call);
    }
    return succeeded(attack, "a letter is typed for the terminal's user");
}

static enum attack_outcome tiocsti(struct attack *attack) { return type_into_terminal(attack, 0, "TIOCSTI"); }
static enum attack_outcome tiocsti_wide(struct attack *attack) { return type_into_terminal(attack, 0x100000000UL, "TIOCSTI"); }

// On anything but a console it is not known to the file (ENOTTY): by then it is past every filter.
static enum attack_outcome tioclinux(struct attack *attack) {
    int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (file < 0) return stopped(attack, "open");
    if (ioctl(file, TIOCLINUX, "\3") < 0 && errno != ENOTTY && errno != EINVAL) return stopped(attack, "TIOCLINUX");
    return succeeded(attack, "TIOCLINUX reaches the driver");
}

const struct attack_program attack_doors[] = {
    {"i386-calls", i386_door}, {"x32-calls", x32_door}, {"vsyscall", vsyscall_door}, {"tiocsti", tiocsti}, {"tiocsti-wide", tiocsti_wide},
    {"tioclinux", tioclinux}, {NULL, NULL},
};
