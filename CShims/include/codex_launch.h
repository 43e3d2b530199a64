// The plan that Swift prepares and the child process walks, and the call that starts it.
//
// Everything here is flat: numbers, descriptors and C strings that Swift allocated before
// clone3(2). The child reads it and calls the kernel; it never allocates, locks or runs Swift.
#ifndef CODEX_LAUNCH_H
#define CODEX_LAUNCH_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// What one step does. The comment names the fields a kind reads; the others are zero.
enum codex_step_kind {
    CODEX_STEP_NONE = 0,
    CODEX_STEP_BECOME_ROOT,      // flags: 1 = setgroups is allowed. uid and gid 0 of the new user namespace
    CODEX_STEP_HOSTNAME,         // text
    CODEX_STEP_LOOPBACK,         // brings lo up in the new network namespace
    CODEX_STEP_PRIVATE_MOUNTS,   // nothing mounted from here on reaches another namespace
    CODEX_STEP_UNSHARE,          // flags: CLONE_NEW*
    CODEX_STEP_OPEN,             // path on the host -> slot; a, b: st_dev and st_ino it must have (0, 0: any)
    CODEX_STEP_OPEN_DEVICE,      // path on the host -> slot, a clone of the mount; a: st_rdev it must have
    CODEX_STEP_CLONE_TREE,       // source -> slot; flags: AT_RECURSIVE; a: 1 = a slave of where it comes from
    CODEX_STEP_NEW_FS,           // path: type; text: options; source: working folder or -1; a: mount attributes -> slot
    CODEX_STEP_MOUNT_ATTR,       // source; a: set; b: clear; flags: AT_RECURSIVE
    CODEX_STEP_ENTER_HOST,       // source is attached at path on the host, or over "/", where pivot_root will find it
    CODEX_STEP_USE_ROOT,         // source: the folder that later paths are walked from (-1: this process's root)
    CODEX_STEP_ATTACH,           // source at path, within; flags: CODEX_TARGET_*
    CODEX_STEP_MASK,             // path, within; source: the null device; a: slot of an empty folder, made when needed
    CODEX_STEP_READ_ONLY,        // path, within, if it is there, becomes a read-only mount of itself
    CODEX_STEP_MAKE_FOLDER,      // path; a: mode
    CODEX_STEP_MAKE_LINK,        // path, within; text: where it points
    CODEX_STEP_FURNISH,          // source: a new file system; text: names and targets; see furniture.c
    CODEX_STEP_MAKE_FILE,        // path; a: mode; text: contents
    CODEX_STEP_WRITE,            // source: a folder of our own procfs; path below it; text
    CODEX_STEP_TERMINAL,         // source: a devpts mount, or -1 for the host's; path, within: the console;
                                 // the master goes to the parent
    CODEX_STEP_PIVOT,            // the root in use becomes "/"; the old one is gone
    CODEX_STEP_RLIMIT,           // flags: resource, CODEX_RLIMIT_LOWER; a: soft; b: hard
    CODEX_STEP_UMASK,            // a
    CODEX_STEP_SESSION_KEYRING,  // an empty session keyring of its own
    CODEX_STEP_CHDIR,            // path, inside the new root; flags: 1 = made when missing
    CODEX_STEP_AWAIT_WORD,       // waits for the parent's word
    CODEX_STEP_HOLD,             // reports its namespaces and waits for the parent's word
    CODEX_STEP_LEND_ROOT,        // sends its root to the parent, and waits for a word that may never come
    CODEX_STEP_LANDLOCK_CREATE,  // a: file rights; b: TCP rights; flags: scopes -> slot
    CODEX_STEP_LANDLOCK_PATH,    // source: rule set; path; a: rights; a path that is missing is skipped
    CODEX_STEP_LANDLOCK_ENFORCE, // source: rule set
    CODEX_STEP_BOUNDING_SET,     // a: capabilities that stay
    CODEX_STEP_IDENTITY,         // a: uid; b: gid; text: gid_t array; flags: CODEX_IDENTITY_*
    CODEX_STEP_CAPABILITIES,     // a: permitted and effective; b: inheritable and ambient
    CODEX_STEP_NO_NEW_PRIVS,
    CODEX_STEP_CLOSE_OTHERS,     // closes what no later step needs: the filter that comes may not know close_range(2)
    CODEX_STEP_SECCOMP,          // text: struct sock_filter array; flags: SECCOMP_FILTER_FLAG_*
    CODEX_STEP_OBSERVE,          // text: struct sock_filter array; a: what tells its own message from the program's calls
    CODEX_STEP_INIT,             // forks: this process stays as pid 1 and reaps, the new one goes on
    CODEX_STEP_JOIN,             // source: a pidfd; flags: CLONE_NEW* of its namespaces that become this process's
    CODEX_STEP_ENTER,            // a process in the pid namespace joined goes on; this one names it to the parent and ends
                                 // flags: 1 = in a new one, and it waits for the parent's word first
    CODEX_STEP_OPEN_DEVPTS,      // path, which must be a devpts -> slot
    CODEX_STEP_OUTLIVE,          // the parent's end no longer ends this process
    CODEX_STEP_AWAIT,            // source: the pipe that `oci start` writes to; slot: the one that it then reads a
                                 // failure from; the parent lets go and may end
    CODEX_STEP_CAPABILITY_SETS,  // text: permitted, effective, inheritable, ambient
    CODEX_STEP_TUNE,             // flags: CODEX_TUNE_*; a, text: its value
    CODEX_STEP_PROPAGATION,      // source; a: MS_*; flags: 1 = recursive
    CODEX_STEP_LABEL_MOUNT,      // source: a new file system; text: the SELinux label of its root
    CODEX_STEP_CHROOT,           // the root in use becomes "/", and all else stays where it is
    CODEX_STEP_MAKE_NODE,        // path, within; flags: type and mode; a: st_rdev; b: uid, and gid << 32; slot: 0 = must be there
    CODEX_STEP_COPY_UP,          // source: a new tmpfs; path, within: what it begins with; flags: 1 = not its root's mode
    CODEX_STEP_READY,            // says so to the parent, and waits for its word
    CODEX_STEP_HOOK,             // path; a: argv; b: envp; text: the state up to its pid, and CODEX_HOOK_TAIL blanks;
                                 // flags: seconds, 0 for no limit
    CODEX_STEP_LEND_NETWORK,     // hands its network namespace to the parent, and waits for its word
    CODEX_STEP_PRESERVE,         // a: how many descriptors from 3 on the program inherits
    CODEX_STEP_EXEC,             // the last step: execve of the candidates in turn
    CODEX_STEP_COUNT
};

