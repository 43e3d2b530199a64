// Where the kernel enters the program, before the C library begins.
//
// glibc first asks the processor what it can do (x86's CPUID), about a hundred times: on a virtual machine each of
// these is a way out to the hypervisor and back, together longer than all else before Swift begins. The early child
// (see early.c) needs nothing of that, so it is made here and has its namespaces while the parent is asking.
//
// What the C library's functions stand on is provided first, for the child, which never has more: a thread's own memory
// with errno in it, the plain variants of those functions of which there are several (IRELATIVE), and from which size
// on a copy goes round the caches. The parent goes on to the C library's own beginning, which puts its own in all of
// these places. Only a static program of fixed
// addresses enters here (the linker's option -e); another begins as usual, and bears its early child a moment later.
#define _GNU_SOURCE
#include "codex_launch.h"

#include <elf.h>
#include <stdalign.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
// rdi: the kernel's block of argc, argv and environment. rdx belongs to _start (System V ABI, x86-64, 3.4.1).
__asm__(".pushsection .text\n"
        ".globl codex_entry\n"
        ".hidden codex_entry\n"
        ".type codex_entry, @function\n"
        "codex_entry:\n"
        "  xor %ebp, %ebp\n"
        "  mov %rsp, %rbx\n"
        "  mov %rdx, %r12\n"
        "  mov %rsp, %rdi\n"
        "  and $-16, %rsp\n"
        "  call codex_entry_begin\n"
        "  mov %rbx, %rsp\n"
        "  mov %r12, %rdx\n"
        "  jmp _start\n"
        ".size codex_entry, .-codex_entry\n"
        ".popsection\n");
enum { IRELATIVE = R_X86_64_IRELATIVE };
#elif defined(__aarch64__)
__asm__(".pushsection .text\n"
        ".globl codex_entry\n"
        ".hidden codex_entry\n"
        ".type codex_entry, %function\n"
        "codex_entry:\n"
        "  mov x29, #0\n"
        "  mov x19, x0\n"
        "  mov x0, sp\n"
        "  bl codex_entry_begin\n"
        "  mov x0, x19\n"
        "  b _start\n"
        ".size codex_entry, .-codex_entry\n"
        ".popsection\n");
enum { IRELATIVE = R_AARCH64_IRELATIVE };
#endif

extern const Elf64_Ehdr __ehdr_start __attribute__((weak, visibility("hidden")));
extern const Elf64_Rela __rela_iplt_start[] __attribute__((weak, visibility("hidden")));
extern const Elf64_Rela __rela_iplt_end[] __attribute__((weak, visibility("hidden")));

#if defined(__x86_64__)
// glibc's (sysdeps/x86/cacheinfo.h), 0 until it has asked the processor: then memcpy takes everything for that large.
extern long __x86_shared_non_temporal_threshold __attribute__((weak, visibility("hidden")));
#endif

// What the C library keeps for a thread, all zero, beside the program's thread-local variables: on x86_64 these lie
// below the thread pointer and its own above, on aarch64 the other way round ("ELF Handling For Thread-Local Storage",
// variants II and I).
enum { HALF = 4096 };
static alignas(64) unsigned char thread[2 * HALF];

// Byte by byte, through what a compiler makes no call of memcpy for: there is none yet.
static void copy(unsigned char *to, const unsigned char *from, uint64_t count) {
    for (volatile uint64_t i = 0; i < count; i++) to[i] = from[i];
}

static int provide_thread(const Elf64_Phdr *segment) {
    uint64_t alignment = segment->p_align > 0 ? segment->p_align : 1;
    unsigned char *pointer = thread + HALF;
    if (alignment > alignof(max_align_t) * 4 || segment->p_memsz + alignment + 16 > HALF) return 0;
#if defined(__x86_64__)
    uint64_t size = (segment->p_memsz + alignment - 1) / alignment * alignment;
    copy(pointer - size, (const unsigned char *)segment->p_vaddr, segment->p_filesz);
    // Its own address: of the thread pointer (the ABI asks for it), and of the thread (glibc's tcbhead_t).
    ((void **)pointer)[0] = pointer;
    ((void **)pointer)[2] = pointer;
    long result;
    register long number __asm__("rax") = SYS_arch_prctl;
    __asm__ volatile("syscall" : "=a"(result) : "r"(number), "D"(0x1002 /* ARCH_SET_FS */), "S"(pointer)
                     : "rcx", "r11", "memory");
    return result == 0;
#elif defined(__aarch64__)
    uint64_t offset = (16 + alignment - 1) / alignment * alignment;
    copy(pointer + offset, (const unsigned char *)segment->p_vaddr, segment->p_filesz);
    __asm__ volatile("msr tpidr_el0, %0" : : "r"(pointer) : "memory");
    return 1;
#endif
}

__attribute__((used)) void codex_entry_begin(uintptr_t *block) {
    const Elf64_Ehdr *header = &__ehdr_start;
    if (!header || header->e_type != ET_EXEC) return;
#if defined(__x86_64__)
    // Another C library, of which that is not known: it begins first.
    if (!&__x86_shared_non_temporal_threshold) return;
    __x86_shared_non_temporal_threshold = 3 << 18;
#endif
    const Elf64_Phdr *segments = (const Elf64_Phdr *)((const unsigned char *)header + header->e_phoff);
    int provided = 0;
    for (int i = 0; i < header->e_phnum && !provided; i++)
        if (segments[i].p_type == PT_TLS) provided = provide_thread(&segments[i]);
    if (!provided) return;
    for (const Elf64_Rela *entry = __rela_iplt_start; entry < __rela_iplt_end; entry++)
        if (ELF64_R_TYPE(entry->r_info) == IRELATIVE)
            *(uintptr_t *)entry->r_offset = ((uintptr_t(*)(uint64_t, const void *))entry->r_addend)(0, 0);
    int argc = (int)block[0];
    char **argv = (char **)(block + 1);
    environ = argv + argc + 1;
    codex_early_begin(argc, argv);
}
