// Landlock (landlock(7)): the second wall, by number because Debian 12's headers know ABI 1 only.
#define _GNU_SOURCE
#include "codex_child.h"
#include "codex_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// struct landlock_ruleset_attr of ABI 6; older kernels take the shorter prefix they know.
struct ruleset {
    uint64_t files;
    uint64_t tcp;    // ABI 4, Linux 6.7
    uint64_t scopes; // ABI 6, Linux 6.12
};
_Static_assert(sizeof(struct ruleset) == 24, "struct landlock_ruleset_attr of ABI 6");
_Static_assert(sizeof(struct landlock_path_beneath_attr) == 12, "packed");

// Rights that mean something for a file; the others may only be given on a folder.
static const uint64_t file_rights = (1 << 0) | (1 << 1) | (1 << 2) | (1 << 14) | (1 << 15);

int codex_landlock_abi(void) {
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    return version < 0 ? -errno : (int)version;
}

int codex_step_landlock_create(struct codex_child_state *state, const struct codex_step *step) {
    struct ruleset rules = {.files = step->a, .tcp = step->b, .scopes = step->flags};
    size_t size = step->flags ? 24 : step->b ? 16 : 8;
    long set = syscall(SYS_landlock_create_ruleset, &rules, size, 0);
    return set < 0 ? -errno : codex_store(state, step, (int)set);
}

int codex_step_landlock_path(struct codex_child_state *state, const struct codex_step *step) {
    int place = codex_path_open(state->root, step->path, O_PATH, false);
    if (place == -ENOENT) return 0;
    if (place < 0) return place;
    struct stat status;
    int result = fstat(place, &status) < 0 ? -errno : 0;
    if (result == 0) {
        struct landlock_path_beneath_attr rule = {
            .allowed_access = S_ISDIR(status.st_mode) ? step->a : step->a & file_rights, .parent_fd = place};
        if (syscall(SYS_landlock_add_rule, codex_slot(state, step->source), LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
            result = -errno;
    }
    close(place);
    return result;
}

int codex_step_landlock_enforce(struct codex_child_state *state, const struct codex_step *step) {
    long result = syscall(SYS_landlock_restrict_self, codex_slot(state, step->source), 0);
    return result == 0 ? 0 : -errno;
}
