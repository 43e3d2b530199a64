// What is done before Swift begins: the process is put in order, and the child of a `codex32 run` is made.
//
// To make namespaces takes the kernel about as long as Swift's runtime takes to begin and codex32 to read
// its options, and the two need nothing of each other. So what runs before all else looks
// at the arguments, guesses which namespaces the run will ask for, and makes a child that waits for its
// plan (see child_main). It decides nothing: Swift takes the child when it is what the plan wants, and
// otherwise ends it. A wrong guess costs a moment. Only where there is no cgroup v2: with it, a container is
// born in its cgroup, which is not there yet (to move it in later stops all forks of the machine for a moment).
#define _GNU_SOURCE
#include "codex_launch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
    bool is_tried; // perhaps before the C library began: see entry.c
    bool is_there;
    bool is_taken;
    struct codex_birth birth;
    struct codex_child child;
    void *room;
} early;

// What the levels ask for, as ``Planner`` does. 0: not to be known from here.
static uint64_t guess(int argc, char **argv) {
    const char *given = getenv("CODEX32_ISOLATION_LEVEL");
    const char *level = given ? given : "standard";
    for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++) {
        // These change the namespaces, or have another process make them.
        static const char *const others[] = {"--network", "--net", "--init", "--detach", "-d", "--dry-run", "--help", "-h"};
        for (size_t other = 0; other < sizeof others / sizeof *others; other++)
            if (strncmp(argv[i], others[other], strlen(others[other])) == 0) return 0;
        static const char option[] = "--isolation";
        if (strncmp(argv[i], option, sizeof option - 1) != 0) continue;
        if (argv[i][sizeof option - 1] == '=')
            level = argv[i] + sizeof option;
        else if (i + 1 < argc)
            level = argv[++i];
    }
    // The few of minimal are made in no time, and root's begins anew from a read-only place first.
    const uint64_t flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWUSER | CLONE_NEWIPC | CLONE_NEWCGROUP | CLONE_NEWNET;
    if (strcmp(level, "standard") == 0) return flags;
    return strcmp(level, "strict") == 0 ? flags | CLONE_NEWTIME : 0;
}

// Has the child run beside us (or here), not after us: a scheduler that packs processes onto few CPUs, as those of
// virtual machines may, leaves it waiting until we do. To be allowed every CPU is what a process begins
// with, within its cpuset; one that was given fewer of those (taskset(1)) keeps to them.
static void move(pid_t child, bool here) {
    cpu_set_t all, place, before, after;
    memset(&all, 0xff, sizeof all);
    unsigned own = CPU_SETSIZE;
    if (syscall(SYS_getcpu, &own, NULL, NULL) < 0 || own >= CPU_SETSIZE) return;
    if (sched_getaffinity(child, sizeof before, &before) < 0 || CPU_COUNT(&before) < 2) return;
    if (sched_setaffinity(child, sizeof all, &all) < 0) return;
    if (sched_getaffinity(child, sizeof after, &after) == 0 && CPU_EQUAL(&before, &after)) {
        if (here) {
            CPU_ZERO(&place);
            CPU_SET(own, &place);
        } else {
            place = all;
            CPU_CLR(own, &place);
        }
        (void)sched_setaffinity(child, sizeof place, &place);
        (void)sched_setaffinity(child, sizeof all, &all);
    } else {
        (void)sched_setaffinity(child, sizeof before, &before);
    }
}

// The last byte of the room: the child's word that it has its namespaces.
static volatile char *ready_mark(const void *room) { return (volatile char *)(uintptr_t)room + CODEX_LAUNCH_ROOM - 1; }

void codex_early_ready(const void *room) { *ready_mark(room) = 1; }

void codex_early_hurry(const void *room) {
    if (!early.is_taken) return;
    early.is_taken = false;
    // It waits for a turn on a CPU that others use, and we are about to wait for it: let it have ours.
    if (*ready_mark(room) == 0) move(early.child.pid, true);
}

