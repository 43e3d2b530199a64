// System calls that Swift needs and libc does not wrap, or wraps only through errno.
// Each returns its result, or -errno read on the line after the call.
#ifndef CODEX_KERNEL_H
#define CODEX_KERNEL_H

#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

// --- files, by descriptor ---
int codex_openat(int folder, const char *path, int flags, unsigned mode);
// openat2(2), Linux 5.6. resolve: RESOLVE_* of linux/openat2.h.
int codex_openat2(int folder, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);
int codex_close(int descriptor);
long codex_read(int descriptor, void *bytes, size_t size);
long codex_pread(int descriptor, void *bytes, size_t size, int64_t offset);
int codex_ftruncate(int descriptor, int64_t size);
int codex_writable(int descriptor, int milliseconds); // 1: a small write does not wait
long codex_write(int descriptor, const void *bytes, size_t size);
int codex_fstatat(int folder, const char *path, int flags, struct stat *status);
long codex_readlinkat(int folder, const char *path, char *bytes, size_t size);
int codex_mkdirat(int folder, const char *path, unsigned mode);
int codex_unlinkat(int folder, const char *path, int flags);
int codex_renameat(int from, const char *old, int to, const char *name);
int codex_symlinkat(const char *points, int folder, const char *path);
int codex_fchownat(int folder, const char *path, unsigned uid, unsigned gid, int flags);
int codex_chmod(const char *path, unsigned mode);
int codex_fchmod(int descriptor, unsigned mode);
int codex_fsync(int descriptor);
int codex_syncfs(int descriptor);
int codex_faccessat(int folder, const char *path, int mode, int flags);
int codex_flock(int descriptor, int operation);
int codex_pipe(int descriptors[2]);
// F_SETPIPE_SZ (fcntl(2)): the size that the pipe then has.
int codex_pipe_grow(int descriptor, int size);
int codex_duplicate(int descriptor, int lowest);
int codex_set_close_on_exec(int descriptor);
int codex_set_nonblocking(int descriptor, int on);
// Removes a name and all below it, whatever the modes and however deep. 0 also when it is not there.
int codex_remove_tree(int folder, const char *name);
// The same by a child that is root in a user namespace: for files of the ids that it maps.
int codex_remove_tree_in(int user_namespace, int folder, const char *name);
// Has a child do something as root of a user namespace (-1: as what the caller is). What `work` returns, 0 or -errno.
int codex_inside(int user_namespace, int (*work)(const void *), const void *context);
// Detaches the tmpfs whose source is `mark`, after what lies directly on it, from a mount namespace (-1: the caller's), by
// such a child. -EBUSY: something else is on top.
int codex_unmount_marked(int user_namespace, int mount_namespace, const char *mark);
// inotify(7), for changes below a folder: create, add folders, then wait until it can be read, and clear it.
int codex_watch_create(void);
int codex_watch_add(int watch, int folder);
void codex_watch_clear(int watch);
// Fills buffer with linux_dirent64 records; 0 at the end.
long codex_getdents(int folder, void *buffer, size_t size);

// --- mounts (Linux 5.2 and 5.12) ---
int codex_open_tree(int folder, const char *path, unsigned flags);
int codex_mount_setattr(int folder, const char *path, unsigned flags, uint64_t set, uint64_t clear, int userns);
// Takes a cloned mount, with all below it, out of the host's peer groups: what is mounted on it must
// not appear on the host (mount_namespaces(7), "shared subtrees").
int codex_mount_private(int mount);
// kind: MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE (mount(2)).
int codex_mount_propagation(int mount, uint64_t kind, int recursive);
int codex_fs_supported(const char *type);
// The layers of an image, top first with colons between them, by names within a folder; read-only, at a target's
// descriptor.
int codex_mount_image(int folder, const char *names, int target);
int codex_unmount(const char *path);

// --- loop devices (loop(4)) ---
#define CODEX_LOOP_NAME 64 // with the NUL at its end
// /dev/loopNUMBER, which must be one.
int codex_loop_open(int number, int write);
// What it was called when it was attached. -ENXIO: nothing is.
int codex_loop_name(int device, char *name);
// Attaches a file to a free one, which the kernel takes away with its last user (LOOP_CONFIGURE, Linux 5.8).
// Returns the device open.
int codex_loop_attach(int file, const char *name, int *number);
// The file system in one, as a mount that is nobody's yet. Options are flags, with NULL at their end.
int codex_mount_device(const char *type, int number, const char *const *options, uint64_t attributes);

// --- processes ---
int codex_pidfd_send_signal(int pidfd, int signal);
// waitid(P_PIDFD) with usage. status is wait4's form. Returns 1 reaped, 0 still running, -errno.
struct codex_usage {
    int32_t status;
    int64_t user_microseconds;
    int64_t system_microseconds;
    int64_t peak_bytes;
    int64_t read_bytes;
    int64_t write_bytes;
};
int codex_reap(int pid, struct codex_usage *usage, int block);
// Gives back the pages of the program's own code and constants that were touched so far.
void codex_forget_program(void);
int codex_set_dumpable(int on);
// Moves this process, or for a pid namespace its children to come, into a namespace (setns(2)).
int codex_join_namespace(int space, uint64_t kind);
// Gives free memory back to the kernel (malloc_trim(3)).
void codex_heap_trim(void);
// Runs this program again from a detached, read-only mount of its own file, unless it does already.
// Returns 0 when it does, -errno when it cannot.
int codex_run_from_read_only_mount(char *const *argv);
// The same from a sealed copy in memory (memfd_create(2)), for which no right is needed.
int codex_run_from_sealed_copy(char *const *argv);
int codex_spawn_wait(
    const char *path, char *const *argv, char *const *envp, int output, int working, int cgroup);
