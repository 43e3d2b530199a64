// What every attack program has: where to report to, and what it is aimed at.
#ifndef CODEX_ATTACK_H
#define CODEX_ATTACK_H

#include <stdbool.h>
#include <stddef.h>

enum attack_outcome {
    // The sandbox, or the kernel for it, said no.
    ATTACK_STOPPED,
    // What the attack is after was had.
    ATTACK_SUCCEEDED,
    // Something was read; whether it is what must not be seen, the one who planted it knows.
    ATTACK_READ,
    // This machine has not what the attack needs, inside or outside.
    ATTACK_IMPOSSIBLE,
};

struct attack {
    char detail[512];
};

// Each takes the outcome down and returns it. `stopped` reads errno, and names the call that it is of.
enum attack_outcome stopped(struct attack *attack, const char *call);
enum attack_outcome stopped_by(struct attack *attack, const char *format, ...) __attribute__((format(printf, 2, 3)));
enum attack_outcome succeeded(struct attack *attack, const char *format, ...) __attribute__((format(printf, 2, 3)));
enum attack_outcome found(struct attack *attack, const void *bytes, size_t length);
enum attack_outcome impossible(struct attack *attack, const char *format, ...) __attribute__((format(printf, 2, 3)));

// A call that the kernel does not have, or that is switched off for everybody: the same outside.
bool is_absent(int error);

// What it is aimed at, from the environment; "" where that is not there.
const char *target(const char *name);

// Reads the beginning of a file as found bytes, or tells what kept it from it.
enum attack_outcome read_file(struct attack *attack, const char *path);

// How much is enough, as ATTACK_BOUND says, and the outcome of having come by so much. `call` is the one that failed last,
// and errno is of it.
long attack_bound(void);
enum attack_outcome attack_counted(struct attack *attack, long count, const char *what, const char *call);

struct attack_program {
    const char *name;
    enum attack_outcome (*run)(struct attack *);
};

// One table for each family, ended by a program without a name.
extern const struct attack_program attack_namespaces[], attack_files[], attack_kernel[], attack_processes[],
    attack_sockets[], attack_doors[], attack_exhaustion[], attack_quotas[], attack_races[];

int attack_victim(void);
int attack_exchange(const char *one, const char *other);

#endif
