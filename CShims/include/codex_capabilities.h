// Capability names and sets (libcap, capabilities(7)).
#ifndef CODEX_CAPABILITIES_H
#define CODEX_CAPABILITIES_H
#include <stdint.h>

// The number of a capability by its lower-case name ("cap_net_admin"), or -EINVAL.
int codex_capability_number(const char *name);
// Writes the lower-case name of a capability. Returns 0 or -EINVAL.
int codex_capability_name(int number, char *bytes, unsigned long size);
// How many capabilities the running kernel knows.
int codex_capability_count(void);
// This process's effective set.
uint64_t codex_capabilities_effective(void);

// For the child: async-signal-safe. Each returns 0 or -errno.
int codex_capabilities_keep(void);
int codex_capabilities_bound(uint64_t keep);
int codex_capabilities_set(uint64_t permitted, uint64_t inheritable);
#endif
