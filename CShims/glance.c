// Whether a command will begin anew from a read-only mount (see reexec.c), guessed before Swift begins: what a start does
// is not done twice then. It decides nothing: where the guess says no, or is wrong, the verb itself finds out later.
#define _GNU_SOURCE
#include "codex_kernel.h"
#include "codex_launch.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// An OCI runtime's verbs that make processes.
static bool is_runtime(int argc, char **argv) {
    const char *slash = strrchr(argv[0], '/');
    const char *name = slash ? slash + 1 : argv[0];
    if (strcmp(name, "codex32-oci") != 0 && strcmp(name, "runc") != 0 && strcmp(argv[1], "oci") != 0) return false;
    static const char *const verbs[] = {"create", "run", "exec"};
    for (int i = 1; i < argc; i++)
        for (size_t verb = 0; verb < sizeof verbs / sizeof *verbs; verb++)
            if (strcmp(argv[i], verbs[verb]) == 0) return true;
    return false;
}

// The beginning of a file, ended by NUL; nothing of one that is not plain.
static bool read_text(const char *storage, const char *folder, const char *name, const char *file, char *text, size_t size) {
    char path[1024];
    int length = snprintf(path, sizeof path, "%s/%s/%s%s", storage, folder, name, file);
    if (length < 0 || (size_t)length >= sizeof path) return false;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (descriptor < 0) return false;
    struct stat status;
    ssize_t count = fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) ? read(descriptor, text, size - 1) : -1;
    close(descriptor);
    text[count > 0 ? count : 0] = 0;
    return count > 0;
}

// A script's root is made of the machine's own files, as the template for them is; there nothing is to be hidden.
static bool has_own_root(const char *image) {
    struct stat status;
    if (stat(image, &status) == 0) return S_ISDIR(status.st_mode);
    return strcmp(image, "template:host") != 0;
}

// root's exec into a container of the level minimal that has a root of its own (Planner.exposesProgram).
static bool enters_exposed(int argc, char **argv) {
    if (strcmp(argv[1], "exec") != 0 || geteuid() != 0) return false;
    const char *storage = getenv("CODEX32_STORAGE_DIR"), *container = NULL;
    if (!storage) storage = getenv("CONTAINER_STORAGE_DIR");
    if (!storage) storage = "/var/lib/codex32";
    for (int i = 2; i < argc && !container; i++) {
        static const char root[] = "--root";
        static const char *const valued[] = {"-e", "--env", "-w", "--workdir", "-u", "--user", "--detach-keys"};
        bool has_value = false;
        for (size_t option = 0; option < sizeof valued / sizeof *valued; option++)
            has_value = has_value || strcmp(argv[i], valued[option]) == 0;
        if (strcmp(argv[i], root) == 0 && i + 1 < argc) storage = argv[++i];
        else if (strncmp(argv[i], root, sizeof root - 1) == 0 && argv[i][sizeof root - 1] == '=') storage = argv[i] + sizeof root;
        else if (has_value) i++;
        else if (argv[i][0] != '-') container = argv[i];
    }
    if (!container || strchr(container, '/') || storage[0] != '/') return false;

    char id[64], record[8192];
    if (!read_text(storage, "names", container, "", id, sizeof id)) (void)snprintf(id, sizeof id, "%s", container);
    if (!read_text(storage, "containers", id, "/container.json", record, sizeof record)) return false;
    if (!strstr(record, "\n    \"isolation\": \"minimal\"")) return false;
    static const char image[] = "\n    \"image\": \"";
    char *path = strstr(record, image);
    char *end = path ? strchr(path += sizeof image - 1, '"') : NULL;
    if (!end) return false;
    *end = 0;
    return has_own_root(path);
}

// The value of an option that is given as two words or with a "=" between them; NULL: it is another one.
static const char *value(int argc, char **argv, int *at, const char *option) {
    size_t length = strlen(option);
    const char *word = argv[*at];
    if (strncmp(word, option, length) != 0) return NULL;
    if (word[length] == '=') return word + length + 1;
    return word[length] == 0 && *at + 1 < argc ? argv[++*at] : NULL;
}

// root's run at minimal in a root of its own.
static bool starts_exposed(int argc, char **argv) {
    if (strcmp(argv[1], "run") != 0 || geteuid() != 0) return false;
    const char *level = getenv("CODEX32_ISOLATION_LEVEL"), *image = NULL;
    for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++) {
        // A plan, or a page: no program.
        if (strcmp(argv[i], "--dry-run") == 0 || strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return false;
        const char *given = value(argc, argv, &i, "--isolation");
        if (given) level = given;
        given = value(argc, argv, &i, "--image");
        if (given) image = given;
    }
    return level && image && strcmp(level, "minimal") == 0 && has_own_root(image);
}

int codex_protect_early(int argc, char **argv) {
    if (argc < 3) return 0;
    bool is_oci = is_runtime(argc, argv);
    // Where it is not possible, the verb finds that again, and tells it.
    if (is_oci || enters_exposed(argc, argv) || starts_exposed(argc, argv)) (void)codex_run_from_read_only_mount(argv);
    return is_oci;
}