enum {
    CODEX_TARGET_FOLDER = 1,      // the mount point is a folder
    CODEX_TARGET_FILE = 2,        // the mount point is anything but a folder
    CODEX_TARGET_NO_SYMLINKS = 4, // no link on the way (/proc, /sys, /dev: CVE-2023-27561)
    CODEX_TARGET_OPTIONAL = 8,    // a missing mount point is skipped, not made
    CODEX_TARGET_EXISTING = 16,   // a missing mount point is an error: the tree is the host's own
    CODEX_RLIMIT_LOWER = 0x100,   // what is lower already stays
    CODEX_TUNE_AFFINITY = 1,      // text: a mask of CPUs
    CODEX_TUNE_SCHEDULER,         // text: struct sched_attr
    CODEX_TUNE_IO_PRIORITY,       // a: class and level as ioprio_set(2) has them
    CODEX_TUNE_PERSONALITY,       // a
    CODEX_TUNE_MEMORY,            // a: mode and flags; text: a mask of nodes
    CODEX_TUNE_DOMAIN_NAME,       // text
    CODEX_TUNE_TIME_OFFSETS,      // text: as /proc/PID/timens_offsets has them; makes the time namespace
    CODEX_TUNE_APPARMOR,          // text: the profile from execve on
    CODEX_TUNE_SELINUX,           // text: the label from execve on
    CODEX_HOOK_TAIL = 16,         // room for a pid and a bracket
    CODEX_IDENTITY_GROUPS = 1     // setgroups(2) is allowed in this user namespace
};

struct codex_step {
    uint32_t kind;
    int32_t slot;   // where a new descriptor goes, -1 for none
    int32_t source; // a slot that an earlier step, or the parent, filled; -1 for none
    int32_t within; // a slot with the mount that path is walked from; -1: the root in use
    uint32_t flags;
    uint64_t a;
    uint64_t b;
    const char *path;
    const void *text;
    size_t text_length;
};

// What must be known when the child is made.
struct codex_birth {
    uint64_t clone_flags; // CLONE_NEW*; CLONE_PIDFD and CLONE_CLEAR_SIGHAND are added
    int32_t cgroup;       // a cgroup v2 folder to be born in (CLONE_INTO_CGROUP, Linux 5.7), or -1
    int32_t reaper;       // 1: the plan has CODEX_STEP_INIT, and pid 1 reports the program's wait status
    int32_t early;        // 1: there is only room for the plan yet; it comes with codex_launch_give
};

