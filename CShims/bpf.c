// The kernel's BPF machine, for one purpose: which devices the processes of a cgroup may use (bpf(2)).
#include "codex_kernel.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

_Static_assert(sizeof(struct bpf_insn) == sizeof(uint64_t), "Swift writes an instruction as one number");
_Static_assert(BPF_DEVCG_ACC_MKNOD == 1 && BPF_DEVCG_ACC_READ == 2 && BPF_DEVCG_ACC_WRITE == 4, "DeviceRule.Access");
_Static_assert(BPF_DEVCG_DEV_BLOCK == 1 && BPF_DEVCG_DEV_CHAR == 2, "DeviceRule.Kind");

static int bpf(int command, union bpf_attr *attributes) {
    long result = syscall(SYS_bpf, command, attributes, sizeof *attributes);
    return result < 0 ? -errno : (int)result;
}

enum { MOST = 64 }; // BPF_CGROUP_MAX_PROGS
static const char name[] = "codex32_devices";
_Static_assert(sizeof name == BPF_OBJ_NAME_LEN, "the kernel keeps all of it");

// The programs of the cgroup's own. Returns how many, or -errno.
static int attached(int cgroup, uint32_t ids[MOST]) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.query.target_fd = (uint32_t)cgroup;
    attributes.query.attach_type = BPF_CGROUP_DEVICE;
    attributes.query.prog_ids = (uint64_t)(uintptr_t)ids;
    attributes.query.prog_cnt = MOST;
    int result = bpf(BPF_PROG_QUERY, &attributes);
    return result < 0 ? result : (int)attributes.query.prog_cnt;
}

static int information(int program, struct bpf_prog_info *info) {
    union bpf_attr attributes;
    memset(info, 0, sizeof *info);
    memset(&attributes, 0, sizeof attributes);
    attributes.info.bpf_fd = (uint32_t)program;
    attributes.info.info_len = sizeof *info;
    attributes.info.info = (uint64_t)(uintptr_t)info;
    return bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes);
}

static int load(const uint64_t *instructions, uint32_t count) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    attributes.insns = (uint64_t)(uintptr_t)instructions;
    attributes.insn_cnt = count;
    attributes.license = (uint64_t)(uintptr_t) "";
    memcpy(attributes.prog_name, name, sizeof name);
    return bpf(BPF_PROG_LOAD, &attributes); // close-on-exec, as all that bpf(2) returns
}

// The one that codex32 attached, opened: -ENOENT there is none, -EEXIST there are several.
static int own(int cgroup, uint32_t *id) {
    uint32_t ids[MOST];
    int count = attached(cgroup, ids), found = -ENOENT;
    if (count < 0) return count;
    for (int i = 0; i < count; i++) {
        union bpf_attr attributes;
        memset(&attributes, 0, sizeof attributes);
        attributes.prog_id = ids[i];
        int program = bpf(BPF_PROG_GET_FD_BY_ID, &attributes);
        if (program == -ENOENT) continue; // gone meanwhile
        if (program < 0) {
            if (found >= 0) close(found);
            return program;
        }
        struct bpf_prog_info info;
        int result = information(program, &info);
        bool is_own = result >= 0 && memcmp(info.name, name, sizeof name) == 0;
        if (is_own && found < 0) {
            found = program;
            *id = ids[i];
            continue;
        }
        close(program);
        if (is_own || result < 0) {
            if (found >= 0) close(found);
            return is_own ? -EEXIST : result;
        }
    }
    return found;
}

// What was asked is what is in force: the one of this id is among those of the cgroup, and the other, if any, is not.
static int check(int cgroup, uint32_t wanted, uint32_t unwanted) {
    uint32_t ids[MOST];
    int count = attached(cgroup, ids);
    if (count < 0) return count;
    bool is_there = false;
    for (int i = 0; i < count; i++) {
        if (ids[i] == wanted) is_there = true;
        if (ids[i] == unwanted) return -EEXIST;
    }
    return is_there ? 0 : -ENOENT;
}

int codex_device_filter_attach(int cgroup, const uint64_t *instructions, uint32_t count, int replaces) {
    uint32_t former = 0; // no program's
    int old = replaces ? own(cgroup, &former) : -1;
    if (replaces && old < 0) return old;
    int program = load(instructions, count);
    struct bpf_prog_info info;
    int result = program < 0 ? program : information(program, &info);
    if (result >= 0) {
        union bpf_attr attributes;
        memset(&attributes, 0, sizeof attributes);
        attributes.target_fd = (uint32_t)cgroup;
        attributes.attach_bpf_fd = (uint32_t)program;
        attributes.attach_type = BPF_CGROUP_DEVICE;
        // In one step: at no moment is there none (BPF_F_REPLACE, Linux 5.6).
        attributes.attach_flags = BPF_F_ALLOW_MULTI | (replaces ? BPF_F_REPLACE : 0);
        if (replaces) attributes.replace_bpf_fd = (uint32_t)old;
        result = bpf(BPF_PROG_ATTACH, &attributes);
    }
    if (result >= 0) result = check(cgroup, info.id, former);
    if (program >= 0) close(program);
    if (old >= 0) close(old);
    return result;
}
