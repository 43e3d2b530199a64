// Terminals: the container's pty, and the caller's terminal while it is attached to one.
#define _GNU_SOURCE
#include "codex_child.h"
#include "codex_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

// The pty comes from the container's own devpts, its other end by ioctl instead of by name, and
// /dev/console is that descriptor: nothing a container wrote is looked up (CVE-2025-52565).
int codex_step_terminal(struct codex_child_state *state, const struct codex_step *step) {
    int master = step->source >= 0
                     ? openat(codex_slot(state, step->source), "ptmx", O_RDWR | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC)
                     : open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0) return -errno;
    int locked = 0;
    if (ioctl(master, TIOCSPTLCK, &locked) < 0) return -errno;
    int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0) return -errno;
    if (fchown(slave, (uid_t)step->a, (gid_t)step->b) < 0 && errno != EPERM && errno != EINVAL) return -errno;
    struct codex_message message = {.kind = CODEX_MESSAGE_TERMINAL, .step = state->index, .descriptor = -1};
    int result = codex_control_send(state->control, &message, master);
    if (result < 0) return result;
    close(master);
    // The parent sets the size before the program can ask for it.
    result = codex_control_wait(state->control);
    if (result < 0) return result;
    if (step->path) {
        int tree = codex_open_tree(slave, "", AT_EMPTY_PATH | OPEN_TREE_CLONE);
        if (tree < 0) return tree;
        int target = codex_path_target(codex_base(state, step), step->path, CODEX_TARGET_FILE | CODEX_TARGET_NO_SYMLINKS);
        if (target < 0) return target;
        if (syscall(SYS_move_mount, tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
            return -errno;
        close(tree);
        close(target);
    }
    for (int i = 0; i < 3; i++)
        if (dup2(slave, i) < 0) return -errno;
    if (slave > 2) close(slave);
    return ioctl(0, TIOCSCTTY, 0) == 0 ? 0 : -errno;
}

int codex_terminal_is(int descriptor) {
    struct termios state;
    return tcgetattr(descriptor, &state) == 0;
}

size_t codex_terminal_state_size(void) { return sizeof(struct termios); }

int codex_terminal_raw(int descriptor, void *saved, size_t size) {
    if (size < sizeof(struct termios)) return -EINVAL;
    struct termios state;
    if (tcgetattr(descriptor, &state) < 0) return -errno;
    memcpy(saved, &state, sizeof state);
    cfmakeraw(&state);
    return tcsetattr(descriptor, TCSANOW, &state) == 0 ? 0 : -errno;
}

int codex_terminal_restore(int descriptor, const void *saved, size_t size) {
    if (size < sizeof(struct termios)) return -EINVAL;
    return tcsetattr(descriptor, TCSANOW, saved) == 0 ? 0 : -errno;
}

int codex_terminal_copy_size(int from, int to) {
    struct winsize size;
    if (ioctl(from, TIOCGWINSZ, &size) < 0) return -errno;
    return ioctl(to, TIOCSWINSZ, &size) == 0 ? 0 : -errno;
}

int codex_terminal_size(int descriptor, uint16_t *rows, uint16_t *columns) {
    struct winsize size;
    if (ioctl(descriptor, TIOCGWINSZ, &size) < 0) return -errno;
    *rows = size.ws_row;
    *columns = size.ws_col;
    return 0;
}

int codex_terminal_set_size(int descriptor, uint16_t rows, uint16_t columns) {
    struct winsize size = {.ws_row = rows, .ws_col = columns};
    return ioctl(descriptor, TIOCSWINSZ, &size) == 0 ? 0 : -errno;
}
