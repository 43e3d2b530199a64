// What this process has mapped of its own program.
#define _GNU_SOURCE
#include "codex_kernel.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

// The linker's names for the program's beginning and the end of its code: all of that is only ever read.
extern const char __executable_start[] __attribute__((weak, visibility("hidden")));
extern const char etext[] __attribute__((weak));

// The kernel maps the pages around each that is touched, and counts them all. What comes next needs few of them, and gets
// these again from the page cache (madvise(2), MADV_DONTNEED).
void codex_forget_program(void) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE) - 1;
    uintptr_t start = (uintptr_t)__executable_start & ~page, end = (uintptr_t)etext & ~page;
    if (start != 0 && end > start) (void)madvise((void *)start, end - start, MADV_DONTNEED);
}
