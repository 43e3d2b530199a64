// Moving a program's output so that no moment of a kill loses or doubles a byte of it.
#define _GNU_SOURCE
#include "codex_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

long codex_splice_to_file(int pipe, int file, int64_t offset, size_t most) {
    // What leaves the pipe is in the file when the call returns, also to a process that is killed in it
    // (splice(2)): the file's size is then the only count of it, and a true one.
    loff_t place = offset;
    ssize_t count;
    do count = splice(pipe, NULL, file, &place, most, SPLICE_F_NONBLOCK);
    while (count < 0 && errno == EINTR);
    return count < 0 ? -errno : count;
}

long codex_pwrite(int descriptor, const void *bytes, size_t size, int64_t offset) {
    ssize_t count;
    do count = pwrite(descriptor, bytes, size, offset);
    while (count < 0 && errno == EINTR);
    return count < 0 ? -errno : count;
}
