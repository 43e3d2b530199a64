// What stands here in the place of parts of Swift's runtime, which the linker then leaves out of the static
// program: an archive's member is taken only for a name that nobody else has.
#include "codex_launch.h"

#include <stdbool.h>
#include <stddef.h>

// stdlib/public/stubs/CommandLine.cpp. Its constructor reads /proc/self/maps line by line at every start, to find
// the arguments that ours was simply given.
char **_swift_stdlib_getUnsafeArgvArgc(int *count);
void _swift_stdlib_overrideUnsafeArgvArgc(char **arguments, int count);

static struct {
    char **arguments;
    int count;
} other;

char **_swift_stdlib_getUnsafeArgvArgc(int *count) {
    static char *none[1];
    char **arguments = codex_arguments();
    *count = other.count;
    if (other.arguments) return other.arguments;
    if (!arguments) return none;
    while (arguments[*count]) ++*count;
    return arguments;
}

void _swift_stdlib_overrideUnsafeArgvArgc(char **arguments, int count) {
    other.arguments = arguments;
    other.count = count;
}

// stdlib/public/runtime/Backtrace.cpp. Its constructor looks for the helper swift-backtrace in ten places at every
// start; and $SWIFT_BACKTRACE would have a crashing program of root's start one that the caller names. All zero:
// nothing of it is on. Swift 6.3's is 0x58 bytes long; room for a later one's costs nothing.
struct backtrace_settings {
    _Alignas(8) char zero[256];
};
extern const struct backtrace_settings _swift_backtraceSettings;
const struct backtrace_settings _swift_backtraceSettings;

// Asked for by swiftrt.o, for the use of its backtraces alone.
bool _swift_backtrace_isThunkFunction(const char *name);
bool _swift_backtrace_isThunkFunction(const char *name) {
    (void)name;
    return false;
}