// A process that holds a new user namespace open until it is killed; *pidfd receives its pidfd.
int codex_hold_user_namespace(int *pidfd);

// --- events ---
int codex_epoll_create(void);
int codex_epoll_add(int epoll, int descriptor, uint32_t events, uint64_t token);
int codex_epoll_change(int epoll, int descriptor, uint32_t events, uint64_t token);
int codex_epoll_remove(int epoll, int descriptor);
// Returns the number of ready tokens. timeout in milliseconds, -1 for none.
int codex_epoll_wait(int epoll, uint64_t *tokens, uint32_t *events, int capacity, int timeout);
int codex_timer_create(void);
int codex_timer_set(int timer, int64_t nanoseconds);
// Blocks the signals whose bits are set (bit n-1 for signal n) and returns a descriptor to read them from.
int codex_signal_descriptor(uint64_t signals);
// Blocks them alone: they wait for such a descriptor. 0 or -errno.
int codex_signal_hold(uint64_t signals);
// They interrupt again, those that wait at once. 0 or -errno.
int codex_signal_release(uint64_t signals);
// Reads one pending signal number and its sender; 0 when there is none.
int codex_signal_read(int descriptor);
int64_t codex_clock_monotonic(void);
int64_t codex_clock_realtime(void);

// --- processes and locks that outlive their maker (detach.c) ---
// Starts a program in a session of its own, with /dev/null as its streams and the working folder "/"; it
// inherits the descriptors of keep and no others. Returns 0 or -errno; a program that cannot be executed
// shows by the end of what it was to hold open.
int codex_spawn_detached(const char *path, char *const *argv, char *const *envp, const int *keep, int count);
// Returns 0 when taken, -EAGAIN when another has it and wait is 0.
int codex_lock_take(int descriptor, int wait);
// 1 when another open file has the lock, 0 when nobody has; nothing is taken. -errno.
int codex_lock_release(int descriptor);
int codex_lock_is_taken(int descriptor);
int codex_pidfd_open(int pid);
// Signals the process group that a child leads. The child must not be reaped yet: its number is its own until then.
// -EINVAL for a leader that is no child's number.
int codex_signal_group(int leader, int signal);
int codex_wait_readable(int descriptor, int milliseconds);

// --- output that outlives its reader (spool.c) ---
// Moves bytes from a pipe to a place in a file, without waiting. Returns how many, or -errno.
long codex_splice_to_file(int pipe, int file, int64_t offset, size_t most);
long codex_pwrite(int descriptor, const void *bytes, size_t size, int64_t offset);

// --- sockets with a path (socket.c): AF_UNIX, SOCK_SEQPACKET ---
int codex_socket_listen(int folder, const char *name);
int codex_socket_connect(int folder, const char *name);
int codex_socket_accept(int listener);
// Returns the peer's pid and fills its uid (SO_PEERCRED), or -errno.
int codex_socket_peer(int number, uint32_t *uid);
// Connects to a stream socket and fills the uid of the process that made it.
int codex_stream_connect(const char *path, uint32_t *uid);
long codex_socket_send(int number, const void *bytes, size_t size);
// Returns the packet's size, 0 at the end, -EMSGSIZE for one that did not fit.
long codex_socket_receive(int number, void *bytes, size_t size);

// --- OCI (oci.c) ---
// Sends a pty's master to the stream socket `name` in a folder, as --console-socket asks.
int codex_console_send(int folder, const char *name, int master);

// --- CRIU (criu.c) ---
// Gives this process a mount namespace of its own, in which a folder is a mount of itself.
int codex_stage_root(const char *path, int read_only);
enum { CODEX_STREAM_NAME = 64 };
// What a process's (0: this one's) descriptor is to CRIU, outside of a container: pipe:[INODE], or for a file
// file[MOUNT:INODE], in hexadecimal; -ENOTSUP: it has no word for it.
int codex_stream_name(int pid, int number, char name[CODEX_STREAM_NAME]);

// --- network devices (route.c) ---
// A socket to the kernel's rtnetlink(7), in the network namespace that this process is in.
int codex_route_open(void);

// --- devices of a cgroup (bpf.c) ---
// Loads a program of type BPF_PROG_TYPE_CGROUP_DEVICE, 8 bytes an instruction, and attaches it to a cgroup.
// replaces: in the place of the one that was attached so before, which has to be there (-ENOENT).
int codex_device_filter_attach(int cgroup, const uint64_t *instructions, uint32_t count, int replaces);

struct codex_hook {
    const char *path;
    char *const *argv;
    char *const *envp;
    const char *folder; // where it begins; NULL: the caller's
    const char *state;  // its standard input
    size_t state_length;
    int64_t seconds; // until it is killed, with what it started in its session's group; 0: no limit
};
// Runs it to its end (hook.c). *status is wait(2)'s; words gets the beginning of what it printed. 0, -errno where it
// could not be run, -ETIME where it was killed.
int codex_hook_run(const struct codex_hook *hook, int *status, char *words, size_t size);

// --- terminal ---
int codex_terminal_is(int descriptor);
int codex_terminal_raw(int descriptor, void *saved, size_t size);
int codex_terminal_restore(int descriptor, const void *saved, size_t size);
int codex_terminal_copy_size(int from, int to);
// rows and columns, both 0 when there is no terminal.
int codex_terminal_size(int descriptor, uint16_t *rows, uint16_t *columns);
int codex_terminal_set_size(int descriptor, uint16_t rows, uint16_t columns);
size_t codex_terminal_state_size(void);

// --- what this kernel offers ---
int codex_landlock_abi(void);
int codex_seccomp_action_available(uint32_t action);
int codex_kernel_release(char *bytes, size_t size);
int codex_machine(char *bytes, size_t size);
int codex_random(void *bytes, size_t size);

#endif
