// The kernel's BPF machine, for one purpose: which devices the processes of a cgroup may use (bpf(2)).
#include "codex_kernel.h"

#include <errno.h>
#include <linux/bpf.h>
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

// Whether the program of this id is among those of the cgroup: what was asked is what is in force.
static int is_attached(int cgroup, uint32_t id) {
    uint32_t ids[64];
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.query.target_fd = (uint32_t)cgroup;
    attributes.query.attach_type = BPF_CGROUP_DEVICE;
    attributes.query.prog_ids = (uint64_t)(uintptr_t)ids;
    attributes.query.prog_cnt = sizeof ids / sizeof *ids;
    int result = bpf(BPF_PROG_QUERY, &attributes);
    if (result < 0) return result;
    for (uint32_t i = 0; i < attributes.query.prog_cnt && i < sizeof ids / sizeof *ids; i++)
        if (ids[i] == id) return 0;
    return -ENOENT;
}

int codex_device_filter_attach(int cgroup, const uint64_t *instructions, uint32_t count) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    attributes.insns = (uint64_t)(uintptr_t)instructions;
    attributes.insn_cnt = count;
    attributes.license = (uint64_t)(uintptr_t) "";
    memcpy(attributes.prog_name, "codex32_devices", sizeof "codex32_devices");
    int program = bpf(BPF_PROG_LOAD, &attributes); // close-on-exec, as all that bpf(2) returns
    if (program < 0) return program;

    struct bpf_prog_info info;
    memset(&info, 0, sizeof info);
    memset(&attributes, 0, sizeof attributes);
    attributes.info.bpf_fd = (uint32_t)program;
    attributes.info.info_len = sizeof info;
    attributes.info.info = (uint64_t)(uintptr_t)&info;
    int result = bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes);

    if (result >= 0) {
        memset(&attributes, 0, sizeof attributes);
        attributes.target_fd = (uint32_t)cgroup;
        attributes.attach_bpf_fd = (uint32_t)program;
        attributes.attach_type = BPF_CGROUP_DEVICE;
        attributes.attach_flags = BPF_F_ALLOW_MULTI;
        result = bpf(BPF_PROG_ATTACH, &attributes);
    }
    if (result >= 0) result = is_attached(cgroup, info.id);
    close(program);
    return result;
}
