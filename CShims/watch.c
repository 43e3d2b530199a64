// Being told of a folder's changes, larger pipes, and giving back memory.
#define _GNU_SOURCE
#include "codex_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

int codex_watch_create(void) {
    int descriptor = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    return descriptor < 0 ? -errno : descriptor;
}

// The folder is named by its descriptor, so that what stands at its path by now does not matter.
int codex_watch_add(int watch, int folder) {
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", folder);
    uint32_t events = IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE_SELF | IN_ONLYDIR;
    int number = inotify_add_watch(watch, path, events);
    return number < 0 ? -errno : number;
}

// What exactly happened is not told: the reader looks itself.
void codex_watch_clear(int watch) {
    char events[4096] __attribute__((aligned(8)));
    while (read(watch, events, sizeof events) > 0) continue;
}

int codex_pipe_grow(int descriptor, int size) {
    int result = fcntl(descriptor, F_SETPIPE_SZ, size);
    return result < 0 ? -errno : result;
}

void codex_heap_trim(void) { (void)malloc_trim(0); }
