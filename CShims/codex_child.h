// Private to the C target: what the child's steps share. Everything declared here is
// async-signal-safe (signal-safety(7)): it runs between clone3 and execve.
#ifndef CODEX_CHILD_H
#define CODEX_CHILD_H

#include "codex_launch.h"

#include <stdbool.h>

struct codex_child_state {
    const struct codex_plan *plan;
    int control;
    int report;        // where pid 1 tells how the program ended, or -1
    int root;          // where paths inside the container are walked from
    uint32_t index;    // the step being done, for the report
    int preserved;     // how many descriptors from 3 on are the program's too
    bool has_no_strangers; // every descriptor that is open is in a slot, or one of those above, or the program's
    bool is_furnished; // there may be something made for it already: see furniture.c
    char detail[CODEX_DETAIL];
};

// The descriptor in a slot, or -1.
int codex_slot(const struct codex_child_state *state, int slot);
// Where the step's path begins: below a mount of ours, whose name in the image somebody could
// exchange, it is walked from that mount itself.
int codex_base(const struct codex_child_state *state, const struct codex_step *step);
// Stores a descriptor in the step's slot; passes errors through.
int codex_store(struct codex_child_state *state, const struct codex_step *step, int descriptor);

// path.c: walking inside the container's root.
int codex_path_open(int root, const char *path, uint64_t flags, bool no_symlinks);
int codex_path_target(int root, const char *path, uint32_t flags);
int codex_path_make_folder(int root, const char *path, unsigned mode);

// furniture.c: makes what nearly every sandbox has; what belongs to somebody in a second call, once the ids are mapped.
void codex_furniture_make(struct codex_child_state *state, uint64_t clone_flags, bool is_owned);
// Whether there was something like that for this step, which is done then.
bool codex_furniture_serves(struct codex_child_state *state, const struct codex_step *step);

// Steps by facility. Each returns 0 or -errno.
int codex_step_new_fs(struct codex_child_state *state, const struct codex_step *step);
int codex_step_open(struct codex_child_state *state, const struct codex_step *step);
int codex_step_open_device(struct codex_child_state *state, const struct codex_step *step);
int codex_step_clone_tree(struct codex_child_state *state, const struct codex_step *step);
int codex_step_mount_attr(struct codex_child_state *state, const struct codex_step *step);
int codex_step_enter_host(struct codex_child_state *state, const struct codex_step *step);
int codex_step_attach(struct codex_child_state *state, const struct codex_step *step);
int codex_step_mask(struct codex_child_state *state, const struct codex_step *step);
int codex_step_read_only(struct codex_child_state *state, const struct codex_step *step);
int codex_step_private_mounts(void);
int codex_step_pivot(struct codex_child_state *state);
int codex_step_furnish(struct codex_child_state *state, const struct codex_step *step);
int codex_step_make_link(struct codex_child_state *state, const struct codex_step *step);
int codex_step_make_file(struct codex_child_state *state, const struct codex_step *step);
int codex_step_write(struct codex_child_state *state, const struct codex_step *step);
int codex_step_chdir(struct codex_child_state *state, const struct codex_step *step);
int codex_step_loopback(void);
int codex_step_terminal(struct codex_child_state *state, const struct codex_step *step);
int codex_step_landlock_create(struct codex_child_state *state, const struct codex_step *step);
int codex_step_landlock_path(struct codex_child_state *state, const struct codex_step *step);
int codex_step_landlock_enforce(struct codex_child_state *state, const struct codex_step *step);
int codex_step_become_root(const struct codex_step *step);
int codex_step_identity(const struct codex_step *step);
int codex_step_close_others(struct codex_child_state *state);
int codex_step_seccomp(struct codex_child_state *state, const struct codex_step *step);
int codex_step_observe(struct codex_child_state *state, const struct codex_step *step);
int codex_step_lend_root(struct codex_child_state *state);
int codex_step_hold(struct codex_child_state *state);
int codex_step_init(struct codex_child_state *state);
int codex_step_join(struct codex_child_state *state, const struct codex_step *step);
int codex_step_enter(struct codex_child_state *state);
int codex_step_open_devpts(struct codex_child_state *state, const struct codex_step *step);
int codex_step_outlive(void);
int codex_step_tune(const struct codex_step *step);
int codex_time_offsets(const char *text, size_t length);
int codex_label(int which, const char *text, size_t length);
int codex_step_label_mount(struct codex_child_state *state, const struct codex_step *step);
int codex_step_chroot(struct codex_child_state *state);
int codex_step_propagation(struct codex_child_state *state, const struct codex_step *step);
int codex_step_make_node(struct codex_child_state *state, const struct codex_step *step);
int codex_step_copy_up(struct codex_child_state *state, const struct codex_step *step);
int codex_step_ready(struct codex_child_state *state);
int codex_step_hook(struct codex_child_state *state, const struct codex_step *step);
int codex_step_lend_network(struct codex_child_state *state);
int codex_step_preserve(struct codex_child_state *state, const struct codex_step *step);
int codex_step_await(struct codex_child_state *state, const struct codex_step *step);
int codex_step_capability_sets(const struct codex_step *step);
int codex_step_exec(struct codex_child_state *state);

// Asks again for what a change of ids or of the user namespace takes away: to end with the parent,
// and to be closed to tracing.
int codex_watch_parent_again(void);

// Closes every descriptor but the standard streams, those that are passed on to the program, and these few; a
// negative one stands for none.
int codex_close_others(const struct codex_child_state *state, const int *kept, size_t count);
// The same by close(2) of what is in slots, which is all that is open where there are no strangers: for under a filter
// that may know no close_range(2), a call of Linux 5.9.
void codex_close_known(const struct codex_child_state *state, const int *kept, size_t count);

int codex_control_send(int control, const struct codex_message *message, int descriptor);
int codex_control_wait(int control);

#endif