static void bear_early(int argc, char **argv) {
    if (argc < 3 || strcmp(argv[1], "run") != 0) return;
    // Of descriptors that are missing codex32 thinks later, and a child may have none of its own there.
    for (int number = 0; number < 3; number++)
        if (fcntl(number, F_GETFD) < 0) return;
    // With cgroup v2 a container is born in its cgroup, which is not there yet.
    if (access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0) return;
    early.birth = (struct codex_birth){.clone_flags = guess(argc, argv), .cgroup = -1, .early = 1};
    if (early.birth.clone_flags == 0) return;
    early.room = codex_launch_room(CODEX_LAUNCH_ROOM);
    if (!early.room) return;
    early.is_there = codex_launch(&early.birth, early.room, &early.child) == 0;
    if (early.is_there)
        move(early.child.pid, false);
    else
        codex_launch_leave_room(early.room, CODEX_LAUNCH_ROOM);
}

// Of everybody's children, /proc/PID/cmdline shows what was the parent's, to all who see the process: a container
// would read there what its host gives it, and others' secrets. A child wipes its own copy.
static struct {
    char **all;
    char *start;
    size_t length;
} words;

char **codex_arguments(void) { return words.all; }

void codex_hide_words(void) {
    if (!words.start) return;
    static const char name[] = "codex32";
    memset(words.start, 0, words.length);
    memcpy(words.start, name, words.length < sizeof name ? words.length - 1 : sizeof name);
}

static void remember_words(int argc, char **argv) {
    words.all = argv;
    if (argc < 1) return;
    // One behind the other on the stack (execve(2), elf's create_elf_tables); others are left alone.
    char *end = argv[0];
    for (int i = 0; i < argc && argv[i] == end; i++) end += strlen(argv[i]) + 1;
    words.start = argv[0];
    words.length = (size_t)(end - argv[0]);
}

void codex_early_begin(int argc, char **argv) {
    remember_words(argc, argv);
    early.is_tried = true;
    // The `run` of an OCI runtime is another one.
    if (!codex_protect_early(argc, argv)) bear_early(argc, argv);
}

__attribute__((constructor(101))) static void begin(int argc, char **argv) {
    // Ignored, it would have the kernel reap our children for us, and how they ended would be lost (wait(2)).
    signal(SIGCHLD, SIG_DFL);
    // One that began anew from a descriptor, or from /proc/self/exe, is called by that otherwise, to ps(1) and pgrep(1).
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    if (argc > 0) (void)prctl(PR_SET_NAME, slash ? slash + 1 : argv[0], 0, 0, 0);
    if (!early.is_tried) codex_early_begin(argc, argv);
    // Looked at now, while the child is at work: Swift's runtime ends a process that cannot find itself.
    char own[8];
    if (readlink("/proc/self/exe", own, sizeof own) < 0) {
        static const char text[] = "codex32: cannot begin: /proc cannot be read\nhint: mount -t proc proc /proc\n";
        (void)!write(STDERR_FILENO, text, sizeof text - 1);
        codex_early_end();
        _exit(125);
    }
}

int codex_early_take(const struct codex_birth *birth, struct codex_child *child, void **room) {
    if (!early.is_there) return 0;
    if (birth->clone_flags != early.birth.clone_flags || birth->reaper != early.birth.reaper) {
        codex_early_end();
        return 0;
    }
    early.is_there = false;
    early.is_taken = true;
    *child = early.child;
    *room = early.room;
    return 1;
}

void codex_early_end(void) {
    if (!early.is_there) return;
    early.is_there = false;
    syscall(SYS_pidfd_send_signal, early.child.pidfd, SIGKILL, NULL, 0);
    while (waitpid(early.child.pid, NULL, 0) < 0 && errno == EINTR) {}
    close(early.child.pidfd);
    close(early.child.control);
    codex_launch_leave_room(early.room, CODEX_LAUNCH_ROOM);
}
