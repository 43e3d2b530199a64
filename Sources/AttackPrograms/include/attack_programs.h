// The attack corpus: what `codex32 selftest --attack` runs inside a sandbox, and outside as a control.
//
// It is a part of codex32's own file, so that one static program is the whole corpus, runs in every root file
// system, and is always of the version that it tests. Nothing else of codex32 calls it.
#ifndef CODEX_ATTACK_PROGRAMS_H
#define CODEX_ATTACK_PROGRAMS_H

// The words are those of the process: "codex32", "attack-program", then one of
//   try NAME...      runs each attack in a process of its own, and prints a line for each:
//                    NAME, a tab, stopped|succeeded|read|impossible, a tab, and what it met
//   victim           what attacks are aimed at outside: see victim.c
//   bystand          does nothing, until standard input ends
//   exchange A B     exchanges two names until standard input ends: see races.c
//   as UID GID WORD...  becomes that user and executes the words
// Returns the exit status.
int codex_attack_main(int count, char **words);

// How a program ended that was run to its end.
struct codex_attack_done {
    // 128+n for signal n; -1: it took longer than it was given, and was killed.
    int status;
    // The beginnings of its streams, the caller's to free(3).
    char *output, *errors;
    unsigned long output_length, errors_length;
};

// Runs a program with nothing to read, in a process group of its own, and waits for its end. `leaked` is a
// descriptor that it inherits, or -1. Returns 0 or -errno.
int codex_attack_run(const char *path, char *const *argv, char *const *envp, int leaked, int seconds,
                     struct codex_attack_done *done);

// Starts a program that runs until its standard input ends. *input is the other end of that, *output what it writes.
// Returns its process id, or -errno.
int codex_attack_start(const char *path, char *const *argv, char *const *envp, int *input, int *output);

// Waits for it, once its input was closed. Its status, 128+n for signal n; or -errno.
int codex_attack_wait(int pid);

// The name of the n-th attack, in order; NULL behind the last.
const char *codex_attack_name(int index);

#endif