struct codex_plan {
    size_t room_size;         // of the memory that begins with the plan and holds all that it points to
    int32_t standard[3];      // become descriptors 0, 1, 2
    int32_t standard_slot[3]; // the slots of those that come with the plan, or -1
    int32_t terminal;         // 1: descriptors 0, 1, 2 come from CODEX_STEP_TERMINAL
    const struct codex_step *steps;
    size_t step_count;
    int32_t *slots; // descriptors by slot; the parent fills its own before the start
    size_t slot_count;
    const int32_t *given; // the slots of the descriptors that come with the plan, in their order
    size_t given_count;
    const char *const *candidates; // paths to try, in order; NULL at the end
    char *const *argv;
    char *const *envp;
};

struct codex_child {
    pid_t pid;
    int pidfd;
    int control; // SOCK_SEQPACKET to the child; end of file: execve happened, or the child is gone
    int report;  // SOCK_SEQPACKET from pid 1 of a plan with a reaper, or -1
};

enum codex_message_kind {
    CODEX_MESSAGE_FAILED = 1,
    CODEX_MESSAGE_HELD = 2,
    CODEX_MESSAGE_TERMINAL = 3,
    CODEX_MESSAGE_ENTERED = 4,
    CODEX_MESSAGE_ROOT = 5,
    CODEX_MESSAGE_LISTENER = 7, // its filter's, at CODEX_STEP_SECCOMP with a listener, or CODEX_STEP_OBSERVE; it does not wait
    CODEX_MESSAGE_READY = 8,
    CODEX_MESSAGE_NETWORK = 9,
    CODEX_MESSAGE_UNBORN = 6 // as FAILED, before the first step: no namespaces
};

enum { CODEX_NAMESPACE_COUNT = 8, CODEX_DETAIL = 160 };

// One message from the child. The order of namespaces is cgroup, ipc, mnt, net, pid, time, user, uts.
struct codex_message {
    uint32_t kind;
    uint32_t step;  // index into steps, for CODEX_MESSAGE_FAILED
    int32_t error;  // errno, for CODEX_MESSAGE_FAILED
    int32_t descriptor; // filled by the receiver: the pty's master, the root, the pidfd of who goes on, or -1
    int32_t pid;        // of who goes on, for CODEX_MESSAGE_ENTERED; the step's kind, for CODEX_MESSAGE_FAILED
    uint64_t namespaces[CODEX_NAMESPACE_COUNT];
    char detail[CODEX_DETAIL]; // what the kernel said of a mount, ends in NUL
};

// Room for a plan that the child sees too: what is written there after the child's birth, it reads. NULL
// where there is no memory.
enum { CODEX_LAUNCH_ROOM = 1 << 20 }; // more than nearly every plan takes; a page costs nothing before it is used
void *codex_launch_room(size_t size);
void codex_launch_leave_room(void *room, size_t size);
// Starts the child, which makes its namespaces and waits until codex_launch_go. Returns 0 or -errno.
int codex_launch(const struct codex_birth *birth, const struct codex_plan *plan, struct codex_child *child);
// What runs before all else; see entry.c.
void codex_early_begin(int argc, char **argv);
// Begins anew from a read-only mount where the arguments show that it will be wanted; see glance.c. 1: this is an OCI
// runtime's verb that makes processes.
int codex_protect_early(int argc, char **argv);
// The child's word, in the last byte of its room, that it waits for its plan.
void codex_early_ready(const void *room);
// Before the plan is given: has the early child run here, where it has not come to wait for it yet.
void codex_early_hurry(const void *room);
// The child of a `run` that was made before Swift began, if there is one and it is what is asked for: 1, and
// then its room is the caller's too. 0: there is none any more.
int codex_early_take(const struct codex_birth *birth, struct codex_child *child, void **room);
// Ends and reaps it, if nobody took it.
void codex_early_end(void);
// What this process was called with (argv, execve(2)); NULL before main's constructors.
char **codex_arguments(void);
// Wipes this process's copy of codex32's arguments.
void codex_hide_words(void);
// After the first codex_launch_go, to a child that was born early: the plan is in its place, and these are
// the descriptors that it names as given. Returns 0 or -errno.
int codex_launch_give(int control, const int32_t *descriptors, size_t count);
// Waits until a child that was let go by `start` has executed its program (0) or says why not (1), on the pipe that
// CODEX_STEP_AWAIT was given; -errno.
int codex_launch_outcome(int pipe, struct codex_message *message);
// Lets a waiting child go on. Returns 0 or -errno.
int codex_launch_go(int control);
// Reads the next message: 1 one was read, 0 the child went on to execve or ended, -errno.
int codex_launch_receive(int control, struct codex_message *message);
// The wait status (wait(2)) that pid 1 reported before it ended: 1 there is one, 0 there is none, -errno.
int codex_launch_reported(int report, int *status);

#endif
