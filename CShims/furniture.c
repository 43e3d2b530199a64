// What nearly every sandbox has in it, made before its plan is known.
//
// The early child (see early.c) waits while its parent thinks. Meanwhile it makes the file systems and opens the
// devices that the plan of a plain `codex32 run` will ask for. They are attached nowhere, and nothing is decided by
// that: a step of the plan takes what it would have made itself, where it wants the same to the last byte, and makes
// its own otherwise. What nobody took is closed before the program begins, as everything is.
#define _GNU_SOURCE
#include "codex_child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

enum { STRICT = 1, STANDARD = 2, ANY = STRICT | STANDARD };

// One step as Planner has it, and the one that must follow it, if it has anything in it (test_early_child.py compares the
// two). What is owned by somebody waits for the id maps.
struct piece {
    int levels;
    bool is_owned;
    struct codex_step step;
    const char *inside;
    size_t inside_length;
    bool is_instead; // only where the one before could not be made
};

#define TEXT(literal) .text = literal, .text_length = sizeof(literal)
#define DEVICE(name, major, minor) \
    {.levels = ANY, .step = {.kind = CODEX_STEP_OPEN_DEVICE, .a = (major) << 8 | (minor), .path = "/dev/" name}}
#define NEW(type, attributes) .kind = CODEX_STEP_NEW_FS, .path = type, .a = (attributes) | MOUNT_ATTR_NOSUID
#define PTS "max\000256\0ptmxmode\0000666\0mode\0000620"
#define TEMPORARY TEXT("size\00067108864\0nr_inodes\00065536\0mode\00001777")

static const char devices[] = "null\0\0zero\0\0full\0\0random\0\0urandom\0\0tty\0\0"
                              "fd\0/proc/self/fd\0stdin\0/proc/self/fd/0\0stdout\0/proc/self/fd/1\0"
                              "stderr\0/proc/self/fd/2\0ptmx\0pts/ptmx\0pts\0/\0shm\0/";

static const struct piece pieces[] = {
    {STRICT, .step = {NEW("proc", MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC), TEXT("hidepid\0invisible")}},
    {STANDARD, .step = {NEW("proc", MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)}},
    {STANDARD, .step = {NEW("sysfs", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)}},
    DEVICE("null", 1, 3),
    DEVICE("zero", 1, 5),
    DEVICE("full", 1, 7),
    DEVICE("random", 1, 8),
    DEVICE("urandom", 1, 9),
    DEVICE("tty", 5, 0),
    {ANY, .is_owned = true, .step = {NEW("tmpfs", MOUNT_ATTR_NOEXEC), TEXT("size\00065536\0nr_inodes\0001024\0mode\0000755")},
     .inside = devices, .inside_length = sizeof devices},
    {ANY, .is_owned = true, .step = {NEW("devpts", MOUNT_ATTR_NOEXEC), TEXT(PTS "\0gid\0005")}},
    // Without the group of terminals, where the container has no such id.
    {ANY, .is_owned = true, .step = {NEW("devpts", MOUNT_ATTR_NOEXEC), TEXT(PTS)}, .is_instead = true},
    {ANY, .is_owned = true, .step = {NEW("tmpfs", MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC), TEMPORARY}},
    {STRICT, .is_owned = true, .step = {NEW("tmpfs", MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC), TEMPORARY}},
    {STANDARD, .is_owned = true, .step = {NEW("tmpfs", MOUNT_ATTR_NODEV), TEMPORARY}},
};
enum { COUNT = sizeof pieces / sizeof *pieces };

static struct {
    int32_t slots[COUNT]; // by piece; -1: there is none, or it is taken
    int filled;           // what has in it already what its plan puts there, or -1
} made;

static bool same_text(const void *one, size_t one_length, const void *other, size_t other_length) {
    return one_length == other_length && (one_length == 0 || memcmp(one, other, one_length) == 0);
}

static bool is_wanted(const struct piece *piece, const struct codex_step *step, const struct codex_step *next) {
    const struct codex_step *own = &piece->step;
    if (step->kind != own->kind || step->source >= 0 || step->flags != 0 || step->a != own->a || step->b != 0 ||
        strcmp(step->path, own->path) != 0 || !same_text(step->text, step->text_length, own->text, own->text_length))
        return false;
    if (!piece->inside) return true;
    return next && next->kind == CODEX_STEP_FURNISH && next->source == step->slot &&
           same_text(next->text, next->text_length, piece->inside, piece->inside_length);
}

bool codex_furniture_serves(struct codex_child_state *state, const struct codex_step *step) {
    if (!state->is_furnished || (step->kind != CODEX_STEP_NEW_FS && step->kind != CODEX_STEP_OPEN_DEVICE)) return false;
    const struct codex_step *next = state->index + 1 < state->plan->step_count ? step + 1 : NULL;
    for (size_t i = 0; i < COUNT; i++) {
        if (made.slots[i] < 0 || !is_wanted(&pieces[i], step, next)) continue;
        if (codex_store(state, step, made.slots[i]) < 0) return false;
        if (pieces[i].inside) made.filled = made.slots[i];
        made.slots[i] = -1;
        return true;
    }
    return false;
}

// One behind the other, "name\0target\0": a link to the target; a file, where that is empty; a folder, where it is "/".
static int fill(int folder, const char *text, size_t length) {
    for (const char *name = text, *end = text + length; name < end;) {
        const char *target = name + strlen(name) + 1;
        int result;
        if (*target == 0) {
            result = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
            if (result >= 0) close(result);
        } else {
            result = strcmp(target, "/") == 0 ? mkdirat(folder, name, 0755) : symlinkat(target, folder, name);
        }
        if (result < 0) return -errno;
        name = target + strlen(target) + 1;
    }
    return 0;
}

int codex_step_furnish(struct codex_child_state *state, const struct codex_step *step) {
    int folder = codex_slot(state, step->source);
    return state->is_furnished && folder == made.filled ? 0 : fill(folder, step->text, step->text_length);
}

void codex_furniture_make(struct codex_child_state *state, uint64_t clone_flags, bool is_owned) {
    if (!state->is_furnished) {
        memset(&made, 0xff, sizeof made);
        state->is_furnished = true;
    }
    int level = clone_flags & CLONE_NEWTIME ? STRICT : STANDARD;
    struct codex_plan own = {.slots = made.slots, .slot_count = COUNT};
    // Of what goes wrong here nobody is told: the plan's own step meets it again, and tells it in its place.
    struct codex_child_state place = {.plan = &own, .control = -1, .report = -1, .root = -1};
    for (size_t i = 0; i < COUNT; i++) {
        const struct piece *piece = &pieces[i];
        if (!(piece->levels & level) || piece->is_owned != is_owned) continue;
        if (piece->is_instead && made.slots[i - 1] >= 0) continue;
        struct codex_step step = piece->step;
        step.slot = (int32_t)i;
        step.source = step.within = -1;
        int result = step.kind == CODEX_STEP_NEW_FS ? codex_step_new_fs(&place, &step) : codex_step_open_device(&place, &step);
        if (result == 0 && piece->inside) result = fill(made.slots[i], piece->inside, piece->inside_length);
        if (result < 0 && made.slots[i] >= 0) {
            close(made.slots[i]);
            made.slots[i] = -1;
        }
    }
}
