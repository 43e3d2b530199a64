// Trees of files, read and written by descriptor, and the process that does it as a container's root.
#ifndef CODEX_TREE_H
#define CODEX_TREE_H

#include <stddef.h>
#include <stdint.h>

// What statx(2) tells, with the mount (Linux 5.8). mode has the file type (inode(7)).
struct codex_node {
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint32_t links;
    uint64_t device;
    uint64_t inode;
    uint64_t size;
    uint64_t blocks; // of 512 bytes
    int64_t modified;
    uint32_t modified_nanoseconds;
    int64_t changed; // the last change of any kind: no program can set it
    uint32_t changed_nanoseconds;
    uint32_t device_major;
    uint32_t device_minor;
    uint64_t mount;
};

// name may be "": the descriptor itself. Links are not followed.
int codex_node(int folder, const char *name, struct codex_node *node);
// The type of the file system (statfs(2), f_type), or -errno.
int64_t codex_file_system(int descriptor);
// The whole contents of another file, which share its place on the disk until one of them is written to
// (ioctl_ficlone(2)).
int codex_share_contents(int to, int from);
int64_t codex_capacity(int descriptor); // bytes of its whole file system
long codex_attributes(int descriptor, char *names, size_t size);
long codex_attribute(int descriptor, const char *name, void *value, size_t size);
int codex_set_attribute(int descriptor, const char *name, const void *value, size_t size);
// name NULL: the descriptor itself. Links are not followed.
int codex_set_times(int folder, const char *name, int64_t seconds, uint32_t nanoseconds);
int codex_link(int from, const char *old, int to, const char *name);
// The same for what a link stands for, as those of /proc/self/fd do: a file that has no name yet.
int codex_link_followed(int from, const char *old, int to, const char *name);
int codex_make_pipe(int folder, const char *name, unsigned mode);
// lseek(2) with SEEK_DATA (data 1) or SEEK_HOLE (0): where the next one begins, or -errno.
int64_t codex_seek_extent(int descriptor, int64_t offset, int data);
int64_t codex_seek(int descriptor, int64_t offset);
// renameat2(2): 0 flags, or RENAME_NOREPLACE (1).
int codex_rename_to(int from, const char *old, int to, const char *name, unsigned flags);

// Starts a program with these standard streams; it inherits the descriptors of keep and no others. A filter
// has no rights and few means beside, and nothing to say. Returns its pid and fills *pidfd, or -errno.
int codex_spawn_helper(const char *path, char *const *argv, char *const *envp, int input, int output,
                       const int *keep, int count, int is_filter, int *pidfd);
// This process leaves its terminal and its standard streams, and does not end with its parent any more.
void codex_go_on_alone(void);
// This process becomes a filter, between fork and execve: 0, or -errno.
int codex_become_filter(void);
// Copies what would be read next, and leaves it there to be read: of a file, pipe or socket. Returns how
// much that is; 0: nothing is to come, or it cannot be looked into; or -errno.
long codex_peek(int descriptor, void *buffer, size_t size);
// setns(2); the process has every capability there afterwards, and no id of it yet.
int codex_enter_user_namespace(int namespace);
// Becomes this user of the namespace, without groups where that is allowed.
int codex_become_user(uint32_t uid, uint32_t gid);
// This process ends with its parent, which must be this one.
int codex_die_with(int parent);

#endif
